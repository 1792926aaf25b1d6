"""Knows what it is to ask for scores; who gives them is a worker behind the queue, or a script in tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.hangup import ANYBODY, Client
from gateway.service import Service
from search_plugin import Reason


class ScoringFailed(GatewayError):
    """There are no scores for this search (not the client's fault); ``reason`` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class ScoreRequest:
    """Passages to be scored against one query.

    Attributes:
        deadline: of ``time.monotonic()``; by then there are scores or a failure, whatever happens.
        policy: each gets its share where many wait.
        client: when it goes away, nobody's work is wasted on it.
    """

    model: str
    query_text: str
    passages: tuple[str, ...]
    deadline: float
    policy: str = ""
    client: Client = ANYBODY


@dataclass(frozen=True)
class Scores:
    """One logit per passage, in their order.

    Attributes:
        model_ms: what the model took; the passes may have been shared.
        n_cached: how many were known already.
        n_tokens: computed for the others.
    """

    logits: tuple[float, ...]
    model_ms: float = 0.0
    n_cached: int = 0
    n_tokens: int = 0


class Scorer(Protocol):
    """Where scores come from; used by all threads at once."""

    def score(self, request: ScoreRequest) -> Scores:
        """Score the passages.

        Raises:
            ScoringFailed: no_worker, timeout, overload, circuit_open or backend_error.
            ClientGone: the client went away.
        """
        ...

    def find_served(self, models: Iterable[str]) -> frozenset[str]:
        """Those of ``models`` that a worker serves now.

        Raises:
            ScoringFailed: backend_error, nobody can be asked.
        """
        ...

    def observe(self, models: Iterable[str]) -> Sequence[Service]:
        """What is so of each of ``models`` now; of none, where there are no workers to be asked of.

        Raises:
            ScoringFailed: backend_error, nobody can be asked.
        """
        ...


class ScriptedScorer:
    """A scorer for tests: ``script(query_text, passages)`` gives the logits or raises `ScoringFailed`.

    ``calls`` records (model, query_text, passages) of each call.
    """

    def __init__(self, script: Callable[[str, Sequence[str]], Sequence[float]]) -> None:
        self._script = script
        self.calls: list[tuple[str, str, list[str]]] = []

    def score(self, request: ScoreRequest) -> Scores:
        """See `Scorer.score`."""
        self.calls.append((request.model, request.query_text, list(request.passages)))
        return Scores(tuple(self._script(request.query_text, request.passages)))

    def find_served(self, models: Iterable[str]) -> frozenset[str]:
        """All of them."""
        return frozenset(models)

    def observe(self, models: Iterable[str]) -> Sequence[Service]:
        """Nothing."""
        return ()


def tell_score(logit: float, *, is_logit: bool = False) -> float:
    """The logit or its probability, as a caller is told it: nine significant digits."""
    return float(f"{logit if is_logit else _sigmoid(logit):.9g}")


def _sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    power = math.exp(max(logit, -700.0))
    return power / (1 + power)
