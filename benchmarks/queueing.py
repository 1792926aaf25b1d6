"""``python -m benchmarks.queueing``: what the queue costs, and what it makes of a model's speed.

A real Redis, real workers, and the gateway's own `QueueScorer` asked by threads; beside it, in turns, the
same searches scored by the same model in one process, and by peers in processes of their own (without any
queue or server between, which is to their advantage).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from peft import PeftModel
from redis import Redis
from transformers import AutoModelForSequenceClassification

from benchmarks.report import Row, append_report
from benchmarks.rerankers import ask as ask_contender
from benchmarks.rerankers import contender, prepare_peer
from benchmarks.timing import Times
from demo import settings
from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest, Scores, ScoringFailed
from rerankers import AbsReranker, FlagAutoReranker
from tests.conftest import RedisServer, find_free_port
from tests.processes import running
from worker.contract import serving_key

ROUNDS = 3
PASSAGE_WORDS = 25
WORDS = [word for word in (settings.ROOT / "README.md").read_text(encoding="utf-8").split() if word.isalpha()]

Search = tuple[str, tuple[str, ...]]
"""A query, and the window's passages."""

TRAFFIC = {
    "10 pairs a search, 1 client": (10, 1, 24),
    "2 pairs a search, 16 clients": (2, 16, 120),
    "10 pairs a search, 16 clients": (10, 16, 24),
}
"""Pairs a search, clients, searches."""

PEERS = {"Infinity, torch": "infinity", "sentence-transformers": "flag_embedding"}

DEADLINE_S = 1.0
LOAD_S = 10.0
SLEEP_S = 0.002
LOADS = (0.5, 1.0, 2.0)
"""How many searches come, of those that can be scored."""


def main() -> int:
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        rows = []
        measures = (measure_cost, measure_workers, measure_model)
        for row in chain.from_iterable(measure(folder, model) for measure in measures):
            print(*row, sep=": ", flush=True)  # it takes minutes
            rows.append(row)
    print(append_report("the queue", rows))
    return 0


def make_model(folder: Path) -> Path:
    """The demo's reranker, its adapter merged, in files that peers can read."""
    base = settings.base_model_path()
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    PeftModel.from_pretrained(model, str(settings.ADAPTER)).merge_and_unload().save_pretrained(folder)
    for file in (*base.glob("token*"), *base.glob("vocab*"), *base.glob("special*")):
        shutil.copy(file, folder)
    return folder


@contextmanager
def served(
    folder: Path, model: Path, module: str = "worker", *flags: str, n_workers: int = 1, pair_s: float = 0.0
) -> Iterator[QueueScorer]:
    """Redis, workers that serve, and what a gateway has to ask them."""
    redis = RedisServer(find_free_port())
    redis.start()
    config = folder / "rerank.toml"
    config.write_text(f'[models.demo]\npath = "{model}"\ndevices = "cpu"\n')
    command = [sys.executable, "-m", module, "--redis-url", redis.url, "--config", str(config), *flags]
    with ExitStack() as stack, Redis.from_url(redis.url) as client:
        logs = [folder / f"worker-{number}.log" for number in range(n_workers)]
        processes = [
            stack.enter_context(running(command, {"SECONDS_A_PAIR": str(pair_s)}, log)) for log in logs
        ]
        while client.hlen(serving_key("demo")) < n_workers:
            for process in processes:
                process.expect_running()
            time.sleep(0.1)
        scorer = QueueScorer(redis.url, max_waiting=128)
        yield scorer
        scorer.close()
    redis.kill()


def measure_cost(folder: Path, model: Path) -> Iterator[Row]:
    """From the gateway's decision to the scores, where the model takes no time."""
    with served(folder, model, "benchmarks.instant_worker") as scorer:
        for size, clients in ((100, 1), (10, 1), (10, 8), (10, 64)):
            searches = make_searches(40 + 160 * min(clients, 8), size)
            took = run_clients(clients, searches, lambda search: ask(scorer, search))[40:]
            yield f"{size} pairs, {clients} clients, a model that takes no time: p50 / p99", tell_times(took)
        (search,) = make_searches(1, 100)
        ask(scorer, search)
        took = run_clients(1, [search] * 200, lambda search: ask(scorer, search))
        yield "100 pairs whose scores are known: p50 / p99", tell_times(took)


def measure_workers(folder: Path, model: Path) -> Iterator[Row]:
    """Workers whose model sleeps, as if each had a device of its own."""
    worker = ("benchmarks.instant_worker", "--cache-ttl-s", "0")
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for n_workers, found in speeds.items():
            with served(folder, model, *worker, n_workers=n_workers, pair_s=SLEEP_S) as scorer:
                run_clients(16, make_searches(32, 10), lambda search: ask(scorer, search))
                searches = make_searches(200, 10)
                seconds = measure_s(lambda: run_clients(16, searches, lambda search: ask(scorer, search)))  # noqa: B023
                found.append(len(searches) * 10 / seconds)
    one, two = map(statistics.median, speeds.values())
    yield (
        "two workers with a device each, 10 pairs a search, 16 clients",
        f"{two / one:.2f} times one's speed",
    )


