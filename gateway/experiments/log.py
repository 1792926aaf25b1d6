"""Knows the folder where queries and events are kept as UBI has them, for training and for other tools."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from gateway.errors import ConfigurationError
from gateway.experiments.events import write_line
from search_plugin import Trial
from worker.contract.logs import Event

logger = logging.getLogger(__name__)


class UbiLog:
    """Appends lines to a file a day; several processes may append to the same.

    Raises:
        ConfigurationError: the folder can't be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--events-folder: {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise ConfigurationError(f"--events-folder: {folder}: can't be written to")

    def note_shown(
        self, trial: Trial, query_id: str, objects: Iterable[str], teams: Iterable[int | None]
    ) -> None:
        """What an answer showed, as a query of UBI."""
        plan, experiment = trial.plan, trial.experiment
        told = {
            "query_id": query_id,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client_id": trial.unit,
            "user_query": plan.query_text,
            "object_id_field": experiment.object_id_field,
            "query_response_id": query_id,
            "query_response_hit_ids": list(objects),
            "query_attributes": {
                "policy": plan.policy.name,
                "experiment": experiment.name,
                "arm": trial.arm_name,
                "teams": [team if team is None else experiment.arms[team] for team in teams],
            },
        }
        self._append("queries", [told])

    def note_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """What users did, as it came."""
        self._append("events", events)

    def _append(self, kind: Literal["queries", "events"], told: Iterable[Mapping[str, Any]]) -> None:
        """A full disk costs lines, never a search."""
        lines = b"".join(map(write_line, told))
        path = self._folder / f"{kind}-{datetime.now(UTC):%Y-%m-%d}.ndjson"
        try:
            with path.open("ab", buffering=0) as file:
                file.write(lines)
        except OSError as error:
            logger.warning(Event("events.lost", error=error))
