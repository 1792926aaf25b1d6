"""Knows how a policy ranks judged queries: each is searched as a client would, and both orders are kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.evaluation.template import Template
from gateway.pages.compare import Choices, Comparer, Comparison
from relevance.judgments import JudgedQuery
from search_plugin import Reason


class NotReranked(GatewayError):
    """A policy has reranked none of the searches (the message says why): there is nothing to measure."""


@dataclass
class Ranked:
    """What a policy made of the queries.

    Attributes:
        before, after: by the query's id, the cluster's order and the policy's.
        cluster_ms: what the cluster took, query by query.
        took_ms: what the whole search took, of those whose scores were not all known.
        reasons: why searches kept the cluster's order, where there was something to order.
    """

    policy: str
    before: dict[str, list[str]] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)
    cluster_ms: list[float] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    n_cached: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, query: JudgedQuery, found: Comparison) -> None:
        """Note what became of a search."""
        self.before[query.id] = [hit.id for hit in found.before]
        after = found.after if found.is_applied else found.before
        self.after[query.id] = [hit.id for hit in after]
        self.cluster_ms.append(found.story.stage_ms.get("cluster", 0.0))
        if not found.is_applied:
            if found.reason is not Reason.TOO_FEW_HITS:
                self.reasons[found.reason or found.status] += 1
        elif found.story.n_cached:
            self.n_cached += 1
        else:
            self.took_ms.append(found.took_ms)

    def tell_notes(self, deadline_ms: int) -> Iterator[str]:
        """What a reader must know, in sentences."""
        for reason, count in self.reasons.most_common():
            yield f"{count} of {len(self.after)} searches kept the cluster's order: {reason}"
        if self.n_cached:
            yield f"{self.n_cached} searches are not timed: workers had scored their pairs before"
        late = sum(took > deadline_ms for took in self.took_ms)
        if late:
            told = f"{late} searches took longer than the policy's {deadline_ms} ms"
            yield f"{told}: clients would get the cluster's order"


def rank(
    comparer: Comparer,
    policy: str,
    queries: Iterable[JudgedQuery],
    index: str,
    template: Template,
    depth: int,
) -> Ranked:
    """Search all queries.

    Raises:
        NotReranked: no search was, though there was something to order.
        Unanswered, ClusterUnreachable: the cluster refuses a search, or is not there.
    """
    ranked = Ranked(policy)
    for query in queries:
        body = template.fill(query.text, depth)
        asked = body.get("ext", {})
        context = {"query_context": {"query_text": query.text}}
        body["ext"] = {**asked, "rerank": {**asked.get("rerank", {}), **context}}
        choices = Choices(index=index, policy=policy, body=json.dumps(body), size=depth)
        ranked.add(query, comparer.compare(choices))
    if ranked.reasons and not ranked.took_ms and not ranked.n_cached:
        raise NotReranked(f"policy {policy!r}: no search was reranked: {_list(ranked.reasons)}")
    return ranked


def _list(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
