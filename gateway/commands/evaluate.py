"""``python -m gateway evaluate``: what policies make of judged queries on a live cluster."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from tqdm import tqdm

from gateway.cluster import open_cluster
from gateway.commands.options import build_parser
from gateway.evaluation.options import add_search_options, find_policies, read_template, run
from gateway.evaluation.ranking import NotReranked, rank
from gateway.pages.compare import Comparer
from gateway.policies import FixedPolicies
from gateway.rescoring import Rescorer
from gateway.score_queue import QueueScorer
from gateway.settings import Config, GatewaySettings, read_config
from gateway.tools import SearchTools
from relevance.evaluation import FIRST_STAGE, Evaluation
from relevance.options import (
    add_judgment_options,
    add_report_options,
    finish,
    keep_relevant,
    read_judged,
    read_measures,
)

_BODY_BYTES = 64 * 1024 * 1024
_ABOUT = """\
Search judged queries on the cluster as clients would, by one policy or several, and measure the cluster's own
order and each policy's. Takes the gateway's own options too, listed below. Exit status: 0, 1 where something
can't be read, searched or reranked, 2 where an option is wrong.
"""
_EXAMPLE = """\
examples:
  python -m gateway evaluate --judgments test.jsonl --index docs --config rerank.toml
  python -m gateway evaluate --judgments test.jsonl --index docs --policy small --policy large
"""


def main(argv: Sequence[str], prog: str) -> int:
    """Print the report; see `_ABOUT`."""
    return run(_make_parser(prog), argv, _evaluate)


def _evaluate(given: argparse.Namespace, settings: GatewaySettings) -> None:
    config = read_config(settings.config)
    policies = find_policies(config, given.policy, given.index)
    queries = keep_relevant(read_judged(given))
    template = read_template(given, policies[0])
    evaluation = Evaluation(queries, read_measures(given))
    patient = FixedPolicies(_with_patience(config, given.patience_ms))
    depth = max(given.depth, *(policy.window for policy in policies))  # all see the same hits
    with (
        closing(open_cluster(settings, idle_connections=1)) as cluster,
        closing(QueueScorer(settings.redis_url, max_waiting=1)) as scorer,
    ):
        comparer = Comparer(SearchTools(cluster, Rescorer(scorer), patient, _BODY_BYTES))
        for policy in policies:
            asked = tqdm(queries, desc=policy.name, unit=" queries", disable=None)
            ranked = rank(comparer, policy.name, asked, given.index, template, depth)
            if not any(ranked.before.values()):
                raise NotReranked(f"index: {given.index!r} has no hits for any judged query")
            if not evaluation.systems:
                evaluation.add(FIRST_STAGE, ranked.before, "first stage", ranked.cluster_ms)
            notes = [*ranked.tell_notes(policy.deadline_ms)]
            evaluation.add(policy.name, ranked.after, latencies_ms=ranked.took_ms, notes=notes)
    finish(evaluation, given)


def _with_patience(config: Config, patience_ms: int) -> Config:
    """The policies with as much time as the figures need; what takes longer than allowed is told."""
    patient = {"deadline_ms": patience_ms}
    return Config(tuple(policy.model_copy(update=patient) for policy in config.policies), config.models)


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = build_parser(prog, _ABOUT, _EXAMPLE)
    add_judgment_options(parser)
    add_search_options(parser)
    add = parser.add_argument
    add("--policy", action="append", default=[], help="its name; may be repeated (what covers the index)")
    add("--depth", type=int, default=100, help="hits that are ranked, a window at least (%(default)s)")
    add(
        "--patience-ms",
        type=int,
        default=60_000,
        help="how long a search may wait for its scores, instead of the policy's deadline (%(default)s)",
    )
    add_report_options(parser)
    return parser
