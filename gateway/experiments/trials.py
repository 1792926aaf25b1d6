"""Knows how searches take part in experiments, and notes what they showed; no search ever waits for that."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import BoundedSemaphore

from redis import RedisError

from gateway.breaker import Attempt, Breaker
from gateway.experiments.ledger import Ledger
from gateway.experiments.log import UbiLog
from gateway.metrics import count_trial
from gateway.request_id import HelperPool
from gateway.rescoring import Page
from gateway.scoring import ScoringFailed
from gateway.wire import Answer
from search_plugin import (
    Difference,
    Experiment,
    FirstStage,
    Plan,
    Policy,
    Trial,
    enter,
    find_experiments,
    name_object,
    read_unit,
)
from worker.contract.logs import Event

logger = logging.getLogger(__name__)

QUERY_ID_HEADER = "X-Rerank-Query-Id"

_MOST_WAITING = 1_000


@dataclass(frozen=True)
class Trials:
    """The experiments' side of the searches.

    Attributes:
        log: None where nothing is kept but sums.
    """

    ledger: Ledger
    log: UbiLog | None = None
    _writer: HelperPool = field(default_factory=lambda: HelperPool(1, thread_name_prefix="trials"))
    _room: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_MOST_WAITING))
    _breaker: Breaker = field(default_factory=Breaker)

    def enter(
        self,
        plan: Plan,
        experiments: Sequence[Experiment],
        policies: Sequence[Policy],
        target: str,
        headers: Mapping[str, str],
    ) -> Trial | None:
        """What the search gets as a part of the first experiment that its unit is in; None if it is in none.

        Args:
            headers: by lower-case name.
        """
        for experiment in find_experiments(plan, experiments, policies):
            unit = read_unit(experiment, target, headers)
            if not unit:
                if experiment.share and plan.page_from == 0:
                    self._note(
                        experiment, "", "without_unit", partial(self.ledger.note_without_unit, experiment)
                    )
            elif experiment.includes(unit):
                return enter(experiment, unit, plan)
        return None

    def tell(self, answer: Answer, trial: Trial, first_stage: FirstStage, page: Page) -> Answer:
        """Say in the answer, which comes back, what it is of, and note what it shows.

        An answer that is not what its arm would show says nothing.
        """
        if page.shown is None or page.is_error:
            if isinstance(page.outcome, ScoringFailed) and trial.is_counted:
                self._note(
                    trial.experiment, trial.arm_name, "failed", partial(self.ledger.note_failed, trial)
                )
            return answer
        answer.headers["X-Rerank-Experiment"] = trial.experiment.name
        answer.headers["X-Rerank-Arm"] = trial.arm_name
        if trial.is_counted:
            query_id = answer.headers[QUERY_ID_HEADER] = uuid.uuid4().hex
            named = trial.experiment.object_id_field
            objects = [name_object(first_stage.hits[hit], named) for hit in page.shown]

            def note() -> None:
                self.ledger.note_shown(trial, query_id, objects, page.teams)
                if self.log:
                    self.log.note_shown(trial, query_id, objects, page.teams)

            self._note(trial.experiment, trial.arm_name, "counted", note)
        return answer

    def note_difference(self, trial: Trial, difference: Difference) -> None:
        """What was ranked for nobody is there."""
        if trial.is_counted:
            name = trial.experiment.arms[-1]
            self._note(
                trial.experiment, name, "compared", partial(self.ledger.note_difference, trial, difference)
            )

    def _note(self, experiment: Experiment, arm: str, outcome: str, note: Callable[[], None]) -> None:
        """In the background; while Redis is away, or too slow, it is counted as lost."""

        def run() -> None:
            self._room.release()
            attempt = Attempt()
            if not attempt.enter(self._breaker):  # or what waits would hold up the process's end
                count_trial(experiment.name, arm, "lost")
                return
            try:
                note()
            except RedisError as error:
                attempt.fail()
                logger.warning(Event("experiment.lost", experiment=experiment.name, error=error))
                count_trial(experiment.name, arm, "lost")
            except Exception:  # a mistake of ours: nobody waits for it to be raised
                attempt.forget()
                logger.exception(Event("experiment.lost", experiment=experiment.name))
            else:
                attempt.succeed()
                count_trial(experiment.name, arm, outcome)

        if self._room.acquire(blocking=False):
            self._writer.submit(run)
        else:
            count_trial(experiment.name, arm, "lost")
