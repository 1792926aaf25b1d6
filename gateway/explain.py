"""Knows how to say, before anybody is answered, what would be done with a search and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.coding import UnreadableCodingError, decode
from gateway.forms import Plain
from gateway.search import SingleSearch
from gateway.story import Story
from gateway.tools import SearchTools
from gateway.wire import Answer, ClientRequest, json_answer
from search_plugin import (
    FirstStage,
    Plan,
    Skip,
    UnreadableAnswer,
    find_policy,
    read_passages,
)


@dataclass(frozen=True)
class Explain:
    """Answers a dry run: the search's own target, headers and body, and no scores."""

    tools: SearchTools

    def answer(self, request: ClientRequest, indices: tuple[str, ...]) -> Answer:
        """Policy, query text, what the cluster is asked, and each passage; or why it is left alone.

        Raises:
            BadAsk: what the request asks of us is wrong.
            ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: as `proxy.forward`.
        """
        told: dict[str, Any] = {
            "indices": list(indices),
            "policies": [
                {
                    "name": policy.name,
                    "indices": list(policy.indices),
                    "covers": bool(find_policy(indices, [policy])),
                }
                for policy in self.tools.policies.current().policies
            ],
        }
        plan = self.tools.guard(lambda: SingleSearch(self.tools, Plain()).plan(request, indices, Story()))
        if isinstance(plan, Skip):
            return json_answer(200, {"reranked": False, "reason": plan.reason.value, **told})
        told |= self._tell_plan(plan, request)
        answer = self.tools.send(request, plan.enlarged)
        content = _decode_quietly(answer.read(), answer.header(b"content-encoding"))
        if answer.status != 200 or content is None:
            told["cluster"] = {"status": answer.status, "body": _read_json(content)}
            return json_answer(200, {"reranked": False, "reason": "cluster_refused", **told})
        try:
            first_stage = FirstStage.parse(content)
        except UnreadableAnswer:
            return json_answer(200, {"reranked": False, "reason": "unsupported_format", **told})
        passages = read_passages(plan, first_stage)
        if isinstance(passages, Skip):
            return json_answer(200, {"reranked": False, "reason": passages.reason.value, **told})
        told["hits"] = [
            {name: hit.value(name) for name in ("_index", "_id", "_score")} | {"passages": list(texts)}
            for hit, texts in zip(first_stage.hits, passages.split(passages.texts), strict=False)
        ]
        return json_answer(200, {"reranked": True, **told})

    def _tell_plan(self, plan: Plan, request: ClientRequest) -> dict[str, Any]:
        sent = plan.enlarged.body if plan.enlarged.body is not None else self.tools.read_body(request)
        return {
            "policy": plan.policy.model_dump(mode="json"),
            "query_text": plan.query_text,
            "page": {"from": plan.page_from, "size": plan.page_size},
            "request": {
                "target": plan.enlarged.target,
                "body": _read_json(sent if isinstance(sent, bytes) else None),
            },
        }


def _decode_quietly(content: bytes, coding: bytes | None) -> bytes | None:
    """The content without its coding; None if it can't be read."""
    try:
        return decode(content, coding)
    except UnreadableCodingError:
        return None


def _read_json(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"null")
    except ValueError:
        return (content or b"").decode("utf-8", "replace")
