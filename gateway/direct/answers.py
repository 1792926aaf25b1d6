"""Knows how each rerank API writes scores and errors."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.direct.asks import Ask, Kind, RerankBody, ScoreBody
from gateway.scoring import tell_score

VERSION = "2"  # of the API, as Cohere counts

Written = Any
"""Whatever JSON the dialect has: an object, or TEI's array."""


@dataclass(frozen=True)
class Scored:
    """What is known of a request when it is scored.

    Attributes:
        logits: one a pair, in their order.
        n_tokens: computed for it; known pairs cost none.
    """

    model: str
    ask: Ask
    logits: Sequence[float]
    n_tokens: int = 0

    @property
    def scores(self) -> list[float]:
        """As they are told: nine significant digits, which OpenSearch's connector can cast."""
        return [tell_score(logit, is_logit=self.ask.raw_scores) for logit in self.logits]

    def ranked(self, top_n: int | None) -> list[tuple[int, float]]:
        """(index, score) of the best, best first."""
        scores = self.scores
        order = sorted(range(len(scores)), key=lambda index: (-self.logits[index], index))
        return [(index, scores[index]) for index in order[: top_n or None]]


Quote = Callable[[str], dict[str, object]]
"""How a result quotes its text."""


def _as_object(text: str) -> dict[str, object]:
    return {"document": {"text": text}}


def _as_text(text: str) -> dict[str, object]:
    return {"document": text}


def write_rerank(
    body: RerankBody, scored: Scored, members: frozenset[str], quote: Quote = _as_object
) -> Written:
    """What clients of Cohere, Jina and vLLM read; and Voyage, where the body has members of its own.

    Args:
        members: the names in the body as it came.
    """
    answer = {
        **_head(scored),
        "results": _rank(body, scored, "relevance_score", quote),
        "meta": {
            "api_version": {"version": VERSION},
            "billed_units": {"search_units": 1, "total_tokens": scored.n_tokens},
            "tokens": {"input_tokens": scored.n_tokens, "output_tokens": 0},
        },
    }
    if members & {"top_k", "truncation"}:
        answer["data"] = _rank(body, scored, "relevance_score", _as_text)
    return answer


def write_infinity(body: RerankBody, scored: Scored, members: frozenset[str]) -> Written:
    """As the others, but a result's document is a text, not an object."""
    return write_rerank(body, scored, members, _as_text)


def write_tei(body: RerankBody, scored: Scored, _members: frozenset[str]) -> Written:
    """Text Embeddings Inference's array, best first."""
    return _rank(body, scored, "score", lambda text: {"text": text})


def write_score(_body: ScoreBody, scored: Scored, _members: frozenset[str]) -> Written:
    """vLLM's list, in the order of the texts."""
    data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scored.scores)]
    return {**_head(scored), "data": data}


def _head(scored: Scored) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex,
        "object": "list",
        "model": scored.model,
        "created": int(time.time()),
        "usage": {"prompt_tokens": scored.n_tokens, "total_tokens": scored.n_tokens},
    }


def _rank(body: RerankBody, scored: Scored, name: str, quote: Quote) -> list[dict[str, object]]:
    """The best, best first; their scores under ``name``."""
    pairs = scored.ask.pairs
    return [
        {"index": index, name: score, **(quote(pairs[index][1]) if body.return_documents else {})}
        for index, score in scored.ranked(body.top_n)
    ]


WRITERS: Mapping[Kind, Callable[[Any, Scored, frozenset[str]], Written]] = {
    "rerank": write_rerank,
    "infinity": write_infinity,
    "tei": write_tei,
    "score": write_score,
}


@dataclass(frozen=True)
class Problem:
    """Why a request gets no scores.

    Attributes:
        kind: in OpenAI's words.
        tei_status, tei_kind: in TEI's.
    """

    status: int
    kind: str
    tei_status: int
    tei_kind: str


INVALID = Problem(422, "invalid_request_error", 422, "Validation")
MALFORMED = Problem(400, "invalid_request_error", 422, "Validation")
EMPTY = Problem(400, "invalid_request_error", 400, "Empty")
TOO_LARGE = Problem(413, "invalid_request_error", 413, "Validation")
UNKNOWN_MODEL = Problem(404, "not_found_error", 404, "Validation")
UNKNOWN_PATH = Problem(404, "not_found_error", 404, "Validation")
NO_KEY = Problem(401, "authentication_error", 401, "Validation")
OVERLOADED = Problem(429, "rate_limit_error", 429, "Overloaded")
UNSERVED = Problem(503, "service_unavailable_error", 503, "Unhealthy")
FAILED = Problem(503, "service_unavailable_error", 424, "Backend")
LATE = Problem(504, "timeout_error", 424, "Backend")
MISTAKE = Problem(500, "internal_error", 500, "Backend")


def write_problem(kind: Kind, problem: Problem, message: str, param: str | None) -> tuple[int, Written]:
    """Status and body, in the dialect's words.

    Args:
        param: the member at fault.
    """
    if kind == "tei":
        return problem.tei_status, {"error": message, "error_type": problem.tei_kind}
    error = {"message": message, "type": problem.kind, "param": param, "code": problem.status}
    return problem.status, {"error": error, "message": message, "detail": message}
