"""Knows whether the client of a request in flight is still there: nobody works for one who has left."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from itertools import count

from gateway.errors import ClientGone

TICK_S = 0.1
"""How often the sockets are looked at; a request that is answered within one tick never costs a look."""

_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR

Callback = Callable[[], None]


class Client:
    """The client of one request whose body has been read.

    Gone is who has closed its side of the connection, even if it could still read: so it is with the engines
    and with nginx. Bytes of a next request that wait in the socket are no farewell.

    Args:
        connection: the client's socket; None for a client that never goes.
    """

    def __init__(self, connection: socket.socket | None = None, watcher: Watcher | None = None) -> None:
        self.is_gone = False
        self._connection = connection
        self._watcher = watcher
        self._lock = threading.Lock()

    def when_gone(self, callback: Callback) -> Callback:
        """Call ``callback`` once, in another thread, if the client goes away.

        Returns:
            What ends this. When that has returned, the callback has run to its end or never will.
        """
        if self._connection is None or self._watcher is None:
            return _nothing
        descriptor = self._connection.fileno()
        if descriptor < 0:  # closed on our side
            return _nothing
        watch = _Watch(self, descriptor, callback)
        self._watcher.add(watch)
        return watch.end

    def expect(self) -> None:
        """Raise `ClientGone` if it has been seen to be gone."""
        if self.is_gone:
            raise ClientGone("the client has closed the connection")


class Watcher:
    """Looks at the clients of all requests in flight, in one thread, which sleeps when there are none."""

    def __init__(self) -> None:
        self._watches: dict[int, _Watch] = {}
        self._numbers = count()
        self._work = threading.Event()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, watch: _Watch) -> None:
        """Look at a client from the next tick but one, until `remove`."""
        watch.number, watch.watcher = next(self._numbers), self
        self._watches[watch.number] = watch
        if not self._work.is_set():
            self._work.set()
            self._ensure_thread()

    def remove(self, watch: _Watch) -> bool:
        """Was it still there?"""
        return self._watches.pop(watch.number, None) is not None

    def _ensure_thread(self) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hangup", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        known = -1
        while True:
            self._work.wait()
            time.sleep(TICK_S)
            watches = list(self._watches.values())
            if not watches:
                self._work.clear()
                if self._watches:  # added since
                    self._work.set()
                continue
            self._look([watch for watch in watches if watch.number <= known])
            known = watches[-1].number

    def _look(self, watches: list[_Watch]) -> None:
        poll = select.poll()
        for watch in watches:
            poll.register(watch.descriptor, select.POLLRDHUP)
        left = {descriptor for descriptor, seen in poll.poll(0) if seen & _LEFT}
        for watch in watches:
            if watch.descriptor in left:
                watch.fire()


class _Watch:
    """One callback for one client; the watcher and the request's thread agree by the client's lock."""

    number: int
    watcher: Watcher

    def __init__(self, client: Client, descriptor: int, callback: Callback) -> None:
        self.client = client
        self.descriptor = descriptor
        self._callback = callback

    def fire(self) -> None:
        """Call the callback, unless it was ended in the meantime."""
        with self.client._lock:
            if self.watcher.remove(self):
                self.client.is_gone = True
                self._callback()

    def end(self) -> None:
        """Wait for a callback that runs just now; none runs after."""
        with self.client._lock:
            self.watcher.remove(self)


def _nothing() -> None:
    pass


ANYBODY = Client()
"""A client that nobody watches: it never goes."""
