"""Splits by query: which part a query belongs to follows from its words alone, today and next year."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relevance.errors import BadChoice

T = TypeVar("T")

_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Leak:
    """Queries of two parts that are one query to a model."""

    first: str
    second: str
    first_text: str
    second_text: str


def normalise_query(text: str) -> str:
    """The words of a query: without case, punctuation, and differences that Unicode calls compatible.

    A query without words, such as ``:=``, stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NO_WORD.sub(" ", folded).strip() or folded.strip()


def find_part(text: str, shares: Mapping[str, float], salt: str = "") -> str:
    """The part of a query: by a hash of its words, whatever other queries there are.

    Args:
        shares: of each part, positive; only their proportions count.
        salt: another one makes another split.

    Raises:
        BadChoice: there are no shares, or one is not positive.
    """
    if not shares or min(shares.values()) <= 0:
        raise BadChoice("parts: expected a positive share of each")
    digest = hashlib.sha256(f"{salt}\n{normalise_query(text)}".encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares.values())
    for part, share in shares.items():
        place -= share
        if place < 0:
            return part
    return list(shares)[-1]  # rounding


def split(
    items: Iterable[T], read_text: Callable[[T], str], shares: Mapping[str, float], salt: str = ""
) -> dict[str, list[T]]:
    """Items by part, each in their order; those of equal words are never in two."""
    parts: dict[str, list[T]] = {name: [] for name in shares}
    for item in items:
        parts[find_part(read_text(item), shares, salt)].append(item)
    return parts


def find_leaks(parts: Mapping[str, Sequence[str]]) -> list[Leak]:
    """The queries that stand, in the same words, in more than one part."""
    seen: dict[str, tuple[str, str]] = {}
    leaks = []
    for part, texts in parts.items():
        for text in texts:
            first, first_text = seen.setdefault(normalise_query(text), (part, text))
            if first != part:
                leaks.append(Leak(first, part, first_text, text))
    return leaks
