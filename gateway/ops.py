"""Knows what operators ask the gateway itself, under ``/_rerank/``."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.cluster import Cluster
from gateway.errors import GatewayError
from gateway.metrics import tell_metrics
from gateway.policies import PolicyFile
from gateway.scoring import Scorer, ScoringFailed
from gateway.wire import Answer, json_answer


def make_ops(cluster: Cluster, scorer: Scorer, policies: PolicyFile) -> Blueprint:
    """The routes under ``/_rerank/``."""
    ops = Blueprint("ops", __name__, url_prefix="/_rerank")

    @ops.get("/health")
    def health() -> Answer:
        """Always 200 while the process lives.

        ``status``: green, searches are reranked; yellow, some are answered in the cluster's own order because
        Redis is gone or nobody serves a policy's model; red, the cluster does not answer. ``config_error``
        says why a newer ``rerank.toml`` is not in force, ``model_errors`` why a newer version of a model is
        not.
        """
        return json_answer(200, read_health(cluster, scorer, policies))

    @ops.get("/ready")
    def ready() -> Answer:
        """The same; 503 unless it is green.

        That is about reranking: a gateway that is not ready answers searches in the cluster's order, so no
        load balancer should take it out for this.
        """
        told = read_health(cluster, scorer, policies)
        return json_answer(200 if told["status"] == "green" else 503, told)

    @ops.get("/metrics")
    def metrics() -> Response:
        """The figures of all processes, for Prometheus."""
        services = None
        with suppress(ScoringFailed):
            services = scorer.observe(policies.current().models)
        told = tell_metrics(services=services, is_config_newest=policies.error is None)
        return Response(told, content_type=CONTENT_TYPE_LATEST)

    return ops


def read_health(cluster: Cluster, scorer: Scorer, file: PolicyFile) -> dict[str, object]:
    """Ask the cluster and Redis; the two flags, and for each policy its model and whether that is served."""
    config = file.current()
    policies = config.policies
    is_reachable = _is_reachable(cluster)
    served: frozenset[str] | None = None
    errors: dict[str, str] = {}
    with suppress(ScoringFailed):
        served = scorer.find_served({policy.model for policy in policies})
        services = scorer.observe(config.models)
        errors = {one.alias: "; ".join(sorted(one.problems)) for one in services if one.problems}
    told = [
        {"policy": policy.name, "model": policy.model, "served": policy.model in (served or ())}
        for policy in policies
    ]
    all_served = served is not None and all(policy.model in served for policy in policies)
    return {
        "status": "red" if not is_reachable else "green" if all_served else "yellow",
        "cluster": is_reachable,
        "redis": served is not None,
        "policies": told,
        **({"config_error": file.error} if file.error else {}),
        **({"model_errors": errors} if errors else {}),
    }


def _is_reachable(cluster: Cluster) -> bool:
    try:
        cluster.send("HEAD", "/", []).read()
    except GatewayError:
        return False
    return True  # whatever the status: a cluster that asks who we are is there
