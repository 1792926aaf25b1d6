"""Tells the demo on the terminal: waits until all is up, loads, searches before and after, measures."""

import json
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import urllib3
from tqdm import tqdm

from demo import settings
from demo.corpus import Document, read_corpus
from demo.cosine import encode, load_encoder, passage_of
from demo.errors import DemoError
from demo.figures import compare, measure
from demo.judged import JudgedQuery, read_judgments, resolve
from demo.processes import Plan, without_credentials
from demo.search import Connection, Page, load

START_LIMIT_S = 900.0  # the first start gets an engine from Maven Central
STEP_S = 0.25
SHOWN_QUERIES = 6
SHOWN_HITS = 5
PAGE_SIZE = 10
LEGEND = "Judged by hand: *** exactly what was asked for, ** good, * helpful. Last column: places gained."
STARS = ("   ", "*  ", "** ", "***")


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
    print(f"{LEGEND}\n")

    outcomes = {}
    for query in choose_shown(queries):
        outcomes[query.text] = search_both(query, cluster, gateway)
        print(show_outcome(outcomes[query.text]), flush=True)
    rest = [query for query in queries if query.text not in outcomes]
    for query in progress(rest, "Searching for the figures", len(rest)):
        outcomes[query.text] = search_both(query, cluster, gateway)
    print(show_figures(queries, outcomes, corpus))
    print(show_addresses(plan, queries[0].text), flush=True)
    missed = [text for text, outcome in outcomes.items() if outcome.after.rerank_status != "applied"]
    if missed:
        raise DemoError(f"{len(missed)} searches were not reranked, the first: {missed[0]!r}")


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


def choose_shown(queries: Sequence[JudgedQuery]) -> Sequence[JudgedQuery]:
    """A few from all over the file, not the ones that look best."""
    return queries[:: max(1, len(queries) // SHOWN_QUERIES)][:SHOWN_QUERIES]


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


def show_outcome(outcome: Outcome) -> str:
    """The first hits of both, side by side; stars are the judges' grades, the number is the move in rank."""
    grades = outcome.query.grades
    ranks = {hit.id: rank for rank, hit in enumerate(outcome.before.hits, start=1)}
    lines = [f'"{outcome.query.text}"', f"     {'before: the cluster':<48}     {'after: the gateway':<48}"]
    for place in range(min(SHOWN_HITS, len(outcome.after.hits))):
        before, after = outcome.before.hits[place], outcome.after.hits[place]
        move = ranks.get(after.id, 0) - (place + 1)
        lines.append(
            f"{place + 1:>3}  {STARS[grades.get(before.id, 0)]} {before.id[:36]:<36} {before.score:>7.2f}"
            f"  |  {STARS[grades.get(after.id, 0)]} {after.id[:36]:<36} {after.score:>6.3f} {move:>+4d}"
        )
    return "\n".join(lines) + "\n"


def show_figures(
    queries: Sequence[JudgedQuery], outcomes: Mapping[str, Outcome], corpus: Sequence[Document]
) -> str:
    """Both measures of the three rankings, and the reranked one against each of the others."""
    rankings = {
        "first stage (BM25)": {text: [hit.id for hit in o.before.hits] for text, o in outcomes.items()},
        "cosine of the untrained model": rank_by_cosine(outcomes, corpus),
        "reranked": {text: [hit.id for hit in o.after.hits] for text, o in outcomes.items()},
    }
    values = {name: measure(queries, ranking) for name, ranking in rankings.items()}
    lines = [f"{len(queries)} judged queries, none of them trained on; window {settings.WINDOW}:", ""]
    lines.append(f"  {'':<32}{'nDCG@10':>9}{'MRR@10':>9}   reranked against it, by nDCG@10")
    for name, measured in values.items():
        means = "".join(f"{sum(of) / len(of):>9.3f}" for of in measured.values())
        lines.append(
            f"  {name:<32}{means}   {show_comparison(values['reranked']['nDCG@10'], measured['nDCG@10'])}"
        )
    return "\n".join(lines) + "\n"


def show_comparison(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if ours is theirs:
        return ""
    found = compare(ours, theirs)
    sure = "p < 0.0001" if found.p_value < 0.0001 else f"p = {found.p_value:.4f}"
    return f"better on {found.wins}, worse on {found.losses} (paired t-test: {sure})"


def rank_by_cosine(outcomes: Mapping[str, Outcome], corpus: Sequence[Document]) -> dict[str, list[str]]:
    """The same windows in the order of the untrained bi-encoder: what the adapter has to beat."""
    ids = sorted({hit.id for outcome in outcomes.values() for hit in outcome.before.hits})
    documents = {document.id: document for document in corpus}
    encoder = load_encoder()
    passages = dict(zip(ids, encode(encoder, [passage_of(documents[id]) for id in ids]), strict=True))
    texts = dict(zip(outcomes, encode(encoder, list(outcomes)), strict=True))
    return {
        text: sorted(
            (hit.id for hit in outcome.before.hits), key=lambda id: -float(passages[id] @ texts[text])
        )
        for text, outcome in outcomes.items()
    }


def show_addresses(plan: Plan, text: str) -> str:
    query = {"query": {"multi_match": {"query": text, "fields": list(settings.FIELDS)}}}
    gateway = without_credentials(plan.gateway_url)
    return f"""\
gateway   {gateway}   (clients change only their address to this one)
cluster   {without_credentials(plan.cluster_url)}
Redis     {without_credentials(plan.redis_url)}
Flower    {plan.flower_url}

curl -i '{gateway}/{settings.INDEX}/_search?size=3&pretty' \\
  -H 'content-type: application/json' -d {shlex.quote(json.dumps(query))}
"""
