"""Knows what is measured: each function gives rows of (what, figure) for the report."""

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from benchmarks.report import Row
from benchmarks.timing import Step, take_turns
from demo import settings
from search_plugin import (
    FirstStage,
    Plan,
    Policy,
    Rules,
    SearchRequest,
    merge,
    place_hits,
    plan_search,
    read_passages,
)

PASSED_ROUNDS, PASSED_WARM_UP = 1000, 50
SEARCH_ROUNDS, SEARCH_WARM_UP = 40, 3
PAIR_ROUNDS, PAIR_WARM_UP = 7, 1
PURE_ROUNDS, PURE_WARM_UP = 500, 20
PAIRS = 100
WINDOWS = (settings.WINDOW, 100)


class Client:
    """One kept connection, as an application has."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc)

    def get(self, target: str) -> bytes:
        self._connection.request("GET", target)
        return self._connection.getresponse().read()

    def search(self, body: dict[str, Any]) -> tuple[dict[str, str], bytes]:
        """The answer's headers and body."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"/{settings.INDEX}/_search", json.dumps(body), headers)
        answer = self._connection.getresponse()
        return dict(answer.getheaders()), answer.read()


def measure_pass_through(cluster_url: str, gateway_url: str) -> Iterator[Row]:
    """What the gateway adds to a request that is not reranked."""
    direct, through = Client(cluster_url), Client(gateway_url)
    small, large = f"/{settings.INDEX}/_doc/shutil.rmtree", f"/{settings.INDEX}/_search?size=200&sort=_doc"
    for what, target in (("document by id", small), ("search, 200 hits, sorted", large)):
        steps = {"direct": lambda t=target: direct.get(t), "through": lambda t=target: through.get(t)}
        times = take_turns(steps, PASSED_ROUNDS, PASSED_WARM_UP)
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            before, after = times["direct"].quantile_ms(share), times["through"].quantile_ms(share)
            yield (
                f"{what}: {name}, cluster / gateway / added",
                f"{before:.2f} / {after:.2f} / {after - before:.2f} ms",
            )


def measure_search(gateway_url: str, queries: Sequence[str]) -> Iterator[Row]:
    """One reranked search at a time, by the stages that the gateway tells."""
    client = Client(gateway_url)
    texts = iter(queries * SEARCH_ROUNDS)
    stages: dict[str, list[float]] = {}

    def search() -> None:
        headers, _ = client.search(make_search(next(texts)))
        if headers["X-Rerank-Status"] != "applied":
            raise RuntimeError(f"not reranked: {headers.get('X-Rerank-Reason')}")
        for stage, spent_ms in re.findall(r"(\w+);dur=([\d.]+)", headers["Server-Timing"]):
            stages.setdefault(stage, []).append(float(spent_ms))

    times = take_turns({"search": search}, SEARCH_ROUNDS, SEARCH_WARM_UP)["search"]
    yield (
        f"reranked search, window {settings.WINDOW}: p50 / p99",
        f"{times.quantile_ms(0.5):.0f} / {times.quantile_ms(0.99):.0f} ms",
    )
    for stage, spent_ms in stages.items():
        yield f"of it {stage}, median", f"{statistics.median(spent_ms):.1f} ms"


def measure_pairs(cluster_url: str, queries: Sequence[str]) -> Iterator[Row]:
    """How many pairs a second the demo's model scores when nothing else runs, without and with batches."""
    from rerankers import FlagAutoReranker

    reranker = FlagAutoReranker.from_finetuned(
        settings.base_model_path(), peft_path=settings.ADAPTER, max_length=settings.PAIR_TOKENS
    )
    client = Client(cluster_url)
    hits = [
        (text, hit["_source"])
        for text in queries[:5]
        for hit in json.loads(client.search(make_search(text, PAIRS // 5))[1])["hits"]["hits"]
    ]
    pairs = [(text, f"{source['title']}\n{source['body']}") for text, source in hits]
    steps = {
        "one by one": lambda: [reranker.compute_score(pair) for pair in pairs],
        "in batches": lambda: reranker.compute_score(pairs),
    }
    for name, times in take_turns(steps, PAIR_ROUNDS, PAIR_WARM_UP).items():
        yield (
            f"{len(pairs)} pairs of at most {settings.PAIR_TOKENS} tokens, {name}",
            (f"{len(pairs) / times.median_s:.0f} pairs/s"),
        )


def measure_plugin(cluster_url: str, query: str) -> Iterator[Row]:
    """The pure functions alone: planning, and putting scores into an answer, for two windows."""
    policy = Policy(
        name="bench", indices=("*",), model="m", passage_fields=settings.FIELDS, window=WINDOWS[-1]
    )
    body = json.dumps(make_search(query)).encode()
    request = SearchRequest(
        (settings.INDEX,), f"/{settings.INDEX}/_search", {"content-type": "application/json"}, body
    )
    rules = Rules((policy,))
    plan = plan_search(request, rules)
    assert isinstance(plan, Plan)
    client = Client(cluster_url)
    answers = [client.search(make_search(query, window))[1] for window in WINDOWS]

    def answer_page(answer: bytes) -> None:
        first_stage = FirstStage.parse(answer)
        read_passages(plan, first_stage)
        scores = [float(number % 7) for number in range(len(first_stage.hits))]
        merge(plan, first_stage, place_hits(plan, first_stage, scores))

    steps: dict[str, Step] = {"planning": lambda: plan_search(request, rules)}
    for answer in answers:
        count = len(FirstStage.parse(answer).hits)
        name = f"passages and merge, {count} hits of {len(answer) // max(count, 1)} bytes"
        steps[name] = lambda answer=answer: answer_page(answer)
    for name, times in take_turns(steps, PURE_ROUNDS, PURE_WARM_UP).items():
        yield f"{name}, median", f"{times.median_s * 1e6:.0f} µs"


def make_search(text: str, size: int = 10) -> dict[str, Any]:
    return {"query": {"multi_match": {"query": text, "fields": list(settings.FIELDS)}}, "size": size}
