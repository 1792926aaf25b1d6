"""``python -m gateway mine``: training rows of judged queries, with hard negatives from a live cluster."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from redis import Redis, RedisError
from tqdm import tqdm

from gateway.cluster import open_cluster
from gateway.commands.options import build_parser
from gateway.errors import ConfigurationError
from gateway.evaluation.mining import CannotMine, Miner, Teacher
from gateway.evaluation.options import add_search_options, find_policies, read_template, run
from gateway.hangup import Watcher
from gateway.jobs.control import Control, Limiter
from gateway.jobs.scoring import Asked, BulkScorer, Failed
from gateway.score_queue import make_sender
from gateway.service import read_services
from gateway.settings import GatewaySettings, read_config
from relevance.files import write_lines
from relevance.judgments import JudgedQuery
from relevance.options import add_judgment_options, add_rule_options, keep_relevant, read_judged, read_rules
from worker.contract.address import RedisAddress

_REDIS_TIMEOUT_S = 5.0
_ABOUT = """\
Search judged queries on the cluster and write training rows: the relevant documents, and negatives from
among the hits, read as a policy's model reads them. A teacher, any model that workers serve, leaves out hits
that are relevant though nobody has judged them, and scores the rows. Takes the gateway's own options too,
listed below.
"""
_EXAMPLE = """\
examples:
  python -m gateway mine --judgments train.jsonl --index docs --output rows.jsonl
  python -m gateway mine --judgments train.jsonl --index docs --teacher large --margin 1 --output rows.jsonl
"""


def main(argv: Sequence[str], prog: str) -> int:
    """Write the rows; see `_ABOUT`."""
    return run(_make_parser(prog), argv, _mine)


def _mine(given: argparse.Namespace, settings: GatewaySettings) -> None:
    if not given.output:
        raise ConfigurationError("--output: is needed")
    config = read_config(settings.config)
    (policy,) = find_policies(config, [given.policy] if given.policy else [], given.index)
    if given.teacher and given.teacher not in config.models:
        raise ConfigurationError(f"--teacher: no [models.{given.teacher}] in {settings.config}")
    rules = read_rules(given, given.margin)
    queries = keep_relevant(read_judged(given))
    with ExitStack() as stack:
        cluster = stack.enter_context(closing(open_cluster(settings, idle_connections=1)))
        teacher = stack.enter_context(_open_teacher(given.teacher, settings)) if given.teacher else None
        miner = Miner(cluster, given.index, policy, read_template(given, policy), rules, teacher)
        count = write_lines(given.output, _write_rows(miner, queries))
    print(f"{count} rows; {len(queries) - count} queries without a relevant document or a negative")


def _write_rows(miner: Miner, queries: Sequence[JudgedQuery]) -> Iterator[str]:
    found = False
    for query in tqdm(queries, unit=" queries", disable=None):
        row = miner.mine(query)
        if row is not None:
            found = True
            yield row.to_line()
    if not found:
        raise CannotMine("no query has both a relevant document and a negative in the index")


@contextmanager
def _open_teacher(alias: str, settings: GatewaySettings) -> Iterator[Teacher]:
    """A model that workers serve, asked through the queue of bulk: searches go first.

    Raises:
        CannotMine: nobody serves it, or Redis is not there.
    """
    timeouts = {"socket_timeout": _REDIS_TIMEOUT_S, "socket_connect_timeout": _REDIS_TIMEOUT_S}
    address = RedisAddress.from_url(settings.redis_url)
    control = Control(Watcher())
    with closing(address.connect(retry=None, **timeouts)) as redis, closing(control):
        _expect_served(alias, redis)
        sender = make_sender(address, timeouts, 1)
        scorer = BulkScorer(redis, sender, control, Limiter(control, None))

        def score(query_text: str, passages: Sequence[str]) -> Sequence[float]:
            (logits,) = scorer.score_many(alias, [Asked(query_text, tuple(passages))])
            if isinstance(logits, Failed):
                raise CannotMine(f"teacher {alias!r} fails at {query_text!r}: {logits.reason}")
            return logits

        yield score


def _expect_served(alias: str, redis: Redis) -> None:
    try:
        (service,) = read_services(redis, [alias])
    except RedisError as error:
        raise CannotMine(f"Redis can't be asked who serves {alias!r}: {error}") from error
    if not service.workers:
        raise CannotMine(f"teacher: no worker serves model {alias!r}")


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = build_parser(prog, _ABOUT, _EXAMPLE)
    add_judgment_options(parser)
    add_search_options(parser)
    add_rule_options(parser)
    add = parser.add_argument
    add("--policy", help="name of the policy that says what is read of a hit (what covers the index)")
    add("--teacher", help="alias of a model; what it finds as good as a relevant document is no negative")
    add(
        "--margin",
        type=float,
        default=0.0,
        help="logits that a negative must stay below the worst relevant document (%(default)s)",
    )
    add("--output", help="JSONL file of training rows")
    return parser
