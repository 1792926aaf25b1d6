"""Knows what of an answer differs by nature from one time to the next, and takes that out."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from json import JSONDecoder
from types import MappingProxyType

from tests.differential.wire import Answer, Headers, Request

# meant for one connection, the moment's, or ours
NOT_COMPARED = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "date", "server-timing", "task_resource_usage"}
)
OURS = "x-rerank-"
NO_NAMES: Mapping[str, str] = MappingProxyType({})

_STRING = rb'"\s*:\s*"[^"]*"'
_NUMBER = rb'"\s*:\s*-?[\d.]+(?:[eE][+-]?\d+)?'

# what differs from run to run: its pattern in JSON, YAML, CBOR or Smile
DIFFERS_BY_NATURE = MappingProxyType(
    {
        "took": re.compile(
            rb'"took' + _NUMBER + rb"|^took: \d+"
            rb"|dtook(?:[\x00-\x17]|\x18.|\x19..|\x1a.{4})"
            rb"|\x83took(?:[\xc0-\xdf]|\x24[\x00-\x7f]*[\x80-\xff])",
            re.MULTILINE | re.DOTALL,
        ),
        "duration": re.compile(
            rb'"\w*(?:millis|nanos|_ms|time_in_\w+|duration|total_time|deletion_time)' + _NUMBER
        ),
        "duration in words": re.compile(rb'"(?:\w*time|took|duration|keep_alive)"\s*:\s*"[\d.]+[a-z]+"'),
        "scroll or point in time": re.compile(
            rb'"(?:_scroll_id|pit_id)' + _STRING + rb'|"id"\s*:\s*"[\w=+/-]{60,}"'
        ),
        "search context": re.compile(rb"\[[\w=+/-]{60,}\]|No search context found for id \[[^ ]*\]"),
        "task": re.compile(rb'"(?:task|task_id|node|id)"\s*:\s*(?:"[\w-]{22}(?::\d+)?"|\d+)'),
        "id that the engine chose": re.compile(rb'"_id"\s*:\s*"[\w-]{20}"|(?<=/_doc/)[\w-]{20}$'),
        "index uuid": re.compile(rb'"(?:index[._]|cluster_|_)?uuid' + _STRING + rb"|(?<=/)[\w-]{22}(?=\])"),
        "moment": re.compile(rb"\b1[6-9]\d{11}\b|\b202[5-9]-\d\d-\d\dT[\d:.]+Z?\b|\b\d\d:\d\d:\d\d\b"),
    }
)
_OF_THE_MOMENT = re.compile(
    rb"\d+(?:\.\d+)?(?:E-?\d+)?(?:[kmgt]?b|ms|micros|nanos|[smhd%])?\b|(?<=\s)-(?=\s)"
)
_TOLD_OF_SCORING = re.compile(r'"(?:_explanation|profile)"\s*:\s*(?=\{)')
_BLANKS = re.compile(rb"[ \t]+")
_SCORE = re.compile(rb'(?<="_score":)[ ]?[\d.eE+-]+|(?<="max_score":)[ ]?[\d.eE+-]+')
_PRETTY_SCORE = re.compile(rb'(?<="_score" : )[\d.eE+-]+|(?<="max_score" : )[\d.eE+-]+')


def find_difference(
    request: Request,
    direct: Answer,
    through: Answer,
    direct_names: Mapping[str, str] = NO_NAMES,
    names: Mapping[str, str] = NO_NAMES,
) -> str:
    """What is not equal between the cluster's answer and a gateway's; nothing if all is well.

    Args:
        direct_names, names: placeholder → the name that only this run used for it.
    """
    rescored = through.header("x-rerank-status") == "applied"
    is_read = through.header("x-rerank-status") is not None
    reframed = is_read and direct.header("transfer-encoding") is not None
    wanted = _normalise(request, direct, direct_names, is_rescored=rescored, is_reframed=reframed)
    found = _normalise(request, through, names, is_rescored=rescored, is_reframed=reframed)
    return "" if found == wanted else f"{request}\n  {found.tell_difference(wanted)}"


@dataclass(frozen=True)
class _Comparable:
    """What must be equal whoever was asked."""

    status: int
    reason: str
    headers: Headers
    body: bytes

    def tell_difference(self, other: _Comparable) -> str:
        """What is not equal, and of the bodies only the place where they part."""
        told = [
            f"{name}: {ours!r} is not {theirs!r}"
            for name in ("status", "reason", "headers")
            if (ours := getattr(self, name)) != (theirs := getattr(other, name))
        ]
        if self.body != other.body:
            alike = takewhile(lambda pair: pair[0] == pair[1], zip(self.body, other.body, strict=False))
            start = max(sum(1 for _ in alike) - 60, 0)
            told.append(f"body: {self.body[start:][:200]!r} is not {other.body[start:][:200]!r}")
        return "\n  ".join(told)


def _normalise(
    request: Request, answer: Answer, own_names: Mapping[str, str], *, is_rescored: bool, is_reframed: bool
) -> _Comparable:
    """The answer without what differs by nature.

    Args:
        own_names: placeholder → the name that only this run used for it.
        is_rescored: the scores are the model's: they, and what explains them, are not compared.
        is_reframed: the cluster sent chunks and the gateway a length.
    """
    body = answer.body
    if answer.header("content-encoding") == "gzip" and body:
        body = gzip.decompress(body)
    if (is_rescored and _filters_sources(request)) or _has_aggregations_of_several(request):
        # the engine prints what is left of a source in another order where `fields` are fetched beside it,
        # and several indices' aggregations in the order in which their shards answered
        with suppress(ValueError):
            body = json.dumps(json.loads(body), sort_keys=True).encode()
    if is_rescored:
        body = _without_values(_PRETTY_SCORE.sub(b"", _SCORE.sub(b"", body)))
    body = _take_out(body, own_names)
    if request.has_numbers_of_the_moment:
        body = _BLANKS.sub(b" ", _OF_THE_MOMENT.sub(b"0", body))
    headers = _comparable_headers(request, answer, own_names)
    if is_reframed:
        headers = tuple((name, value) for name, value in headers if name.lower() != "content-length")
    return _Comparable(answer.status, answer.reason, headers, body)


def _filters_sources(request: Request) -> bool:
    return b"_source" in request.body or "_source" in request.target


def _has_aggregations_of_several(request: Request) -> bool:
    return b'"aggs"' in request.body and re.search(r"^/[^/]*[*,]", request.target) is not None


def _comparable_headers(request: Request, answer: Answer, own_names: Mapping[str, str]) -> Headers:
    kept = []
    for name, value in answer.headers:
        if name.lower() in NOT_COMPARED or name.lower().startswith(OURS):
            continue
        if name.lower() == "content-length" and request.method != "HEAD":
            assert int(value) == len(answer.body), "Content-Length is not the body's"
            value = "the body's"
        kept.append((name, _take_out(value.encode("latin-1"), own_names).decode("latin-1")))
    return tuple(kept)


def _take_out(text: bytes, own_names: Mapping[str, str]) -> bytes:
    for name, own in own_names.items():
        text = text.replace(own.encode(), f"{{{name}}}".encode())
    for name, pattern in DIFFERS_BY_NATURE.items():
        text = pattern.sub(f"<{name}>".encode(), text)
    return text


def _without_values(body: bytes) -> bytes:
    """Without explanations, which are the model's, and the profile, which is of the window's search."""
    text = body.decode("utf-8", "surrogateescape")
    while found := _TOLD_OF_SCORING.search(text):
        _, end = JSONDecoder().raw_decode(text, found.end())
        text = f"{text[: found.start()]}<told>{text[end:]}"
    return text.encode("utf-8", "surrogateescape")
