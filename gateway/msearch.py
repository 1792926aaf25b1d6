"""Knows multi-searches: each item a search of its own, one request to the cluster, all scores at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.coding import UnreadableCodingError, decode
from gateway.forms import Form
from gateway.proxy import pass_back
from gateway.rescoring import Page
from gateway.search import PERHAPS_OURS
from gateway.story import Story
from gateway.tools import SearchTools, header_values, with_text
from gateway.wire import Answer, ClientRequest
from search_plugin import (
    BadAsk,
    FirstStage,
    Item,
    Plan,
    Reason,
    Responses,
    Rewrite,
    SearchRequest,
    Skip,
    UnreadableAnswer,
    ask_for_all,
    join_items,
    plan_search,
    read_filter_path,
    split_items,
    strip_target,
)

Decision = Plan | Skip


@dataclass(frozen=True)
class MultiSearch:
    """Answers a request that is several searches."""

    tools: SearchTools
    form: Form

    def answer(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Answer:
        """Each item's page as if it had been asked for alone.

        Raises:
            BadAsk: what one of the items asks of us is wrong; as with the engines, none is answered then.
            ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: as `proxy.forward`.
        """
        body = self.tools.read_body(request)
        if isinstance(body, Skip):
            return self.tools.leave_alone(request, body, story)
        try:
            items = split_items(body)
            named = [item.read_indices(indices) for item in items]
        except ValueError:
            return self.tools.leave_alone(request, Skip(Reason.MALFORMED_BODY), story)

        def plan() -> tuple[list[Decision], Rewrite, Rewrite]:
            decisions = self._plan(request, items, named, body, story)
            enlarged = [d.enlarged if isinstance(d, Plan) else _stripped(d) for d in decisions]
            stripped = [_stripped(decision) for decision in decisions]
            return decisions, self._rewrite(request, items, stripped), self._rewrite(request, items, enlarged)

        planned = self.tools.guard(plan)
        if isinstance(planned, Skip):
            return self.tools.leave_alone(request, planned, story)
        decisions, stripped, asked = planned
        story.plans += [decision for decision in decisions if isinstance(decision, Plan)]
        if not story.plans:
            return story.tell(self.tools.forward(request, stripped, story), *_skips(decisions))
        with story.measure("cluster"):
            answer = self.tools.send(request, replace(asked, target=ask_for_all(asked.target)))
            if answer.status not in (200, *PERHAPS_OURS):
                return story.tell(pass_back(answer), Skip(Reason.CLUSTER_REFUSED))
            content = answer.read()
        try:
            if answer.status != 200:
                raise UnreadableAnswer("refused")
            responses = Responses.parse(decode(content, answer.header(b"content-encoding")))
            if len(responses) != len(items):
                raise UnreadableAnswer("not one answer an item")
        except (UnreadableAnswer, UnreadableCodingError):
            return story.tell(self.tools.forward(request, stripped, story), Skip(Reason.CLUSTER_REFUSED))

        def rescore() -> Answer:
            pages = self._rescore(request, items, decisions, responses, story)
            with story.measure("merge"):
                text = responses.join([page.text for page in pages])
                told = with_text(answer, text, read_filter_path(request.target))
            return story.tell(told, *(page.outcome for page in pages))

        rescored = self.tools.guard(rescore, "merge.failed")
        if isinstance(rescored, Skip):
            return story.tell(self.tools.forward(request, stripped, story), rescored)
        return rescored

    def _plan(
        self,
        request: ClientRequest,
        items: Sequence[Item],
        named: Sequence[tuple[str, ...]],
        body: bytes,
        story: Story,
    ) -> list[Decision]:
        rules = self.tools.find_rules(body)
        headers = header_values(request)
        decisions: list[Decision] = []
        for number, (item, indices) in enumerate(zip(items, named, strict=True)):
            search = self.form.read(self.tools, request, indices, item.body, story)
            if isinstance(search, Skip):
                decisions.append(search)
                continue
            asked = SearchRequest(indices, request.target, headers, search, in_body=True)
            try:
                decisions.append(plan_search(asked, rules))
            except BadAsk as error:
                raise error.inside(f"searches[{number}]") from None
        return decisions

    def _rewrite(self, request: ClientRequest, items: Sequence[Item], rewrites: Sequence[Rewrite]) -> Rewrite:
        bodies = [rewrite.body for rewrite in rewrites]
        target = strip_target(request.target)
        if not any(bodies):
            return Rewrite(target)
        changed = [
            item if body is None else replace(item, body=self.form.write(item.body, body))
            for item, body in zip(items, bodies, strict=True)
        ]
        return Rewrite(target, join_items(changed))

    def _rescore(
        self,
        request: ClientRequest,
        items: Sequence[Item],
        decisions: Sequence[Decision],
        responses: Responses,
        story: Story,
    ) -> list[Page]:
        pages = [
            Page(text, decision if isinstance(decision, Skip) else Skip(Reason.CLUSTER_REFUSED))
            for text, decision in zip(responses.texts(), decisions, strict=True)
        ]
        work: dict[int, tuple[Plan, FirstStage]] = {}
        for i, decision in enumerate(decisions):
            if isinstance(decision, Plan):
                with suppress(UnreadableAnswer):
                    work[i] = decision, FirstStage.parse(pages[i].text)
        refused = [
            i
            for i, decision in enumerate(decisions)
            if isinstance(decision, Plan) and i not in work and _read_status(pages[i].text) in PERHAPS_OURS
        ]
        for i, page in self._ask_again(request, items, decisions, pages, refused, story).items():
            pages[i] = page
        for i, page in zip(work, self.tools.rescorer.rescore(list(work.values()), story), strict=True):
            pages[i] = page
        return pages

    def _ask_again(
        self,
        request: ClientRequest,
        items: Sequence[Item],
        decisions: Sequence[Decision],
        pages: Sequence[Page],
        refused: Sequence[int],
        story: Story,
    ) -> dict[int, Page]:
        """What the cluster refused, perhaps because of the window, once more as the client sent it."""
        if not refused:
            return {}
        own = [items[i] for i in refused]
        rewrite = self._rewrite(request, own, [_stripped(decisions[i]) for i in refused])
        with story.measure("cluster"):
            again = Rewrite(ask_for_all(rewrite.target), rewrite.body or join_items(own))
            answer = self.tools.send(request, again)
            content = answer.read()
        try:
            texts = Responses.parse(decode(content, answer.header(b"content-encoding"))).texts()
        except (UnreadableAnswer, UnreadableCodingError):
            return {}
        return {i: Page(text, pages[i].outcome) for i, text in zip(refused, texts, strict=False)}


def _read_status(text: str) -> object:
    with suppress(ValueError, RecursionError, AttributeError):
        return json.loads(text).get("status")
    return None


def _stripped(decision: Decision) -> Rewrite:
    return decision.stripped or Rewrite("")


def _skips(decisions: Sequence[Decision]) -> list[Skip]:
    return [decision for decision in decisions if isinstance(decision, Skip)]
