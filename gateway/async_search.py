"""Knows asynchronous searches: the answer may come later, by an id that tells how it is to be ranked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from gateway.cluster import ClusterAnswer
from gateway.coding import UnreadableCodingError, decode
from gateway.forms import Form
from gateway.proxy import pass_back, pass_back_with
from gateway.search import PERHAPS_OURS, SingleSearch
from gateway.story import Outcome, Story
from gateway.tools import SearchTools, with_text
from gateway.wire import Answer, ClientRequest
from search_plugin import (
    TICKET_MARK,
    FirstStage,
    Plan,
    Reason,
    Skip,
    UnreadableAnswer,
    apply_edits,
    read_filter_path,
    read_indices,
    read_parameters,
    read_ticket,
    scan_document,
    scan_object,
    write_ticket,
)

_ID_HEADERS = frozenset({"x-elasticsearch-async-id"})
_UNFINISHED = frozenset({"INIT", "RUNNING"})
"""OpenSearch's states of a search that has no answer yet."""


@dataclass(frozen=True)
class AsyncSearch:
    """Answers the request that starts an asynchronous search."""

    tools: SearchTools
    form: Form

    def answer(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Answer:
        """See `SingleSearch.answer`; the id in the answer brings the plan back with a later request."""
        named = indices or tuple(read_indices(read_parameters(request.target).get("index", "")))
        single = SingleSearch(self.tools, self.form)
        plan = self.tools.guard(lambda: single.plan(request, named, story))
        if isinstance(plan, Skip):
            return self.tools.leave_alone(request, plan, story)
        ticket = write_ticket(plan, self.tools.policies.current().policies)
        if ticket is None:
            return self.tools.leave_alone(request, Skip(Reason.BODY_TOO_LARGE, plan.stripped), story)
        with story.measure("cluster"):
            answer = self.tools.send(request, plan.enlarged)
            if answer.status in PERHAPS_OURS:
                answer.read()
                return self.tools.leave_alone(request, Skip(Reason.CLUSTER_REFUSED, plan.stripped), story)
        return _answer_envelope(self.tools, answer, plan, ticket, story)


@dataclass(frozen=True)
class AsyncAnswer:
    """Answers a request for what an asynchronous search has found so far, for its state, or for its end."""

    tools: SearchTools
    form: Form

    def answer(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Answer:
        """The cluster's answer, ranked when it is whole; its own to the whole id where that has no ticket.

        Raises:
            ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: as `proxy.forward`.
        """
        path, mark, query = request.target.partition("?")
        path, ticket = _split_id(path)
        plan = read_ticket(ticket, self.tools.find_rules(b""))
        if plan is None:
            return self.tools.leave_alone(request, Skip(Reason.UNSUPPORTED_FORMAT), story)
        plan = replace(plan, filter_path=read_filter_path(request.target))
        with story.measure("cluster"):
            answer = self.tools.send(request, replace(plan.stripped, target=path + mark + query))
        return _answer_envelope(self.tools, answer, plan, ticket, story)


def _split_id(path: str) -> tuple[str, str]:
    for mark in (TICKET_MARK, "%7E", "%7e"):
        own, found, ticket = path.rstrip("/").rpartition(mark)
        if found:
            return own, ticket
    return path, ""


def _answer_envelope(
    tools: SearchTools, answer: ClusterAnswer, plan: Plan, ticket: str, story: Story
) -> Answer:
    """The answer with our id in it, and the search's answer inside of it ranked, if it is there and whole."""
    story.plans.append(plan)
    if answer.status != 200:
        return story.tell(pass_back(answer), Skip(Reason.CLUSTER_REFUSED))
    content = answer.read()
    unranked: Outcome = Skip(Reason.STILL_RUNNING)
    try:
        text = decode(content, answer.header(b"content-encoding")).decode("utf-8", "surrogateescape")
        members = scan_document(text, scan_object).value
    except (UnreadableCodingError, ValueError, RecursionError):
        return story.tell(pass_back_with(answer, content), Skip(Reason.UNSUPPORTED_FORMAT))
    with_our_id = []
    if (own := members.get("id")) and isinstance(own.value, str):
        with_our_id.append((own.start, own.end, json.dumps(own.value + TICKET_MARK + ticket)))

    def rank() -> tuple[Answer, Outcome]:
        edits, outcome = [*with_our_id], unranked
        if inner := members.get("response"):
            with suppress(UnreadableAnswer):
                first_stage = FirstStage.parse(text[inner.start : inner.end])
                if _is_whole(members):
                    (page,) = tools.rescorer.rescore([(plan, first_stage)], story)
                else:
                    page = tools.rescorer.restore(plan, first_stage, outcome, story)
                outcome = page.outcome
                edits.append((inner.start, inner.end, page.text))
        return with_text(answer, apply_edits(text, 0, len(text), edits), plan.filter_path), outcome

    ranked = tools.guard(rank, "merge.failed")
    if isinstance(ranked, Skip):  # the cluster has no other answer to this id
        ranked = with_text(answer, apply_edits(text, 0, len(text), with_our_id)), ranked
    told, outcome = ranked
    for name in {name for name, _ in told.headers if name.lower() in _ID_HEADERS}:
        told.headers[name] = told.headers[name] + TICKET_MARK + ticket
    return story.tell(told, outcome)


def _is_whole(members: Mapping[str, Any]) -> bool:
    """Has the search ended, so that its hits are the best ones?"""
    running, state = members.get("is_running"), members.get("state")
    return not (running and running.value) and not (state and state.value in _UNFINISHED)
