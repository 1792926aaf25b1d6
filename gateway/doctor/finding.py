"""Knows what one finding is; not how it is found or printed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters: a hint may be meant so, a problem costs searches their better order."""

    OK = "ok"
    HINT = "hint"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what, in a dotted name that does not change: ``redis.eviction``.
        what: how it is, in one line without users' texts or secrets.
        mend: what to do about it, in one line; empty where all is well.
    """

    subject: str
    level: Level
    what: str
    mend: str = ""


def ok(subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(subject, Level.OK, what)


def hint(subject: str, what: str, mend: str) -> Finding:
    """It may be meant so."""
    return Finding(subject, Level.HINT, what, mend)


def problem(subject: str, what: str, mend: str) -> Finding:
    """Searches lose by it."""
    return Finding(subject, Level.PROBLEM, what, mend)
