"""Knows the whole story of one search; the only place that catches scoring failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.cluster import Cluster, ClusterAnswer
from gateway.coding import (
    TooLargeError,
    UnknownCodingError,
    UnreadableCodingError,
    accepts_gzip,
    decode,
    encode,
)
from gateway.proxy import forward, pass_back
from gateway.scoring import Scorer, ScoringFailed
from gateway.wire import Answer, ClientRequest, buffer_body
from search_plugin import (
    FirstStage,
    Plan,
    Policy,
    Reason,
    SearchRequest,
    Skip,
    UnreadableAnswer,
    merge,
    plan_search,
    read_passages,
    restore,
)

logger = logging.getLogger(__name__)

Outcome = Skip | ScoringFailed | None
"""Why the order is still the cluster's; None if the scores are applied."""


@dataclass(frozen=True)
class Searches:
    """Answers searches that may be reranked; trouble with scores costs the client only the order."""

    cluster: Cluster
    scorer: Scorer
    policies: Sequence[Policy]
    body_limit_bytes: int

    def answer(self, request: ClientRequest) -> Answer:
        """The client's page, rescored where that can be, and headers that tell which and why.

        Raises:
            ClusterUnreachable, RefusedRequest, UnreadableBody: as `proxy.forward`.
        """
        story = _Story()
        request = buffer_body(request, self.body_limit_bytes)
        plan = self._plan(request)
        if isinstance(plan, Skip):
            return self._leave_alone(request, story, plan.reason)
        story.plan = plan
        with story.measure("cluster"):
            enlarged = self._send_enlarged(request, plan)
            if enlarged.status not in (200, 400):  # the window is not why: asking again would only add load
                return story.tell(pass_back(enlarged), Skip(Reason.CLUSTER_REFUSED))
            body = enlarged.read()
        if enlarged.status == 400:  # perhaps because of the window, which the client must not notice
            return self._leave_alone(request, story, Reason.CLUSTER_REFUSED)
        try:
            with story.measure("merge"):
                first_stage = FirstStage.parse(decode(body, enlarged.header(b"content-encoding")))
        except (UnreadableAnswer, UnreadableCodingError):
            return self._leave_alone(request, story, Reason.UNSUPPORTED_FORMAT)
        page, outcome = self._rescore(plan, first_stage, story)
        return story.tell(_answer_page(enlarged, page), outcome)

    def _plan(self, request: ClientRequest) -> Plan | Skip:
        try:
            return self._read_plan(request)
        except Exception:  # a mistake of ours: the client has its search without a plan
            logger.exception("plan.failed")
            return Skip(Reason.BACKEND_ERROR)

    def _read_plan(self, request: ClientRequest) -> Plan | Skip:
        if not isinstance(request.body, bytes):
            return Skip(Reason.BODY_TOO_LARGE)
        try:
            body = decode(request.body, request.header(b"content-encoding"), self.body_limit_bytes)
        except UnreadableCodingError as error:
            return Skip(_CODING_REASONS[type(error)])
        headers = {name.decode("latin-1").lower() for name, _ in request.headers}
        values = {name: (request.header(name.encode("latin-1")) or b"").decode("latin-1") for name in headers}
        return plan_search(SearchRequest(request.method, request.target, values, body), self.policies)

    def _leave_alone(self, request: ClientRequest, story: _Story, reason: Reason) -> Answer:
        with story.measure("cluster"):
            answer = forward(self.cluster, request, is_read=True)
        return story.tell(answer, Skip(reason))

    def _send_enlarged(self, request: ClientRequest, plan: Plan) -> ClusterAnswer:
        headers = [(name, value) for name, value in request.headers if name.lower() != b"accept-encoding"]
        if accepts_gzip(request.header(b"accept-encoding")):
            headers.append((b"Accept-Encoding", b"gzip"))  # the one coding that is undone here
        return self.cluster.send(request.method, plan.target, headers, request.body, is_read=True)

    def _rescore(self, plan: Plan, first_stage: FirstStage, story: _Story) -> tuple[bytes, Outcome]:
        """The page's bytes, whatever happens to the scores."""
        outcome: Outcome
        try:
            passages = read_passages(plan, first_stage)
            if not isinstance(passages, Skip):
                deadline = story.arrived + plan.policy.deadline_ms / 1000
                with story.measure("queue"):
                    reply = self.scorer.score(plan.policy.model, plan.query_text, passages, deadline)
                story.split_queue(reply.model_ms)
                with story.measure("merge"):
                    return merge(plan, first_stage, reply.scores or ()), None
            outcome = passages
        except ScoringFailed as failure:
            outcome = failure
        except Exception:  # whatever it is, the client has a page without it
            logger.exception("score.failed")
            outcome = ScoringFailed(Reason.BACKEND_ERROR)
        with story.measure("merge"):
            return restore(plan, first_stage), outcome


@dataclass
class _Story:
    """What is known of one search so far, for the headers that tell it."""

    arrived: float = field(default_factory=time.monotonic)
    plan: Plan | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)

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

    def tell(self, answer: Answer, outcome: Outcome) -> Answer:
        """Put the headers on the answer; the same answer comes back."""
        headers = answer.headers
        headers["X-Rerank-Status"] = _STATUSES[type(outcome)]
        if outcome is not None:
            headers["X-Rerank-Reason"] = outcome.reason.value
        if self.plan is not None:
            headers["X-Rerank-Model"] = self.plan.policy.model
            headers["X-Rerank-Window"] = str(self.plan.policy.window)
        stages = (f"{stage};dur={spent_ms:.1f}" for stage, spent_ms in self.stage_ms.items())
        headers.add("Server-Timing", ", ".join(stages))
        return answer


_STATUSES: dict[type[Skip] | type[ScoringFailed] | type[None], str] = {
    type(None): "applied",
    Skip: "skipped",
    ScoringFailed: "failed",
}

_CODING_REASONS: dict[type[UnreadableCodingError], Reason] = {
    TooLargeError: Reason.BODY_TOO_LARGE,
    UnknownCodingError: Reason.UNSUPPORTED_FORMAT,
    UnreadableCodingError: Reason.MALFORMED_BODY,
}


def _answer_page(enlarged: ClusterAnswer, page: bytes) -> Answer:
    """The enlarged answer with another body, in the coding that the cluster chose."""
    body = encode(page, enlarged.header(b"content-encoding"))
    answer = pass_back(enlarged)
    answer.response = [body]
    written = (name for name, _ in answer.headers if name.lower() == "content-length")
    answer.headers[next(written, "Content-Length")] = str(len(body))  # the letter case stays the cluster's
    return answer
