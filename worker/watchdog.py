"""Knows when this process lives and does its work no more, and ends it: its supervisor starts another."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from worker.contract.logs import Event
from worker.serving import ServedModels

logger = logging.getLogger(__name__)

EXIT_CODE = 70  # EX_SOFTWARE
_LOOK_S = 1.0


class Watchdog:
    """Ends the process when a pass hangs, or the consumer looks for no jobs although Redis can be reached.

    Args:
        pass_limit_s: the longest that a forward pass may take.
        silence_limit_s: the longest that a consumer with free hands may go without looking for jobs.
        is_in_touch: does Redis answer, and is the consumer meant to look for jobs?
        is_busy: has the consumer all the jobs that it may take?
    """

    def __init__(
        self,
        models: ServedModels,
        *,
        pass_limit_s: float,
        silence_limit_s: float,
        is_in_touch: Callable[[], bool],
        is_busy: Callable[[], bool],
    ) -> None:
        self._models = models
        self._pass_limit_s = pass_limit_s
        self._silence_limit_s = silence_limit_s
        self._is_in_touch = is_in_touch
        self._is_busy = is_busy
        self._last_sign_s = time.monotonic()

    def consumer_looks(self) -> None:
        """To be called whenever the consumer looks for jobs."""
        self._last_sign_s = time.monotonic()

    def start(self) -> None:
        """Watch from now on, in a daemon thread."""
        threading.Thread(target=self._keep_watching, name="watchdog", daemon=True).start()

    def _keep_watching(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            if trouble := self.find_trouble():
                logger.critical(Event("worker.stuck", problem=f"{trouble}: ending the process"))
                logging.shutdown()
                os._exit(EXIT_CODE)

    def find_trouble(self) -> str:
        """What is wrong; nothing if all is well."""
        now = time.monotonic()
        for alias, batcher in self._models.items():
            started_s = batcher.pass_started_s
            if started_s is not None and now - started_s > self._pass_limit_s:
                return f"a forward pass of {alias} takes longer than {self._pass_limit_s:.0f} s"
        if self._is_busy() or not self._is_in_touch():
            self._last_sign_s = now
        silence_s = now - self._last_sign_s
        if silence_s > self._silence_limit_s:
            return f"no job was looked for in {silence_s:.0f} s"
        return ""
