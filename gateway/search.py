"""Knows the whole story of one search, and what it shares with those of several."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

from gateway.cluster import Cluster, ClusterAnswer
from gateway.coding import (
    TooLargeError,
    UnknownCodingError,
    UnreadableCodingError,
    accepts_gzip,
    decode,
    encode,
)
from gateway.policies import PolicyFile
from gateway.proxy import forward, pass_back
from gateway.rescoring import Page, Rescorer
from gateway.story import Story
from gateway.wire import Answer, ClientRequest, json_answer
from search_plugin import (
    BadAsk,
    FirstStage,
    Plan,
    Reason,
    Rewrite,
    Rules,
    SearchRequest,
    Skip,
    UnreadableAnswer,
    filter_answer,
    plan_search,
    strip_target,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchTools:
    """What every kind of search needs: the cluster, the scores, the policies, and how they go together."""

    cluster: Cluster
    rescorer: Rescorer
    policies: PolicyFile
    body_limit_bytes: int

    def read_body(self, request: ClientRequest) -> bytes | Skip:
        """The request's body without its coding, or why it is not read."""
        if not isinstance(request.body, bytes):
            return Skip(Reason.BODY_TOO_LARGE)
        try:
            return decode(request.body, request.header(b"content-encoding"), self.body_limit_bytes)
        except UnreadableCodingError as error:
            return Skip(_CODING_REASONS[type(error)])

    def find_rules(self, body: bytes) -> Rules:
        """The rules as they are now."""
        config = self.policies.current()
        names_us = b"rerank" in body  # only then does it matter which engine it is
        return Rules(config.policies, config.models, self.cluster.find_engine() if names_us else None)

    def plan(self, search: SearchRequest, rules: Rules) -> Plan | Skip:
        """See `plan_search`; a mistake of ours costs the client only the order."""
        try:
            return plan_search(search, rules)
        except BadAsk:
            raise
        except Exception:
            logger.exception("plan.failed")
            return Skip(Reason.BACKEND_ERROR)

    def send(self, request: ClientRequest, rewrite: Rewrite) -> ClusterAnswer:
        """Send a search whose answer is going to be read here."""
        headers = [(name, value) for name, value in request.headers if name.lower() != b"accept-encoding"]
        if accepts_gzip(request.header(b"accept-encoding")):
            headers.append((b"Accept-Encoding", b"gzip"))  # the one coding that is undone here
        sent = apply_rewrite(replace(request, headers=headers), rewrite)
        message = (sent.method, sent.target, sent.headers, sent.body)
        return self.cluster.send(*message, is_read=True, client=sent.client)

    def leave_alone(self, request: ClientRequest, skip: Skip, story: Story) -> Answer:
        """The cluster's own answer to the client's own search."""
        rewrite = skip.stripped or Rewrite(strip_target(request.target))
        return story.tell(self.forward(request, rewrite, story), skip)

    def forward(self, request: ClientRequest, rewrite: Rewrite, story: Story) -> Answer:
        """Send a search whose answer is passed on as it comes."""
        with story.measure("cluster"):
            return forward(self.cluster, apply_rewrite(request, rewrite), is_read=True)


@dataclass(frozen=True)
class SingleSearch:
    """Answers a request that is one search."""

    tools: SearchTools

    def answer(
        self,
        request: ClientRequest,
        indices: tuple[str, ...],
        story: Story,
        original: ClientRequest | None = None,
    ) -> Answer:
        """The client's page, rescored where that can be, and headers that tell which and why.

        Args:
            original: what the client sent, if that was not a search yet but became one.

        Raises:
            BadAsk: what the request asks of us is wrong.
            ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: as `proxy.forward`.
        """

        def leave_alone(skip: Skip) -> Answer:
            is_changed = skip.stripped is not None and skip.stripped.body is not None
            if original is None or is_changed:
                return self.tools.leave_alone(request, skip, story)
            return self.tools.leave_alone(original, Skip(skip.reason), story)

        body = self.tools.read_body(request)
        if isinstance(body, Skip):
            return leave_alone(body)
        search = SearchRequest(indices, request.target, header_values(request), body)
        plan = self.tools.plan(search, self.tools.find_rules(body))
        if isinstance(plan, Skip):
            return leave_alone(plan)
        story.plans.append(plan)
        with story.measure("cluster"):
            enlarged = self.tools.send(request, plan.enlarged)
            if enlarged.status not in (200, 400):  # the window is not why: asking again would only add load
                return story.tell(pass_back(enlarged), Skip(Reason.CLUSTER_REFUSED))
            text = enlarged.read()
        if enlarged.status == 400:  # perhaps because of the window, which the client must not notice
            return leave_alone(Skip(Reason.CLUSTER_REFUSED, plan.stripped))
        try:
            with story.measure("merge"):
                first_stage = FirstStage.parse(decode(text, enlarged.header(b"content-encoding")))
        except (UnreadableAnswer, UnreadableCodingError):
            return leave_alone(Skip(Reason.UNSUPPORTED_FORMAT, plan.stripped))
        (page,) = self.tools.rescorer.rescore([(plan, first_stage)], story)
        return answer_page(enlarged, plan, page, story)


def answer_page(enlarged: ClusterAnswer, plan: Plan, page: Page, story: Story) -> Answer:
    """The page as the client asked for it."""
    if page.is_error:
        return story.tell(json_answer(500, json.loads(page.text)), page.outcome)
    with story.measure("merge"):
        text = filter_answer(page.text, plan.filter_path) if plan.filter_path else page.text
        answer = with_text(enlarged, text)
    return story.tell(answer, page.outcome)


def with_text(enlarged: ClusterAnswer, text: str) -> Answer:
    """The cluster's answer with another text, in the coding that the cluster chose."""
    body = encode(text.encode("utf-8", "surrogateescape"), enlarged.header(b"content-encoding"))
    answer = pass_back(enlarged)
    answer.response = [body]
    answer.headers["Content-Length"] = str(len(body))
    return answer


def header_values(request: ClientRequest) -> dict[str, str]:
    """The request's headers by lower-case name."""
    names = {name.lower() for name, _ in request.headers}
    return {name.decode("latin-1"): (request.header(name) or b"").decode("latin-1") for name in names}


def apply_rewrite(request: ClientRequest, rewrite: Rewrite) -> ClientRequest:
    """The request as the cluster is to get it: without our headers, and with a body as the rewrite says."""
    headers = [(name, value) for name, value in request.headers if not name.lower().startswith(b"x-rerank")]
    if rewrite.body is None:
        return replace(request, target=rewrite.target, headers=headers)
    framing = (b"content-length", b"content-encoding")
    headers = [(name, value) for name, value in headers if name.lower() not in framing]
    if request.header(b"content-type") is None:
        # Elasticsearch wants the same version in both
        accept = request.header(b"accept") or b""
        headers.append((b"Content-Type", accept if b"compatible-with" in accept else b"application/json"))
    headers.append((b"Content-Length", b"%d" % len(rewrite.body)))
    return replace(request, target=rewrite.target, headers=headers, body=rewrite.body)


_CODING_REASONS: dict[type[UnreadableCodingError], Reason] = {
    TooLargeError: Reason.BODY_TOO_LARGE,
    UnknownCodingError: Reason.UNSUPPORTED_FORMAT,
    UnreadableCodingError: Reason.MALFORMED_BODY,
}
