"""Which requests are searches: a table of methods and paths. It knows neither policies nor bodies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote


class RouteKind(StrEnum):
    """What shape the request and its answer have."""

    SEARCH = "search"
    MULTI_SEARCH = "multi_search"
    TEMPLATE = "template"
    MULTI_TEMPLATE = "multi_template"
    ASYNC_SEARCH = "async_search"
    ASYNC_ANSWER = "async_answer"


@dataclass(frozen=True, slots=True)
class Route:
    """A request that may be reranked.

    Attributes:
        kind: the shape of its body and its answer.
        indices: the parts of the index expression, decoded, in their order; empty if the path names none.
    """

    kind: RouteKind
    indices: tuple[str, ...]


_INDEX = r"(?:/(?P<indices>[^/]+))?"
_ASYNC = r"/(?:_async_search|_plugins/_asynchronous_search)"
_READ = frozenset({"GET", "POST"})

# The engines ignore slashes at the end of a path and none elsewhere.
_ROUTES: tuple[tuple[frozenset[str], re.Pattern[str], RouteKind], ...] = tuple(
    (methods, re.compile(f"{pattern}/*"), kind)
    for methods, pattern, kind in (
        (_READ, rf"{_INDEX}/_search", RouteKind.SEARCH),
        (_READ, rf"{_INDEX}/_msearch", RouteKind.MULTI_SEARCH),
        (_READ, rf"{_INDEX}/_search/template", RouteKind.TEMPLATE),
        (_READ, rf"{_INDEX}/_msearch/template", RouteKind.MULTI_TEMPLATE),
        (frozenset({"POST"}), rf"{_INDEX}{_ASYNC}", RouteKind.ASYNC_SEARCH),
        # only with an id that has a ticket of ours
        (
            frozenset({"GET", "DELETE"}),
            rf"(?P<indices>){_ASYNC}(?:/status)?/[^/]+(?:~|%7[Ee])[^/]+",
            RouteKind.ASYNC_ANSWER,
        ),
    )
)

# Date math holds commas of its own: `<logs-{now/d{yyyy,MM}}>` is one part.
_INDEX_PART = re.compile(r"(?:<[^<>]*>|[^,])+")


def match_route(method: str, target: str) -> Route | None:
    """Tell whether a request is a search that may be reranked.

    Args:
        method: in upper case.
        target: the raw request target, path still percent-encoded. One with a ``#`` is not ours: the engines
            end the query string there.
    """
    path, _, query = target.partition("?")
    if "#" in query:
        return None
    for methods, pattern, kind in _ROUTES:
        if method in methods and (found := pattern.fullmatch(path)):
            return Route(kind, tuple(read_indices(unquote(found["indices"] or ""))))
    return None


def read_indices(expression: str) -> Iterator[str]:
    """Split an index expression, decoded before as the engines do: `a%2Cb` names two indices."""
    return (part[0] for part in _INDEX_PART.finditer(expression))
