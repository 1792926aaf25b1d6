"""What an answer tells of its reranking, under ``ext.rerank``, to a client that asked for it."""

from collections.abc import Sequence
from typing import Any

from search_plugin.blend import Placed
from search_plugin.first_stage import FirstStage
from search_plugin.plan import Plan
from search_plugin.skip import Reason


def make_note(
    plan: Plan,
    first_stage: FirstStage,
    placed: Sequence[Placed],
    *,
    status: str,
    reason: Reason | None,
    took_ms: float,
    cache_hits: int = 0,
) -> dict[str, Any] | None:
    """What is told; None if nobody asked.

    Args:
        placed: the new order; empty where there is none.
        took_ms: from the request's arrival.
        cache_hits: passages whose scores were known already.
    """
    if not (plan.is_asked or plan.policy.annotate):
        return None
    note: dict[str, Any] = {
        "status": status,
        **({"reason": reason.value} if reason else {}),
        "model": plan.policy.model,
        "window": plan.policy.window,
        "reranked": sum(place.model_score is not None for place in placed),
        "score_mode": plan.policy.score_mode,
        "took_ms": round(took_ms),
        "cache_hits": cache_hits,
    }
    if plan.tells_hits:
        page = placed[plan.page_from : plan.page_from + plan.page_size]
        note["query_text"] = plan.query_text
        note["hits"] = [_tell_hit(first_stage, place) for place in page]
    return note


def _tell_hit(first_stage: FirstStage, place: Placed) -> dict[str, Any]:
    hit = first_stage.hits[place.hit]
    return {
        "_index": hit.value("_index"),
        "_id": hit.value("_id"),
        "previous_score": hit.first_stage_score,
        "previous_rank": place.hit + 1,
        "rerank_score": place.model_score,
    }
