"""Knows how one job is told to stop, and how it waits for what is not there now."""

from __future__ import annotations

import socket
import threading
import time

from gateway.errors import ClientGone
from gateway.hangup import Client, Watcher


class Stopped(ClientGone):
    """The job is to go no further for now: nobody waits for what its threads do."""


class Control:
    """Between a job's threads and whoever tells it what to do.

    Args:
        watcher: of all jobs of this process.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._stopped = threading.Event()
        self._troubles: dict[int, str] = {}  # thread → for what it waits
        self._end, self._other_end = socket.socketpair()
        self.client = Client(self._other_end, watcher)
        """Waits for the cluster's answers, and goes when the job is to stop: then they are broken off."""

    def stop(self) -> None:
        """All threads of the job come to their ends."""
        self._stopped.set()
        self._end.close()

    def close(self) -> None:
        """None of its threads runs any more."""
        self._end.close()
        self._other_end.close()

    def check(self) -> None:
        """Is there a reason to go on?

        Raises:
            Stopped: there is none.
        """
        if self._stopped.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the job goes on.

        Raises:
            Stopped: it does not.
        """
        if self._stopped.wait(seconds):
            raise Stopped

    @property
    def trouble(self) -> str:
        """For what it waits; empty: for nothing."""
        return next(iter(list(self._troubles.values())), "")

    def patience(self) -> Patience:
        """For one thing that may have to be tried again."""
        return Patience(self)

    def note(self, trouble: str) -> None:
        """What this thread waits for."""
        self._troubles[threading.get_ident()] = trouble

    def forget(self) -> None:
        """This thread waits for nothing any more."""
        self._troubles.pop(threading.get_ident(), None)


class Patience:
    """Pauses that grow, while others' trouble lasts."""

    _FIRST_S, _LONGEST_S = 0.25, 15.0

    def __init__(self, control: Control) -> None:
        self._control = control
        self._pause_s = self._FIRST_S
        self.tries = 0

    def __enter__(self) -> Patience:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.forget()

    def wait(self, trouble: str) -> None:
        """Before the next try.

        Raises:
            Stopped: there shall be none.
        """
        self.tries += 1
        self._control.note(trouble)
        self._control.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, self._LONGEST_S)


class Limiter:
    """Lets so many pairs a second pass, over all threads.

    Args:
        pairs_per_s: None: all that come.
    """

    def __init__(self, control: Control, pairs_per_s: float | None) -> None:
        self._control = control
        self._pairs_per_s = pairs_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, pairs: int) -> None:
        """Wait until it is their turn.

        Raises:
            Stopped: the job goes no further.
        """
        if self._pairs_per_s is None:
            return
        with self._lock:
            turn = max(self._free_at, time.monotonic())
            self._free_at = turn + pairs / self._pairs_per_s
        self._control.sleep(max(turn - time.monotonic(), 0.0))
