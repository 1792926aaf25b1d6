"""Knows the whole story of one search."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial

from gateway.cluster import ClusterAnswer
from gateway.coding import UnreadableCodingError, decode
from gateway.forms import Form
from gateway.proxy import pass_back
from gateway.rescoring import Page
from gateway.story import Story
from gateway.tools import SearchTools, header_values, with_text
from gateway.wire import Answer, ClientRequest, json_answer
from search_plugin import (
    FirstStage,
    Plan,
    Reason,
    Rewrite,
    SearchRequest,
    Skip,
    Trial,
    UnreadableAnswer,
    plan_search,
)


@dataclass(frozen=True)
class SingleSearch:
    """Answers a request that is one search."""

    tools: SearchTools
    form: Form

    def answer(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Answer:
        """The client's page, rescored where that can be, and headers that tell which and why.

        Raises:
            BadAsk: what the request asks of us is wrong.
            ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: as `proxy.forward`.
        """
        plan = self.tools.guard(lambda: self.plan(request, indices, story))
        if isinstance(plan, Skip):
            return self.tools.leave_alone(request, plan, story)
        trial = self._enter_trial(plan, request)
        story.plans += [one for one in trial.shown if one] if trial else [plan]
        with story.measure("cluster"):
            enlarged = self.tools.send(request, plan.enlarged)
            if enlarged.status not in (200, *PERHAPS_OURS):
                return story.tell(pass_back(enlarged), Skip(Reason.CLUSTER_REFUSED))
            content = enlarged.read()
        if enlarged.status != 200:
            return self.tools.leave_alone(request, Skip(Reason.CLUSTER_REFUSED, plan.stripped), story)
        try:
            with story.measure("merge"):
                first_stage = FirstStage.parse(decode(content, enlarged.header(b"content-encoding")))
        except (UnreadableAnswer, UnreadableCodingError):
            return self.tools.leave_alone(request, Skip(Reason.UNSUPPORTED_FORMAT, plan.stripped), story)

        def rescore() -> Answer:
            if trial:
                return self._answer_trial(enlarged, trial, first_stage, story)
            (page,) = self.tools.rescorer.rescore([(plan, first_stage)], story)
            return _answer_page(enlarged, plan, page, story)

        answer = self.tools.guard(rescore, "merge.failed")
        if isinstance(answer, Skip):
            return self.tools.leave_alone(request, replace(answer, stripped=plan.stripped), story)
        return answer

    def _enter_trial(self, plan: Plan, request: ClientRequest) -> Trial | None:
        """The experiment that the search takes part in; none where a mistake of ours prevents it."""
        trials, config = self.tools.trials, self.tools.policies.current()
        if trials is None or not config.experiments:
            return None
        headers = header_values(request)
        found = self.tools.guard(
            lambda: trials.enter(plan, config.experiments, config.policies, request.target, headers)
        )
        return None if isinstance(found, Skip) else found

    def _answer_trial(
        self, enlarged: ClusterAnswer, trial: Trial, first_stage: FirstStage, story: Story
    ) -> Answer:
        trials = self.tools.trials
        assert trials  # or there would be no trial
        page = self.tools.rescorer.rescore_trial(
            trial, first_stage, story, partial(trials.note_difference, trial)
        )
        return trials.tell(_answer_page(enlarged, trial.plan, page, story), trial, first_stage, page)

    def plan(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Plan | Skip:
        """The decision, its rewrites in the form of the request."""
        body = self.tools.read_body(request)
        if isinstance(body, Skip):
            return body
        search = self.form.read(self.tools, request, indices, body, story)
        if isinstance(search, Skip):
            return search
        asked = SearchRequest(indices, request.target, header_values(request), search, self.form.in_body)
        plan = plan_search(asked, self.tools.find_rules(search))

        def write(rewrite: Rewrite) -> Rewrite:
            written = rewrite.body and self.form.write(body, rewrite.body)
            return replace(rewrite, body=written)

        if isinstance(plan, Skip):
            return replace(plan, stripped=plan.stripped and write(plan.stripped))
        return replace(plan, enlarged=write(plan.enlarged), stripped=write(plan.stripped))


PERHAPS_OURS = (400, 500)
"""What the cluster says to a window or a field that it does not grant: then the client's own search is sent.

Any other status has nothing to do with what we asked for more: asking again would only add load.
"""


def _answer_page(enlarged: ClusterAnswer, plan: Plan, page: Page, story: Story) -> Answer:
    """The page as the client asked for it."""
    if page.is_error:
        return story.tell(json_answer(500, json.loads(page.text)), page.outcome)
    with story.measure("merge"):
        answer = with_text(enlarged, page.text, plan.filter_path)
    return story.tell(answer, page.outcome)
