"""Tells the demo on the terminal: waits until all is up, loads, searches before and after, measures."""

import json
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

import urllib3
from tqdm import tqdm

from demo import settings
from demo.corpus import Document, read_corpus
from demo.errors import DemoError
from demo.figures import MEASURES, compare, measure
from demo.judged import JudgedQuery, read_judgments, resolve
from demo.passages import load_encoder, passage_of
from demo.processes import Plan, without_credentials
from demo.search import Connection, Page, load
from relevance.runs import reorder

START_LIMIT_S = 900.0  # the first start gets an engine from Maven Central
STEP_S = 0.25
SHOWN_QUERIES = 6
SHOWN_HITS = 5
PAGE_SIZE = 10
LEGEND = "Judged by hand: *** exactly what was asked for, ** good, * helpful. Last column: places gained."
STARS = ("   ", "*  ", "** ", "***")
BEFORE, RERANKED = "first stage (BM25)", "reranked"
SHOWN = "nDCG@10"

Figures = Mapping[str, Mapping[str, Sequence[float]]]
"""By ranking and measure one value a query, in the order of the judgments."""

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """One judged query, answered by the cluster itself and through the gateway."""

    query: JudgedQuery
    before: Page
    """The whole window."""
    after: Page


def tell(plan: Plan) -> None:
    """Print the demo from its start to the addresses.

    Raises:
        DemoError: something did not come up, or a search was refused or not reranked.
    """
    corpus = prepare(plan)
    queries = resolve(read_judgments(settings.TEST_QUERIES), corpus)
    cluster, gateway = Connection(plan.cluster_url), Connection(plan.gateway_url)
    outcomes = [
        search_both(query, cluster, gateway)
        for query in progress(queries, "Searching directly and through the gateway", len(queries))
    ]
    figures = measure_all(outcomes, corpus)
    print(f"{LEGEND}\n")
    for place, label in choose_shown(figures).items():
        print(show_outcome(outcomes[place], figures, place, label))
    print(show_figures(figures))
    print(show_addresses(plan, queries[0].text), flush=True)
    missed = [outcome for outcome in outcomes if outcome.after.rerank_status != "applied"]
    if missed:
        raise DemoError(f"{len(missed)} searches were not reranked, the first: {missed[0].query.text!r}")


def prepare(plan: Plan) -> list[Document]:
    """Wait until all is up and the corpus is in the index; the corpus.

    Raises:
        DemoError: something did not come up, or a request was refused.
    """
    started = time.monotonic()
    print(
        f"Starting {', '.join(plan.commands)} (the first start gets the engine; logs: {plan.log('*')}) ...",
        flush=True,
    )
    corpus = read_corpus()
    cluster, gateway = Connection(plan.cluster_url), Connection(plan.gateway_url)
    wait_for(cluster, "/_cluster/health", {"green", "yellow"})
    wait_for(gateway, "/_rerank/health", {"green"})
    print(f"Up after {time.monotonic() - started:.0f} s: {without_credentials(plan.gateway_url)}", flush=True)
    for _ in progress(load(gateway, plan.gateway_url, corpus), "Loading through the gateway", len(corpus)):
        pass
    print(f"The index {settings.INDEX} holds {len(corpus)} documents.\n", flush=True)
    return corpus


def progress(steps: Iterable[T], label: str, total: int) -> Iterable[T]:
    """A bar on a terminal, nothing in a log."""
    bar: Iterable[T] = tqdm(steps, label, total, leave=False, disable=None)
    return bar


def choose_shown(figures: Figures) -> dict[int, str]:
    """Places of a few queries and what they stand for, evenly from the greatest gain to the greatest loss."""
    gains = [
        after - before for after, before in zip(figures[RERANKED][SHOWN], figures[BEFORE][SHOWN], strict=True)
    ]
    places = sorted(range(len(gains)), key=lambda place: -gains[place])
    steps = [round(step * (len(places) - 1) / (SHOWN_QUERIES - 1)) for step in range(SHOWN_QUERIES)]
    return {places[step]: f"number {step + 1} of {len(places)} by what was gained" for step in steps}


def wait_for(connection: Connection, path: str, statuses: set[str]) -> None:
    """Until the health report at the path says one of these.

    Raises:
        DemoError: it does not within START_LIMIT_S.
    """
    end = time.monotonic() + START_LIMIT_S
    found = "nobody answers"
    while time.monotonic() < end:
        try:
            answer = connection.send("GET", path)
            found = answer.data.decode("utf-8", "replace")
            if answer.status == 200 and answer.json()["status"] in statuses:
                return
        except urllib3.exceptions.HTTPError:
            pass  # not up yet
        time.sleep(STEP_S)
    raise DemoError(f"not ready after {START_LIMIT_S:.0f} s: {path} says {found}")


