"""Knows who may ask for what costs: keys, compared in constant time."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest


class Keys:
    """The keys that are accepted; where there are none, everybody is let in."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]

    def let_in(self, authorization: bytes | None) -> bool:
        """Does the header's value name one of them, as ``Bearer KEY``?"""
        if not self._digests:
            return True
        scheme, _, key = (authorization or b"").partition(b" ")
        digest = sha256(key.strip()).digest()
        matches = [compare_digest(digest, known) for known in self._digests]  # all: its time tells nothing
        return scheme.lower() == b"bearer" and any(matches)
