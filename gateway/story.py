"""Knows what is told of one search: status, reason and time by stage, in headers and in the answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from werkzeug.datastructures import Headers

from gateway.hangup import ANYBODY, Client
from gateway.metrics import count_request
from gateway.request_id import HEADER as REQUEST_ID_HEADER
from gateway.scoring import ScoringFailed
from gateway.wire import Answer
from search_plugin import Plan, Reason, Skip
from worker.contract.logs import REQUEST_ID, Event
from worker.contract.traces import current_span

logger = logging.getLogger(__name__)


class Shadowed:
    """The scores are not to be shown."""

    reason: Reason | None = None


Outcome = Skip | ScoringFailed | Shadowed | None
"""Why the order is still the cluster's; None if the scores are applied."""

_STATUSES: dict[type[Skip] | type[ScoringFailed] | type[Shadowed] | type[None], str] = {
    type(None): "applied",
    Shadowed: "shadow",
    ScoringFailed: "failed",
    Skip: "skipped",
}  # of several searches in one request the first of these is told


def status_of(outcome: Outcome) -> str:
    """The outcome in one word."""
    return _STATUSES[type(outcome)]


def reason_of(outcome: Outcome) -> Reason | None:
    """Why the scores are not applied, if they should have been."""
    return outcome.reason if outcome is not None else None


@dataclass
class Story:
    """What is known of one request so far, for the headers and the figures that tell it.

    Attributes:
        n_cached, n_scored: pairs whose scores were known, and those that workers scored.
        indices: as the request names them.
        slow_log_ms: a request that takes so long is logged; 0: none is.
    """

    arrived: float = field(default_factory=time.monotonic)
    plans: list[Plan] = field(default_factory=list)
    stage_ms: dict[str, float] = field(default_factory=dict)
    n_cached: int = 0
    n_scored: int = 0
    client: Client = ANYBODY
    indices: tuple[str, ...] = ()
    slow_log_ms: int = 0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time spent to the stage's."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.stage_ms[stage] = self.stage_ms.get(stage, 0.0) + (time.monotonic() - started) * 1000

    def split_queue(self, model_ms: float) -> None:
        """Of the wait for scores, the model's own time is told apart."""
        self.stage_ms.update(queue=max(self.stage_ms["queue"] - model_ms, 0.0), model=model_ms)

    def passed_ms(self) -> float:
        """Milliseconds since the request arrived."""
        return (time.monotonic() - self.arrived) * 1000

    def tell(self, answer: Answer, *outcomes: Outcome) -> Answer:
        """Count, trace, and put the headers on the answer, which comes back; each reason once."""
        told = [(status_of(outcome), reason_of(outcome) or "") for outcome in outcomes]
        count_request(told, self.stage_ms, n_cached=self.n_cached, n_scored=self.n_scored)
        if (served := current_span()).is_recorded:
            served.set(**self._describe(told))
        if 0 < self.slow_log_ms <= (took_ms := self.passed_ms()):
            stages = {f"{stage}_ms": spent_ms for stage, spent_ms in self.stage_ms.items()}
            logger.warning(Event("search.slow", took_ms=took_ms, **stages, **self._describe(told)))
        headers = answer.headers
        headers[REQUEST_ID_HEADER] = REQUEST_ID.get()
        found = {status for status, _ in told}
        headers["X-Rerank-Status"] = next(status for status in _STATUSES.values() if status in found)
        _join(headers, "X-Rerank-Reason", [reason for _, reason in told if reason])
        _join(headers, "X-Rerank-Model", [plan.policy.model for plan in self.plans])
        _join(headers, "X-Rerank-Window", [str(plan.policy.window) for plan in self.plans])
        timing = (f"{stage};dur={spent_ms:.1f}" for stage, spent_ms in self.stage_ms.items())
        headers.add("Server-Timing", ", ".join(timing))
        return answer

    def _describe(self, told: Sequence[tuple[str, str]]) -> dict[str, object]:
        """What was done, and nothing that a user wrote."""
        fields: dict[str, Sequence[object]] = {
            "status": [status for status, _ in told],
            "reason": [reason for _, reason in told if reason],
            "policy": [plan.policy.name for plan in self.plans],
            "model": [plan.policy.model for plan in self.plans],
            "window": [plan.policy.window for plan in self.plans],
            "index": self.indices,
        }
        words = {name: ",".join(dict.fromkeys(map(str, values))) for name, values in fields.items()}
        return {**words, "pairs": self.n_cached + self.n_scored, "cached": self.n_cached}


def _join(headers: Headers, name: str, values: Sequence[str]) -> None:
    if values:
        headers[name] = ", ".join(dict.fromkeys(values))
