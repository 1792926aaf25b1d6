"""What a request asks of us: `ext.rerank`, our retriever, parameters and headers, all read into one form."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from search_plugin.errors import BadAsk
from search_plugin.policy import MAX_WINDOW, Chunking, Mode, ScoreMode, Text
from search_plugin.raw_json import replace_surrogates

HEADER_PREFIX = "x-rerank"
"""What the names of our headers begin with, in lower case."""

_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000}
_MODES: Mapping[str, Mode] = {
    **dict.fromkeys(("", "true", "on", "1"), "on"),
    **dict.fromkeys(("false", "off", "0"), "off"),
    "shadow": "shadow",
}


def _read_time(value: object) -> object:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError("expected a time such as 300ms, 1.5s")
    return round(float(found[1]) * _MILLISECONDS[found[2]])


def _read_chunking(value: object) -> object:
    """Read Elasticsearch's ``chunk_rescorer``."""
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    settings = value.get("chunking_settings", {})
    if not isinstance(settings, dict):
        raise ValueError("expected an object")
    if unknown := value.keys() - {"size", "chunking_settings", "score"}:
        raise ValueError(replace_surrogates(f"unknown: {', '.join(sorted(unknown))}"))
    words = settings.get("max_chunk_size", Chunking.model_fields["words"].default)
    overlaps = {"sentence": 0, "word": settings.get("overlap", 0)}
    by = settings.get("strategy", "sentence")
    if not isinstance(by, str) or by not in overlaps:
        raise ValueError(f"chunking_settings.strategy: expected one of {', '.join(overlaps)}")
    chosen = {"words": words, "overlap": overlaps[by], "by": by, "most": value.get("size", 1)}
    return chosen | ({"score": value["score"]} if "score" in value else {})


class Ask(BaseModel):
    """What one place of a request asks for; what is None, it leaves to the places behind it.

    The names are those of ``ext.rerank``, the ones that OpenSearch and Elasticsearch share with us included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode | None = None
    query_text: Text | None = None
    query_text_path: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    document_fields: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    model: Text | None = None
    rank_window_size: Annotated[int, Field(ge=1, le=MAX_WINDOW)] | None = None
    min_score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    timeout: Annotated[int, BeforeValidator(_read_time), Field(gt=0)] | None = None
    score_mode: ScoreMode | None = None
    weight: Annotated[float, Field(ge=0, le=1)] | None = None
    rank_constant: Annotated[int, Field(ge=1)] | None = None
    chunk_rescorer: Annotated[Chunking, BeforeValidator(_read_chunking)] | None = None
    allow_rerank_failures: bool | None = None
    keep_previous_score: bool | None = None
    profile: bool | None = None
    _places: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def behind(self, first: "Ask") -> "Ask":
        """Both laid over each other: where ``first`` says nothing, this one counts."""
        if first is NOTHING or self is NOTHING:
            return self if first is NOTHING else first
        both = Ask.model_construct(**{**dict(self._said()), **dict(first._said())})
        both._places = {**self._places, **first._places}
        return both

    def refuse(self, name: str, problem: str) -> NoReturn:
        """Raise `BadAsk` for one of its fields, under the name that it has in the request."""
        raise BadAsk(self._places.get(name, name), problem)

    def policy_options(self) -> dict[str, Any]:
        """What is asked for, under the names of `Policy`'s options."""
        said = dict(self._said())
        chosen = {option: said[name] for name, option in _POLICY_OPTIONS.items() if name in said}
        return chosen | ({"passage_template": None} if "document_fields" in said else {})

    def _said(self) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name in Ask.model_fields if (value := getattr(self, name)) is not None)

    def __bool__(self) -> bool:
        return self is not NOTHING and any(True for _ in self._said())


_POLICY_OPTIONS: Mapping[str, str] = {
    "mode": "mode",
    "model": "model",
    "document_fields": "passage_fields",
    "rank_window_size": "window",
    "min_score": "min_score",
    "timeout": "deadline_ms",
    "score_mode": "score_mode",
    "weight": "weight",
    "rank_constant": "rank_constant",
    "chunk_rescorer": "chunks",
    "keep_previous_score": "keep_previous_score",
}


