"""The cluster's answer to the enlarged search: its text, and where hits and scores stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_plugin.errors import UnreadableAnswer
from search_plugin.raw_json import Node, scan_array, scan_document, scan_object, scan_value


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry of ``hits.hits``.

    Attributes:
        text: the answer's.
        start, end: its span in it.
        parsed: what it holds.
    """

    text: str
    start: int
    end: int
    parsed: Mapping[str, Any]

    def value(self, name: str) -> Any:
        """One of its members, parsed; None without it."""
        return self.parsed.get(name)

    def scan(self) -> dict[str, Node[Any]]:
        """The nodes of what it holds, in their order; not kept, as only the page's hits need them."""
        return scan_object(self.text, self.start)[0]

    @property
    def source(self) -> Any:
        """Its ``_source``, parsed; None if it has none."""
        return self.value("_source")

    @property
    def first_stage_score(self) -> float | None:
        """The number in ``_score``; None if there is none, as under a sort."""
        score = self.parsed.get("_score")
        return score if _is_number(score) else None


@dataclass(frozen=True, slots=True)
class FirstStage:
    """The enlarged answer.

    Attributes:
        text: the whole answer; bytes that are not UTF-8 stand in it as surrogates and come out as they were.
        whole: the node of the answer's object, its members as nodes.
        hits: the top-level hits in first-stage order.
        start, end: the span of ``hits.hits``, brackets included.
        max_score: the node of ``hits.max_score``; None if it is not a number.
    """

    text: str
    whole: Node[dict[str, Node[Any]]]
    hits: tuple[Hit, ...]
    start: int
    end: int
    max_score: Node[Any] | None

    @classmethod
    def parse(cls, answer: bytes | str) -> FirstStage:
        """Find the hits of a search answer.

        Args:
            answer: with any content coding removed.

        Raises:
            UnreadableAnswer: it is not JSON or has no ``hits.hits`` at its top level.
        """
        text = answer if isinstance(answer, str) else answer.decode("utf-8", "surrogateescape")
        try:
            whole = scan_document(text, _scan_answer)
            outer = whole.value["hits"].value
            array = outer["hits"]
        except (ValueError, KeyError, RecursionError) as error:
            raise UnreadableAnswer(f"not a search answer: {error}") from error
        max_score = outer.get("max_score")
        return cls(
            text=text,
            whole=whole,
            hits=tuple(Hit(text, node.start, node.end, node.value) for node in array.value),
            start=array.start,
            end=array.end,
            max_score=max_score if max_score and _is_number(max_score.value) else None,
        )


def _scan_answer(text: str, start: int) -> tuple[dict[str, Node[Any]], int]:
    return scan_object(text, start, {"hits": _scan_hits})


def _scan_hits(text: str, start: int) -> tuple[dict[str, Node[Any]], int]:
    return scan_object(text, start, {"hits": _scan_hits_array})


def _scan_hits_array(text: str, start: int) -> tuple[list[Node[dict[str, Any]]], int]:
    return scan_array(text, start, _scan_hit)


def _scan_hit(text: str, start: int) -> tuple[dict[str, Any], int]:
    value, end = scan_value(text, start)
    if not isinstance(value, dict):
        raise ValueError(f"expected a hit at {start}")
    return value, end


def _is_number(value: object) -> bool:
    # Engines write 32-bit floats; the bounds also keep out NaN and what Python would read as infinite.
    return isinstance(value, int | float) and not isinstance(value, bool) and -3.5e38 < value < 3.5e38
