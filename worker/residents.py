"""Knows which models are resident, and exchanges one for its successor while jobs run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from worker.batching import Batcher
from worker.contract.logs import Event
from worker.errors import WorkerError
from worker.resident import ResidentModel
from worker.settings import ModelSettings

logger = logging.getLogger(__name__)

Stamp = tuple[ModelSettings, tuple[tuple[str, int, int, int], ...]]
"""What shows that a model has changed: its settings, and each file's path, number, time and size."""


class Residents(Mapping[str, Batcher[ResidentModel]]):
    """The batchers of the resident models by alias; read by all threads.

    A model is exchanged when its settings or its files have changed, and then stayed as they are from one
    look to the next: what is still being copied is not loaded. Its successor is loaded beside it (memory is
    needed for both), takes the jobs that come from then on, and the old one ends when it has finished its
    own. A successor that can't be loaded is told of in the log and by `tell_problem`, and the old one stays.

    Args:
        load: makes a model's batcher, warm and measured.
        read: tells the settings of the models that are wanted now.

    Raises:
        WorkerError: a model can't be loaded.
    """

    def __init__(
        self,
        load: Callable[[str, ModelSettings], Batcher[ResidentModel]],
        read: Callable[[], Mapping[str, ModelSettings]],
    ) -> None:
        self._load = load
        self._read = read
        self._seen = self._loaded = self._look()
        self._batchers = {alias: load(alias, settings) for alias, (settings, _) in self._loaded.items()}
        self._unreadable = ""
        self._kept: dict[str, str] = {}  # why a successor is not served

    def __getitem__(self, alias: str) -> Batcher[ResidentModel]:
        return self._batchers[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batchers)

    def __len__(self) -> int:
        return len(self._batchers)

    def tell_problem(self, alias: str) -> str:
        """Why a newer one is not served; empty if none is wanted."""
        return self._unreadable or self._kept.get(alias, "")

    def watch(self, interval_s: float) -> None:
        """Look for changes from now on, in a daemon thread."""

        def keep_looking() -> None:
            while not pause.wait(interval_s):
                self.renew()

        pause = threading.Event()
        threading.Thread(target=keep_looking, name="residents", daemon=True).start()

    def renew(self) -> None:
        """Look once, and exchange what has changed."""
        try:
            before, self._seen = self._seen, self._look()
        except (WorkerError, OSError) as error:
            self._unreadable = str(error)
            logger.warning(Event("models.unreadable", error=error))
            return
        self._unreadable = ""
        if self._seen.keys() != self._loaded.keys() and self._seen != before:
            logger.warning(
                Event("models.changed", problem="which models are served is settled when a worker starts")
            )
        for alias in self._batchers:
            stamp = self._seen.get(alias)
            if stamp and stamp == before.get(alias) and stamp != self._loaded[alias]:
                self._loaded[alias] = stamp  # one try: what can't be loaded is tried again when it changes
                self._exchange(alias, stamp[0])

    def close(self) -> None:
        """Finish the jobs that wait, and end."""
        for batcher in self._batchers.values():
            batcher.close()

    def _exchange(self, alias: str, settings: ModelSettings) -> None:
        old = self._batchers[alias]
        try:
            new = self._load(alias, settings)
        except WorkerError as error:
            self._kept[alias] = str(error)
            logger.error(Event("model.kept", model=alias, version=old.loaded.version, error=error))
            return
        self._kept.pop(alias, None)
        self._batchers[alias] = new
        old.close()
        logger.info(
            Event("model.exchanged", model=alias, version=new.loaded.version, after=old.loaded.version)
        )

    def _look(self) -> dict[str, Stamp]:
        return {alias: _stamp(settings) for alias, settings in self._read().items()}


def _stamp(settings: ModelSettings) -> Stamp:
    files = []
    for name in filter(None, (settings.path, settings.peft_path)):
        for file in sorted(Path(name).glob("*")):  # a name on the hub has none
            about = file.stat()
            files.append((str(file), about.st_ino, about.st_mtime_ns, about.st_size))
    return settings, tuple(files)
