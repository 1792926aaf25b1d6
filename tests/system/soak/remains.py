"""Knows what must be left when nobody searches: in Redis, and of each process."""

import re
from typing import NamedTuple

import psutil

LASTING_KEYS = re.compile(rb"rerank:(serving:demo|suspects|cached-queries|unacked_mutex|_kombu\.binding.*)")
"""What stays in Redis: no queue, job under way or unacknowledged, reply, mark of a cancelled job, score."""


class Footprint(NamedTuple):
    """What a process and its children hold."""

    memory_mb: int
    files: int
    threads: int

    @classmethod
    def of(cls, process):
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        return cls(
            round(sum(member.memory_info().rss for member in family) / 1e6),
            sum(member.num_fds() for member in family),
            sum(member.num_threads() for member in family),
        )

    def exceeds(self, before):
        """Is it more than `SLACK` above ``before``?"""
        return any(now > then + slack for now, then, slack in zip(self, before, SLACK, strict=True))


SLACK = Footprint(memory_mb=80, files=40, threads=16)
"""What may come on top: the gateway's pools are full only when Redis hangs under load, and kombu keeps one
connection for each loss of Redis that finds a worker with jobs in hand."""


def find_left_over(redis):
    """The keys that should not be there."""
    return [key for key in redis.scan_iter(count=1000) if not LASTING_KEYS.fullmatch(key)]