def search_both(query: JudgedQuery, cluster: Connection, gateway: Connection) -> Outcome:
    return Outcome(query, cluster.search(query.text, settings.WINDOW), gateway.search(query.text, PAGE_SIZE))


def show_outcome(outcome: Outcome, figures: Figures, place: int, label: str) -> str:
    """The first hits of both, side by side; stars are the judges' grades, the number is the move in rank."""
    grades = outcome.query.grades
    ranks = {hit.id: rank for rank, hit in enumerate(outcome.before.hits, start=1)}
    before, after = (f"{SHOWN} {figures[name][SHOWN][place]:.2f}" for name in (BEFORE, RERANKED))
    lines = [f'"{outcome.query.text}"  ({label})']
    lines.append(f"     {'before: the cluster, ' + before:<48}     {'after: the gateway, ' + after}")
    for row in range(min(SHOWN_HITS, len(outcome.after.hits))):
        old, new = outcome.before.hits[row], outcome.after.hits[row]
        move = ranks.get(new.id, 0) - (row + 1)
        lines.append(
            f"{row + 1:>3}  {STARS[grades.get(old.id, 0)]} {old.id[:36]:<36} {old.score:>7.2f}"
            f"  |  {STARS[grades.get(new.id, 0)]} {new.id[:36]:<36} {new.score:>6.3f} {move:>+4d}"
        )
    return "\n".join(lines) + "\n"


def measure_all(outcomes: Sequence[Outcome], corpus: Sequence[Document]) -> Figures:
    """By ranking, all of them of the same windows."""
    queries = [outcome.query for outcome in outcomes]
    rankings = {
        BEFORE: {o.query.text: [hit.id for hit in o.before.hits] for o in outcomes},
        "cosine of the untrained model": rank_by_cosine(outcomes, corpus),
        RERANKED: {o.query.text: [hit.id for hit in o.after.hits] for o in outcomes},
        "best order there is of these hits": {o.query.text: rank_by_grade(o) for o in outcomes},
    }
    return {name: measure(queries, ranking) for name, ranking in rankings.items()}


def show_figures(figures: Figures) -> str:
    """The means of all rankings, and the reranked one against each of the others."""
    n_queries = len(figures[RERANKED][SHOWN])
    lines = [f"{n_queries} judged queries, none of them trained on; window {settings.WINDOW}:", ""]
    lines.append(
        f"  {'':<34}" + "".join(f"{name:>9}" for name in MEASURES) + f"   reranked against it, by {SHOWN}"
    )
    for name, measured in figures.items():
        means = "".join(f"{sum(of) / len(of):>9.3f}" for of in measured.values())
        lines.append(f"  {name:<34}{means}   {show_comparison(figures[RERANKED][SHOWN], measured[SHOWN])}")
    return "\n".join(lines) + "\n"


def show_comparison(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if ours is theirs:
        return ""
    found = compare(ours, theirs)
    sure = "p < 0.0001" if found.p_value < 0.0001 else f"p = {found.p_value:.4f}"
    return f"better on {found.wins}, worse on {found.losses} (paired t-test: {sure})"


def rank_by_cosine(outcomes: Sequence[Outcome], corpus: Sequence[Document]) -> dict[str, list[str]]:
    """The order of the untrained bi-encoder, by query: what the adapter has to beat."""
    from rerankers.cosine import score_by_cosine  # takes seconds

    documents = {document.id: document for document in corpus}
    hits = {outcome.query.text: [hit.id for hit in outcome.before.hits] for outcome in outcomes}
    passages = {text: [passage_of(documents[id]) for id in ids] for text, ids in hits.items()}
    scores = score_by_cosine(load_encoder(), {text: text for text in hits}, passages)
    return {text: reorder(ids, scores[text]) for text, ids in hits.items()}


def rank_by_grade(outcome: Outcome) -> list[str]:
    """As if the judges themselves had reranked: what no reranker can beat."""
    return sorted((hit.id for hit in outcome.before.hits), key=lambda id: -outcome.query.grades.get(id, 0))


def show_addresses(plan: Plan, text: str) -> str:
    query = {"query": {"multi_match": {"query": text, "fields": list(settings.FIELDS)}}}
    gateway = without_credentials(plan.gateway_url)
    return f"""\
gateway   {gateway}   (clients change only their address to this one)
cluster   {without_credentials(plan.cluster_url)}
Redis     {without_credentials(plan.redis_url)}
Flower    {plan.flower_url}
pages     {gateway}/_rerank/ui/
          {gateway}/_rerank/ui/compare?{urlencode({"query": text, "index": settings.INDEX})}

curl -i '{gateway}/{settings.INDEX}/_search?size=3&pretty' \\
  -H 'content-type: application/json' -d {shlex.quote(json.dumps(query))}
"""
