"""Knows what a request is called in logs, here and in the workers, and how helping threads know."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from worker.contract.logs import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HEADER = "X-Rerank-Request-Id"
"""Tells the client, on answers that are ours; those of the cluster stay as they came."""

_MAX_CHARS = 128
_ASKED = ("HTTP_X_REQUEST_ID", "HTTP_X_OPAQUE_ID")

P = ParamSpec("P")
T = TypeVar("T")


def begin_request(environ: WSGIEnvironment) -> None:
    """From now on this thread works for this request: by its client's name for it, or a random one."""
    asked = next((environ[name] for name in _ASKED if environ.get(name)), "")
    REQUEST_ID.set(re.sub(r"[^!-~]", "_", asked)[:_MAX_CHARS] or secrets.token_hex(8))


class HelperPool(ThreadPoolExecutor):
    """Threads that work for the request of the thread which submits."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `ThreadPoolExecutor`."""
        context = copy_context()
        return super().submit(lambda: context.run(fn, *args, **kwargs))
