"""Knows how each rerank API writes what is to be scored; nothing of queues or HTTP.

Sources: the public references of Cohere (v1, v2), Jina, Voyage, Text Embeddings Inference (TEI), Infinity and
vLLM. Members that nothing here reads are ignored, as all of these servers do.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from search_plugin.raw_json import replace_surrogates
from worker.contract import MAX_PASSAGE_CHARS, MAX_QUERY_CHARS


def _to_whole(number: object) -> object:
    """2.0 is an integer in JSON's schemas."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Count = Annotated[int, Field(ge=0), BeforeValidator(_to_whole)]
Query = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUERY_CHARS)]


@dataclass(frozen=True)
class Ask:
    """What is to be scored.

    Attributes:
        model: an alias; empty: the first one declared.
        pairs: (query, text), in the order of the answer's indices.
        raw_scores: logits, not their sigmoids.
    """

    model: str
    pairs: tuple[tuple[str, str], ...]
    raw_scores: bool = False

    def by_query(self) -> dict[str, list[int]]:
        """The places of each query's pairs."""
        places: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(self.pairs):
            places.setdefault(query, []).append(place)
        return places


class _Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    model: str = Field(
        default="", max_length=100, description="The alias of a declared model; the first one if left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: dict[str, Any]) -> dict[str, Any]:
        """A member that is null says as much as one that is missing."""
        return {name: value for name, value in body.items() if value is not None}

    @abstractmethod
    def to_ask(self) -> Ask:
        """In neutral words."""


class RerankBody(_Body):
    """A query and documents to be put into order, as Cohere, Jina, Voyage, Infinity and LiteLLM write it."""

    query: Query = Field(description="What was searched for.")
    documents: list[str | dict[str, Any]] = Field(
        min_length=1,
        validation_alias=AliasChoices("documents", "texts"),
        description="Texts, or objects: of these the member text, or those that rank_fields names, or all.",
    )
    top_n: Count | None = Field(
        default=None,
        validation_alias=AliasChoices("top_n", "top_k"),
        description="How many of the best are told; 0 or nothing: all. (Voyage: top_k)",
    )
    return_documents: bool = Field(
        default=False,
        validation_alias=AliasChoices("return_documents", "return_text"),
        description="Whether each result quotes its text.",
    )
    rank_fields: list[str] | None = Field(default=None, description="Members of documents that are read.")
    raw_scores: bool = Field(default=False, description="Logits instead of scores between 0 and 1.")

    def to_ask(self) -> Ask:
        """See `_Body`."""
        texts = (_clean(_to_text(document, self.rank_fields)) for document in self.documents)
        return Ask(self.model, tuple((self.query, text) for text in texts), self.raw_scores)


class TeiBody(RerankBody):
    """A query and texts, as Text Embeddings Inference takes them; Cohere's names do too."""

    documents: list[str | dict[str, Any]] = Field(
        min_length=1, validation_alias=AliasChoices("texts", "documents"), description="What to score."
    )
    return_documents: bool = Field(
        default=False,
        validation_alias=AliasChoices("return_text", "return_documents"),
        description="Whether each result quotes its text.",
    )


class ScoreBody(_Body):
    """Texts and others to hold them against, as vLLM takes them: one and many, or as many of both."""

    text_1: Query | Annotated[list[Query], Field(min_length=1)] = Field(
        validation_alias=AliasChoices("text_1", "queries", "data_1"), description="One query, or one a text."
    )
    text_2: str | Annotated[list[str], Field(min_length=1)] = Field(
        validation_alias=AliasChoices("text_2", "documents", "items", "data_2"),
        description="The texts to score.",
    )
    use_activation: bool = Field(default=True, description="Scores between 0 and 1; false: logits.")

    def to_ask(self) -> Ask:
        """See `_Body`."""
        queries, texts = _to_list(self.text_1), _to_list(self.text_2)
        if len(queries) == 1:
            queries *= len(texts)
        pairs = zip(queries, map(_clean, texts), strict=True)
        return Ask(self.model, tuple(pairs), not self.use_activation)

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        queries, texts = _to_list(self.text_1), _to_list(self.text_2)
        if len(queries) not in (1, len(texts)):
            counts = {"queries": len(queries), "texts": len(texts)}
            raise PydanticCustomError(
                "lengths", "text_1 has {queries} and text_2 {texts} texts; one, or as many, expected", counts
            )
        return self


Kind = Literal["rerank", "infinity", "tei", "score"]
"""Each is answered in its own way."""

BODIES: Mapping[Kind, type[_Body]] = {
    "rerank": RerankBody,
    "infinity": RerankBody,
    "tei": TeiBody,
    "score": ScoreBody,
}


def _to_text(document: str | dict[str, Any], fields: Sequence[str] | None) -> str:
    if isinstance(document, str):
        return document
    if fields is None and isinstance(document.get("text"), str):
        return str(document["text"])
    named = document if fields is None else {name: document[name] for name in fields if name in document}
    return "\n".join(f"{name}: {value}" for name, value in named.items() if value is not None)


def _clean(text: str) -> str:
    return replace_surrogates(text[:MAX_PASSAGE_CHARS])


def _to_list(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts
