"""``python -m benchmarks.queueing``: what the queue costs, and what it makes of a model's speed.

A real Redis, a real worker with the demo's reranker, and the gateway's own `QueueScorer` asked by threads.
The same pairs are scored by the same model in this process, in turns with the queue.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis

from benchmarks.report import Row, append_report
from demo import settings
from demo.judged import read_judgments
from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest, Scores
from rerankers import AbsReranker, FlagAutoReranker
from tests.conftest import RedisServer, find_free_port
from tests.processes import running

WINDOW = 100
ROUNDS = 3
SEARCHES = 100
WORDS = Path(__file__).read_text(encoding="utf-8").split()


def main() -> int:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        redis = RedisServer(find_free_port())
        redis.start()
        stack.callback(redis.kill)
        config = Path(folder) / "rerank.toml"
        config.write_text(
            f'[models.demo]\npath = "{settings.base_model_path()}"\npeft_path = "{settings.ADAPTER}"\n'
            'devices = "cpu"\nmax_length = 96\n'
        )
        stack.enter_context(worker(redis.url, config, Path(folder) / "worker.log"))
        scorer = QueueScorer(redis.url, max_waiting=128)
        stack.callback(scorer.close)
        direct = FlagAutoReranker.from_finetuned(
            str(settings.base_model_path()), peft_path=str(settings.ADAPTER), max_length=96, devices="cpu"
        )
        rows = [*measure_cost(scorer), *measure_throughput(scorer, direct), *measure_cache(scorer)]
    print(append_report("the queue", rows))
    return 0


@contextmanager
def worker(redis_url: str, config: Path, log: Path, *flags: str) -> Iterator[None]:
    """A worker that serves."""
    command = [sys.executable, "-m", "worker", "--redis-url", redis_url, "--config", str(config), *flags]
    with running(command, {}, log) as process, Redis.from_url(redis_url) as redis:
        while not redis.exists("rerank:serving:demo"):
            process.expect_running()
            time.sleep(0.1)
        yield


def make_window(size: int) -> tuple[str, ...]:
    """Passages that nobody has seen yet."""
    return tuple(" ".join(random.choices(WORDS, k=40)) for _ in range(size))


def make_query() -> str:
    return " ".join(random.choices(WORDS, k=5))


def ask(scorer: QueueScorer, query: str, passages: Sequence[str]) -> Scores:
    return scorer.score(ScoreRequest("demo", query, tuple(passages), deadline=time.monotonic() + 60))


def measure_cost(scorer: QueueScorer) -> Iterator[Row]:
    """From the gateway's decision to the scores, less what the model took."""
    for size in (10, WINDOW):
        cost, whole = [], []
        for _ in range(SEARCHES // 2):
            window = make_window(size)
            started = time.perf_counter()
            scores = ask(scorer, make_query(), window)
            took_ms = (time.perf_counter() - started) * 1000
            whole.append(took_ms)
            cost.append(took_ms - scores.model_ms)
        yield (
            f"{size} pairs, one search at a time: queue's share, p50 / p99",
            f"{quantile(cost, 0.5):.1f} / {quantile(cost, 0.99):.1f} ms of {quantile(whole, 0.5):.0f} ms",
        )


def measure_throughput(scorer: QueueScorer, direct: AbsReranker) -> Iterator[Row]:
    """Pairs a second by many clients at once, beside the same model called in this process."""
    for size, clients in ((10, 1), (10, 16), (10, 64), (WINDOW, 1), (WINDOW, 8)):
        n_searches = max(clients, 500 // size)
        ratios, speeds = [], []
        for _ in range(ROUNDS):
            searches = [(make_query(), make_window(size)) for _ in range(n_searches)]
            pairs = [(query, passage) for query, window in searches for passage in window]
            started = time.perf_counter()
            direct.compute_score(pairs)
            direct_s = time.perf_counter() - started
            started = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                list(pool.map(lambda search: ask(scorer, *search), searches))
            queue_s = time.perf_counter() - started
            ratios.append(direct_s / queue_s)
            speeds.append(len(pairs) / queue_s)
        yield (
            f"{clients} clients, {size} pairs a search: pairs/s over the queue",
            f"{statistics.median(speeds):.0f}, {statistics.median(ratios):.2f} of the bare model",
        )


def measure_cache(scorer: QueueScorer) -> Iterator[Row]:
    """A search whose scores are all known; and Zipf's traffic, where few queries are most searches."""
    window = make_window(WINDOW)
    ask(scorer, "a query", window)
    took = []
    for _ in range(SEARCHES):
        started = time.perf_counter()
        assert ask(scorer, "a query", window).n_cached == WINDOW
        took.append((time.perf_counter() - started) * 1000)
    yield f"{WINDOW} known scores, p50 / p99", f"{quantile(took, 0.5):.1f} / {quantile(took, 0.99):.1f} ms"
    queries = [query.text for query in read_judgments(settings.TEST_QUERIES)]
    windows = {query: make_window(20) for query in queries}
    weights = [1 / rank for rank in range(1, len(queries) + 1)]
    asked = random.choices(queries, weights, k=SEARCHES * 2)
    n_cached = sum(ask(scorer, query, windows[query]).n_cached for query in asked)
    yield (
        f"{len(asked)} searches for {len(queries)} queries after Zipf: pairs not scored again",
        f"{n_cached / len(asked) / 20:.0%}",
    )


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


if __name__ == "__main__":
    sys.exit(main())
