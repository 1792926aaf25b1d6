"""The cluster's answer to the enlarged search: its text, and where hits and scores stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from search_plugin.errors import UnreadableAnswer
from search_plugin.raw_json import Node, scan_array, scan_document, scan_object, scan_value


class Hit(NamedTuple):
    """One entry of ``hits.hits``.

    Attributes:
        text: the answer's.
        start, end: its span in it.
        parsed: what it holds.
        first_stage_score: the number in ``_score``; None if there is none, as under a sort.
    """

    text: str
    start: int
    end: int
    parsed: Mapping[str, Any]
    first_stage_score: float | None

    def value(self, name: str) -> Any:
        """One of its members, parsed; None without it."""
        return self.parsed.get(name)

    @property
    def identity(self) -> tuple[str, str] | None:
        """Index and id of its document; None if it has none."""
        index, own = self.value("_index"), self.value("_id")
        return (index, own) if isinstance(index, str) and isinstance(own, str) else None

    def scan(self) -> dict[str, Node[Any]]:
        """The nodes of what it holds, in their order; not kept, as only the page's hits need them."""
        return scan_object(self.text, self.start)[0]

    @property
    def source(self) -> Any:
        """Its ``_source``, parsed; None if it has none."""
        return self.parsed.get("_source")


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
            hits = tuple(_read_hit(text, node) for node in array.value)
        except (ValueError, KeyError, RecursionError) as error:
            raise UnreadableAnswer(f"not a search answer: {error}") from error
        max_score = outer.get("max_score")
        return cls(
            text=text,
            whole=whole,
            hits=hits,
            start=array.start,
            end=array.end,
            max_score=max_score if max_score and _is_number(max_score.value) else None,
        )


def _read_hit(text: str, node: Node[Any]) -> Hit:
    if not isinstance(node.value, dict):
        raise ValueError(f"expected a hit at {node.start}")
    score = node.value.get("_score")
    return Hit(text, node.start, node.end, node.value, score if _is_number(score) else None)


def _scan_answer(text: str, start: int) -> tuple[dict[str, Node[Any]], int]:
    return scan_object(text, start, {"hits": _scan_hits})


def _scan_hits(text: str, start: int) -> tuple[dict[str, Node[Any]], int]:
    return scan_object(text, start, {"hits": _scan_hits_array})


def _scan_hits_array(text: str, start: int) -> tuple[list[Node[Any]], int]:
    return scan_array(text, start, scan_value)


def _is_number(value: Any) -> bool:
    # Engines write 32-bit floats; the bounds also keep out NaN and what Python would read as infinite.
    return type(value) in (int, float) and -3.5e38 < value < 3.5e38
