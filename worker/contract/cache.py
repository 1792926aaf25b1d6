"""Where cached scores are found: by digests, from which nothing of a text can be read."""

from __future__ import annotations

import struct
from hashlib import blake2b

_SCORE = struct.Struct("<d")


class CachedScores:
    """The place of one query's scores by one version of a model: a hash, passage's digest → score.

    The version stands for all that decides a score but the texts: weights, adapter, instructions, lengths.
    """

    def __init__(self, version: str, query_text: str) -> None:
        self._digest = blake2b(_encode(query_text), key=version.encode()[:64], digest_size=16).digest()

    @property
    def key(self) -> str:
        return f"rerank:scores:{self._digest.hex()}"

    def field(self, passage: str) -> bytes:
        """The passage's name in the hash, 16 bytes."""
        return blake2b(_encode(passage), key=self._digest, digest_size=16).digest()


def write_score(score: float) -> bytes:
    return _SCORE.pack(score)


def read_score(value: bytes) -> float:
    score: float = _SCORE.unpack(value)[0]
    return score


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