def measure_model(folder: Path, model: Path) -> Iterator[Row]:
    with served(folder, model, "worker", "--cache-ttl-s", "0") as scorer:
        direct = FlagAutoReranker.from_finetuned(str(model), devices="cpu")
        fastest = 0.0
        for title, (size, clients, n_searches) in TRAFFIC.items():
            speeds = compare(folder, model, scorer, direct, make_searches(n_searches, size), clients)
            ours = speeds.pop("ours")
            fastest = statistics.median(ours)
            yield f"{title}: over the queue", f"{fastest:.0f} pairs/s"
            for name, theirs in speeds.items():
                ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
                yield (
                    f"{title}: {name}",
                    f"{statistics.median(theirs):.0f} pairs/s; the queue has {ratio:.2f} of that",
                )
        yield from measure_overload(scorer, fastest / size)
    with served(folder, model) as scorer:
        yield from measure_cache(scorer)


def compare(
    folder: Path,
    model: Path,
    scorer: QueueScorer,
    direct: AbsReranker,
    searches: Sequence[Search],
    clients: int,
) -> dict[str, list[float]]:
    """Pairs a second by who scores, a figure a round; all take turns."""
    pairs = [(query, passage) for query, window in searches for passage in window]
    work = folder / "searches.json"
    work.write_text(json.dumps({"searches": searches, "clients": clients}))
    with ExitStack() as stack:
        peers = {
            name: stack.enter_context(contender(prepare_peer(environment), name, model, work))
            for name, environment in PEERS.items()
        }

        def over_the_queue() -> None:
            run_clients(clients, searches, lambda search: ask(scorer, search))

        def a_search_at_a_time() -> None:
            for query, window in searches:
                direct.compute_score([(query, passage) for passage in window])

        steps: dict[str, Callable[[], object]] = {
            "ours": over_the_queue,
            "the bare model, all in one call": lambda: direct.compute_score(pairs),
            "the bare model, a search at a time": a_search_at_a_time,
        }
        speeds: dict[str, list[float]] = {name: [] for name in (*steps, *peers)}
        for number in range(-1, ROUNDS):
            taken = {name: measure_s(step) for name, step in steps.items()}
            taken |= {name: ask_contender(process).seconds for name, process in peers.items()}
            for name, seconds in taken.items():
                if number >= 0:
                    speeds[name].append(len(pairs) / seconds)
    return speeds


def measure_overload(scorer: QueueScorer, capacity: float) -> Iterator[Row]:
    """Searches that come whether or not others are done, at a share of what can be scored a second."""
    goodput = {}
    for load in LOADS:
        searches = make_searches(int(load * capacity * LOAD_S), 10)
        moments = sorted(random.uniform(0, LOAD_S) for _ in searches)
        took, reasons = [], []
        started = time.monotonic()

        def come(moment: float, search: Search) -> tuple[float, str]:
            time.sleep(max(0.0, started + moment - time.monotonic()))  # noqa: B023
            arrived = time.monotonic()
            try:
                ask(scorer, search, DEADLINE_S)
            except ScoringFailed as failure:
                return time.monotonic() - arrived, failure.reason.value
            return time.monotonic() - arrived, ""

        with ThreadPoolExecutor(len(searches)) as pool:
            for seconds, reason in pool.map(come, moments, searches):
                took.append(seconds)
                reasons.append(reason)
        goodput[load] = reasons.count("") / LOAD_S
        told = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons) - {""}))
        rate = f"{load:.1f} of capacity, {len(searches) / LOAD_S:.1f} searches/s, deadline {DEADLINE_S:.0f} s"
        scored = f"{goodput[load]:.1f} searches/s scored; {told or 'none failed'}"
        yield f"{rate}: p50 / p99 of answers", f"{tell_times(took)}; {scored}"
    share = goodput[2.0] / max(goodput.values())
    yield "twice the capacity, of the most that were scored in a second", f"{share:.0%}"


def measure_cache(scorer: QueueScorer) -> Iterator[Row]:
    """Zipf's traffic, where few queries are most searches."""
    known = make_searches(1000, 5)
    asked = random.choices(known, [1 / rank for rank in range(1, len(known) + 1)], k=300)
    n_cached = sum(ask(scorer, search).n_cached for search in asked)
    title = f"{len(asked)} searches among {len(known)} queries after Zipf: pairs not scored again"
    yield title, f"{n_cached / len(asked) / 5:.0%}"


def make_searches(count: int, size: int) -> list[Search]:
    """Nobody has seen these before."""
    return [
        (
            " ".join(random.choices(WORDS, k=4)),
            tuple(" ".join(random.choices(WORDS, k=PASSAGE_WORDS)) for _ in range(size)),
        )
        for _ in range(count)
    ]


def ask(scorer: QueueScorer, search: Search, deadline_s: float = 60.0) -> Scores:
    query, window = search
    return scorer.score(ScoreRequest("demo", query, window, deadline=time.monotonic() + deadline_s))


def run_clients(clients: int, searches: Sequence[Search], score: Callable[[Search], object]) -> list[float]:
    """Seconds of each search."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda search: measure_s(lambda: score(search)), searches))


def measure_s(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def tell_times(seconds: Sequence[float]) -> str:
    times = Times(tuple(seconds))
    return f"{times.quantile_ms(0.5):.1f} / {times.quantile_ms(0.99):.1f} ms"


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1"}
    sys.exit(main())
