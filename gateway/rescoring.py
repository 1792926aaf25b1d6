"""Knows how first stages become pages; the only place that catches scoring failures."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import BoundedSemaphore
from typing import NamedTuple, TypeVar

from gateway.errors import ClientGone, error_body
from gateway.request_id import HelperPool
from gateway.scoring import Scorer, ScoreRequest, ScoringFailed
from gateway.story import Outcome, Shadowed, Story, reason_of, status_of
from search_plugin import (
    FIRST_STAGE_ARM,
    Difference,
    FirstStage,
    Passages,
    Placed,
    Plan,
    Reason,
    Skip,
    Trial,
    combine_scores,
    compare_orders,
    interleave,
    make_note,
    merge,
    place_hits,
    read_passages,
    restore,
)
from worker.contract.logs import Event
from worker.contract.traces import span

logger = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 16  # jobs of one multi-search that wait for scores at the same time
_SHADOWS = 4  # searches that are scored for nobody at the same time


class Page(NamedTuple):
    """The text that answers one search, and why its order is still the cluster's.

    Attributes:
        is_error: it is an error body, since the client wants no other order than the model's.
        shown: the numbers of its hits in first-stage order, where it shows what an experiment is to show.
        teams: the arm that picked each of them, where two did; None for one of the tail.
    """

    text: str
    outcome: Outcome
    is_error: bool = False
    shown: tuple[int, ...] | None = None
    teams: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Rescorer:
    """Gets scores for first stages and merges them; trouble with scores costs the client only the order."""

    scorer: Scorer
    _shadows: HelperPool = field(default_factory=lambda: HelperPool(_SHADOWS, thread_name_prefix="shadow"))
    _free_shadows: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_SHADOWS))

    def rescore(self, work: Sequence[tuple[Plan, FirstStage]], story: Story) -> list[Page]:
        """One page each; all wait for their scores at the same time."""
        return _run_at_once([partial(self._rescore_one, plan, found) for plan, found in work], story)

    def rescore_trial(
        self, trial: Trial, first_stage: FirstStage, story: Story, tell: Callable[[Difference], None]
    ) -> Page:
        """The page of a search that takes part in an experiment.

        Args:
            tell: called by another thread when what was ranked for nobody is there.
        """
        return self._rescore_one(trial.plan, first_stage, story, partial(self._show, trial, tell))

    def restore(self, plan: Plan, first_stage: FirstStage, outcome: Outcome, story: Story) -> Page:
        """The page as it would have been without us, for the reason given."""
        return self._write(plan, first_stage, (), outcome, story)

    def _rescore_one(
        self,
        plan: Plan,
        first_stage: FirstStage,
        story: Story,
        show: Callable[[FirstStage, Passages, Story], Page] | None = None,
    ) -> Page:
        """The page in the model's order, or as ``show`` makes it; the cluster's where that fails."""
        outcome: Outcome
        try:
            with story.measure("merge"):
                passages = read_passages(plan, first_stage)
            if isinstance(passages, Skip):
                outcome = passages
            elif plan.policy.mode == "shadow":
                self._rank_for_nobody(plan, plan, first_stage, passages)
                outcome = Shadowed()
            elif show is not None:
                return show(first_stage, passages, story)
            else:
                placed = self._place(plan, first_stage, passages, story)
                return self._write(plan, first_stage, placed, None, story)
        except ScoringFailed as failure:
            outcome = failure
        except ClientGone:  # nobody is there to take a page
            raise
        except Exception:  # whatever it is, the client has a page without it
            logger.exception(Event("score.failed"))
            outcome = ScoringFailed(Reason.BACKEND_ERROR)
        return self.restore(plan, first_stage, outcome, story)

    def _write(
        self, plan: Plan, first_stage: FirstStage, placed: Sequence[Placed], outcome: Outcome, story: Story
    ) -> Page:
        status, reason = status_of(outcome), reason_of(outcome)
        with (
            story.measure("merge"),
            span("merge", policy=plan.policy.name, status=status, reason=reason),
        ):
            note = make_note(
                plan,
                first_stage,
                placed,
                status=status,
                reason=reason,
                took_ms=story.passed_ms(),
                cache_hits=story.n_cached,
            )
            if isinstance(outcome, ScoringFailed) and not plan.fails_open:
                why = f"[allow_rerank_failures] is false and there are no scores: {outcome.reason.value}"
                error = error_body(500, "rerank_failed_exception", why)  # not a status that clients retry
                return Page(json.dumps(error), outcome, is_error=True)
            if outcome is None:
                return Page(merge(plan, first_stage, placed, note), None)
            return Page(restore(plan, first_stage, note), outcome)

    def _place(self, plan: Plan, first_stage: FirstStage, passages: Passages, story: Story) -> list[Placed]:
        request = ScoreRequest(
            model=plan.policy.model,
            query_text=plan.query_text,
            passages=tuple(passages.texts),
            deadline=story.arrived + plan.policy.deadline_ms / 1000,
            policy=plan.policy.name,
            client=story.client,
        )
        with story.measure("queue"):
            scores = self.scorer.score(request)
        story.split_queue(scores.model_ms)
        story.n_cached += scores.n_cached
        story.n_scored += len(scores.logits) - scores.n_cached
        with story.measure("merge"):
            return place_hits(plan, first_stage, combine_scores(plan, passages, scores.logits))

    def _show(
        self,
        trial: Trial,
        tell: Callable[[Difference], None],
        first_stage: FirstStage,
        passages: Passages,
        story: Story,
    ) -> Page:
        """What the experiment is to show to this unit; scores of both arms have to be there, or of none."""
        plan = next(filter(None, trial.shown), trial.plan)
        scorings = [partial(self._place, one, first_stage, passages) for one in trial.shown if one]
        scored = iter(_run_at_once(scorings, story))
        rankings = [next(scored) if one else None for one in trial.shown]
        placed = rankings[0]
        teams: Mapping[int, int] = {}
        if len(rankings) > 1:
            n_window = min(plan.policy.window, len(first_stage.hits))
            placed, teams = interleave(trial, rankings, n_window)
        if placed is None:
            order = list(range(len(first_stage.hits)))
            page = self.restore(plan, first_stage, Skip(Reason.EXPERIMENT), story)
        else:
            order = [place.hit for place in placed]
            page = self._write(plan, first_stage, placed, None, story)
        for other in trial.unshown:
            self._rank_for_nobody(plan, other, first_stage, passages, order, tell)
        shown = tuple(order[plan.page_from : plan.page_from + plan.page_size])
        return page._replace(shown=shown, teams=tuple(map(teams.get, shown)) if teams else ())

    def _rank_for_nobody(
        self,
        plan: Plan,
        other: Plan | None,
        first_stage: FirstStage,
        passages: Passages,
        shown: Sequence[int] | None = None,
        tell: Callable[[Difference], None] = lambda difference: None,
    ) -> None:
        """Rank in the background and tell how far the order is from what is shown; none waits for it.

        Args:
            other: how to rank; None for the first stage.
            shown: by default the first stage.
        """
        first = range(len(first_stage.hits))
        page = range(plan.page_from, plan.page_from + plan.page_size)
        names = {"policy": plan.policy.name, "model": other.policy.model if other else FIRST_STAGE_ARM}

        def run() -> None:
            story = Story()
            try:
                placed = self._place(other, first_stage, passages, story) if other else None
                order = first if placed is None else [place.hit for place in placed]
                difference = compare_orders(first if shown is None else shown, order, page)
                tell(difference)
            except ScoringFailed as failure:
                logger.info(Event("shadow.failed", **names, reason=failure.reason.value))
                return
            except Exception:
                logger.exception(Event("shadow.failed", **names))
                return
            finally:
                self._free_shadows.release()
            told = {"took_ms": story.passed_ms(), "moved": difference.moved, "of": difference.n_places}
            logger.info(Event("shadow.scored", **names, **told, overlap=difference.overlap))

        if self._free_shadows.acquire(blocking=False):  # who comes in between is one sample less
            self._shadows.submit(run)


def _run_at_once(runs: Sequence[Callable[[Story], T]], story: Story) -> list[T]:
    """What each gives; all wait for their scores at the same time."""
    if len(runs) < 2:
        return [run(story) for run in runs]
    with story.measure("rerank"), HelperPool(min(len(runs), _AT_ONCE)) as pool:
        # each measures for itself: their times overlap
        stories = [Story(story.arrived, client=story.client) for _ in runs]
        results = list(pool.map(lambda run, own: run(own), runs, stories))
    story.n_cached += sum(one.n_cached for one in stories)
    story.n_scored += sum(one.n_scored for one in stories)
    return results
