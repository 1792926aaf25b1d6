"""Knows what a worker is called, and whether one of this host is gone."""

from __future__ import annotations

import os
import socket
import uuid


def make_worker_id() -> str:
    """``host:pid:random``: unlike that of any other process, also of the next one with this pid."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def is_gone(worker_id: str, own_id: str) -> bool:
    """Has the worker certainly ended? Of other hosts that is not known."""
    host, pid, _ = worker_id.rsplit(":", 2)
    own_host, own_pid, _ = own_id.rsplit(":", 2)
    if host != own_host or worker_id == own_id:
        return False
    if pid == own_pid:  # its successor has its number
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, as somebody else's
        pass
    return False