def read_ext(clause: object) -> Ask:
    """Read the body's ``ext.rerank``.

    Raises:
        BadAsk: it names the path. The sentences about ``query_context`` are OpenSearch's own.
    """
    if not isinstance(clause, dict):
        raise BadAsk("ext.rerank", "must be an object")
    said = {"mode": "on", **clause}  # whoever has the clause asks, also with an empty one
    context = said.pop("query_context", None)
    if "query_context" in clause:
        said |= _read_query_context(context)
    return _build(
        said, lambda name: "ext.rerank.query_context." + name if name in _CONTEXT else "ext.rerank." + name
    )


_CONTEXT = ("query_text", "query_text_path")


def _read_query_context(context: object) -> dict[str, object]:
    place = "ext.rerank.query_context"
    if not isinstance(context, dict):
        raise BadAsk(place, "query_context must be a map")
    given = [name for name in _CONTEXT if name in context]
    if len(given) == 2:
        raise BadAsk(place, 'Cannot specify both "query_text" and "query_text_path"')
    if not given:
        raise BadAsk(place, 'Must specify either "query_text" or "query_text_path"')
    for name in context.keys() - set(_CONTEXT):
        raise BadAsk(f"{place}.{name}", "unknown")
    return context


_PARAMETERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "rerank": ("mode", lambda value: _MODES.get(value.lower(), value)),
    "rerank_model": ("model", str),
    "rerank_window_size": ("rank_window_size", str),
    "rerank_query": ("query_text", str),
    "rerank_fields": ("document_fields", lambda value: tuple(filter(None, value.split(",")))),
}
_HEADERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "x-rerank": ("mode", lambda value: _MODES.get(value.strip().lower(), value)),
    "x-rerank-model": ("model", str),
    "x-rerank-window": ("rank_window_size", str),
}

PARAMETERS = frozenset(_PARAMETERS)
"""The URL parameters that are ours."""


def read_parameters_ask(parameters: Mapping[str, str]) -> Ask:
    """Read the URL's part.

    Raises:
        BadAsk: it names the parameter.
    """
    return _read_texts(_PARAMETERS, parameters)


def read_headers_ask(headers: Mapping[str, str]) -> Ask:
    """Read the headers' part.

    Args:
        headers: by lower-case name.

    Raises:
        BadAsk: it names the header.
    """
    return _read_texts(_HEADERS, headers)


def _read_texts(table: Mapping[str, tuple[str, Callable[[str], object]]], given: Mapping[str, str]) -> Ask:
    said = {name: read(given[key]) for key, (name, read) in table.items() if key in given}
    if not said:
        return NOTHING
    keys = {name: key for key, (name, _) in table.items()}
    return _build(said, lambda name: keys[name])


def read_retriever_ask(clause: Mapping[str, Any], model: str) -> Ask:
    """Read the part of a ``text_similarity_reranker`` that is ours to do.

    Raises:
        BadAsk: it names the path.
    """
    place = "retriever.text_similarity_reranker."
    for name in ("field", "inference_text", "retriever"):
        if name not in clause:
            raise BadAsk(place + name, "is required")
    for name in clause.keys() - _RETRIEVER_KEYS.keys():
        raise BadAsk(place + name, "unknown")
    said: dict[str, object] = {
        ours: clause[theirs] for theirs, ours in _RETRIEVER_KEYS.items() if ours and theirs in clause
    }
    said |= {"mode": "on", "model": model, "document_fields": (said["document_fields"],)}
    names = {ours: theirs for theirs, ours in _RETRIEVER_KEYS.items() if ours} | {"model": "inference_id"}
    return _build({"rank_window_size": 10, **said}, lambda name: place + names.get(name, name))


_RETRIEVER_KEYS: Mapping[str, str | None] = {
    "field": "document_fields",
    "inference_text": "query_text",
    "rank_window_size": "rank_window_size",
    "min_score": "min_score",
    "chunk_rescorer": "chunk_rescorer",
    "allow_rerank_failures": "allow_rerank_failures",
    "retriever": None,
    "inference_id": None,
    "filter": None,
    "_name": None,
}

NOTHING = Ask()


def _build(said: Mapping[str, object], place: Callable[[str], str]) -> Ask:
    for unknown in said.keys() - Ask.model_fields.keys():  # pydantic names only those that UTF-8 can spell
        raise BadAsk(place(unknown), "unknown")
    try:
        ask = Ask.model_validate(said)
        ask._places = {name: place(name) for name in said}
        return ask
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name, *deeper = map(str, first["loc"])
        path = ".".join([place(name), *deeper])
        raise BadAsk(path, first["msg"].removeprefix("Value error, ")) from None
