"""Knows ``rerank.toml`` while the gateway runs: a change counts without a restart, a mistake does not."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from gateway.errors import ConfigurationError
from gateway.settings import Config, read_config
from worker.contract.logs import Event

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Stamp:
    modified_ns: int
    size: int
    inode: int


class Policies(Protocol):
    """Where the policies and models in force are told."""

    def current(self) -> Config:
        """What is in force now."""
        ...


@dataclass(frozen=True)
class FixedPolicies:
    """Policies and models that stay as they are."""

    config: Config

    def current(self) -> Config:
        """See `Policies`."""
        return self.config


class PolicyFile:
    """The policies and models of a file, as it was when it was last right.

    Raises:
        ConfigurationError: the file is missing or wrong at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stamp = _read_stamp(path)
        self._config = read_config(path)
        self._looked = time.monotonic()
        self.error: str | None = None
        """Why a newer version of the file is not taken over; None if the one in force is the newest."""

    def current(self) -> Config:
        """What is in force; looks at the file once a second at most."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY_S and self._lock.acquire(blocking=False):
            try:
                self._looked = now
                self._look()
            finally:
                self._lock.release()
        return self._config

    def _look(self) -> None:
        stamp = _read_stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._config = read_config(self._path)
        except ConfigurationError as error:
            self.error = str(error)
            logger.error(Event("policies.refused", problem=f"the old ones stay in force: {error}"))
        else:
            self.error = None
            logger.info(
                Event(
                    "policies.reloaded", policies=", ".join(policy.name for policy in self._config.policies)
                )
            )


def _read_stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino)
