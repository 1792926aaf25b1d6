"""Knows how first stages become pages; the only place that catches scoring failures."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import NamedTuple

from gateway.errors import ClientGone, error_body
from gateway.request_id import HelperPool
from gateway.scoring import Scorer, ScoreRequest, ScoringFailed
from gateway.story import Outcome, Shadowed, Story, reason_of, status_of
from search_plugin import (
    FirstStage,
    Passages,
    Placed,
    Plan,
    Reason,
    Skip,
    combine_scores,
    make_note,
    merge,
    place_hits,
    read_passages,
    restore,
)
from worker.contract.logs import Event
from worker.contract.traces import span

logger = logging.getLogger(__name__)

_AT_ONCE = 16  # jobs of one multi-search that wait for scores at the same time
_SHADOWS = 4  # searches that are scored for nobody at the same time


class Page(NamedTuple):
    """The text that answers one search, and why its order is still the cluster's.

    ``is_error``: it is an error body, since the client wants no other order than the model's.
    """

    text: str
    outcome: Outcome
    is_error: bool = False


@dataclass(frozen=True)
class Rescorer:
    """Gets scores for first stages and merges them; trouble with scores costs the client only the order."""

    scorer: Scorer
    _shadows: HelperPool = field(default_factory=lambda: HelperPool(_SHADOWS, thread_name_prefix="shadow"))
    _free_shadows: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_SHADOWS))

    def rescore(self, work: Sequence[tuple[Plan, FirstStage]], story: Story) -> list[Page]:
        """One page each; all wait for their scores at the same time."""
        if len(work) < 2:
            return [self._rescore_one(plan, first_stage, story) for plan, first_stage in work]
        with story.measure("rerank"), HelperPool(min(len(work), _AT_ONCE)) as pool:
            # each measures for itself: their times overlap
            plans, first_stages = zip(*work, strict=True)
            stories = [Story(story.arrived, client=story.client) for _ in work]
            pages = list(pool.map(self._rescore_one, plans, first_stages, stories))
        story.n_cached += sum(one.n_cached for one in stories)
        story.n_scored += sum(one.n_scored for one in stories)
        return pages

    def restore(self, plan: Plan, first_stage: FirstStage, outcome: Outcome, story: Story) -> Page:
        """The page as it would have been without us, for the reason given."""
        return self._write(plan, first_stage, (), outcome, story)

    def _rescore_one(self, plan: Plan, first_stage: FirstStage, story: Story) -> Page:
        outcome: Outcome
        try:
            with story.measure("merge"):
                passages = read_passages(plan, first_stage)
            if isinstance(passages, Skip):
                outcome = passages
            elif plan.policy.mode == "shadow":
                self._score_for_nobody(plan, first_stage, passages)
                outcome = Shadowed()
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

    def _score_for_nobody(self, plan: Plan, first_stage: FirstStage, passages: Passages) -> None:
        """Score in the background and log how far the order would have moved; none waits for it."""

        def run() -> None:
            story = Story()
            try:
                placed = self._place(plan, first_stage, passages, story)
            except ScoringFailed as failure:
                logger.info(Event("shadow.failed", policy=plan.policy.name, reason=failure.reason.value))
                return
            except Exception:
                logger.exception(Event("shadow.failed", policy=plan.policy.name))
                return
            finally:
                self._free_shadows.release()
            page = range(plan.page_from, plan.page_from + plan.page_size)
            moved = sum(place.hit != rank for rank, place in enumerate(placed) if rank in page)
            told = {"took_ms": story.passed_ms(), "moved": moved, "of": min(len(page), len(placed))}
            logger.info(Event("shadow.scored", policy=plan.policy.name, model=plan.policy.model, **told))

        if self._free_shadows.acquire(blocking=False):  # who comes in between is one sample less
            self._shadows.submit(run)
