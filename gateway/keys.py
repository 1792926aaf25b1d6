"""Knows who may ask for what costs: keys, compared in constant time."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest


class Keys:
    """The keys that are accepted; false where there are none."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def fit(self, key: bytes) -> bool:
        """Is it one of them?"""
        digest = sha256(key).digest()
        matches = [compare_digest(digest, known) for known in self._digests]  # all: its time tells nothing
        return any(matches)

    def let_in(self, authorization: bytes | None) -> bool:
        """Does the header's value name one of them, as ``Bearer KEY``? Where there are none, everybody's."""
        if not self:
            return True
        scheme, _, key = (authorization or b"").partition(b" ")
        return self.fit(key.strip()) and scheme.lower() == b"bearer"
