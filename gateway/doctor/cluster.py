"""Knows how to tell whether the cluster is there, which engine it is, and whether it lets us in."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.cluster import Cluster
from gateway.doctor.expiry import judge_expiry, read_presented_expiry
from gateway.doctor.finding import Finding, hint, ok, problem
from gateway.doctor.surroundings import Surroundings
from gateway.errors import GatewayError
from gateway.wire import Header

TESTED: Mapping[str, tuple[tuple[int, int], tuple[int, int], str]] = {
    "elasticsearch": ((7, 17), (10, 0), "7.17 to 9"),
    "opensearch": ((3, 0), (4, 0), "3"),
}
"""By engine the first version that is tested, the first that is not any more, and both in words."""

_JSON: list[Header] = [(b"Accept", b"application/json")]


def check_cluster(around: Surroundings) -> Iterator[Finding]:
    """Each node: reachable, credentials, engine and version, its certificate."""
    for url, node in around.nodes.items():
        try:
            status, told = ask(node, "/")
        except GatewayError as error:
            mend = "does it run, is --cluster-url right? Where the certificate is not trusted: --cluster-ca"
            yield problem("cluster.reachable", f"{url}: {error}", mend)
            continue
        yield _judge_answer(around, url, status)
        if status == 200:
            yield _judge_version(node, url, told)
        if url.startswith("https:"):
            expires = read_presented_expiry(url, around.settings)
            yield judge_expiry("cluster.certificate", f"{url}: certificate", expires, time.time())


def ask(cluster: Cluster, target: str) -> tuple[int, Any]:
    """GET; the answer's status, and its JSON or None.

    Raises:
        GatewayError: there is no answer.
    """
    answer = cluster.send("GET", target, _JSON)
    body = answer.read()
    try:
        return answer.status, json.loads(body)
    except ValueError:
        return answer.status, None


def has_credentials(around: Surroundings) -> bool:
    """Has the gateway any of its own?"""
    settings = around.settings
    return bool(settings.cluster_username or settings.cluster_api_key or settings.cluster_aws_region)


def _judge_answer(around: Surroundings, url: str, status: int) -> Finding:
    if status < 400:
        return ok("cluster.reachable", f"{url} answers")
    if status in (401, 403) and has_credentials(around):
        what = f"{url} refuses the gateway's own credentials: {status}"
        return problem(
            "cluster.credentials", what, "check --cluster-username, --cluster-api-key or the role for AWS"
        )
    if status in (401, 403):
        what = f"{url} wants credentials, and the gateway has none of its own: clients bring theirs"
        return hint("cluster.credentials", what, "give --cluster-username to look into the indices here")
    return problem("cluster.reachable", f"{url} answers {status}", "look into the cluster's own log")


def _judge_version(node: Cluster, url: str, told: Any) -> Finding:
    engine = node.find_engine() or "unknown"
    number = _read_number(told)
    first, end, in_words = TESTED.get(engine, ((0, 0), (0, 0), "nothing"))
    version = f"{url}: {engine} {number or 'of a version that it does not tell'}"
    if not number or first <= _read_version(number) < end:
        return ok("cluster.version", version)
    return hint("cluster.version", version, f"tested is {in_words}; look at X-Rerank-Status of your searches")


def _read_number(told: Any) -> str:
    version = told.get("version") if isinstance(told, dict) else None
    return str(version.get("number", "")) if isinstance(version, dict) else ""


def _read_version(number: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", number)
    return (int(found[1]), int(found[2])) if found else (0, 0)
