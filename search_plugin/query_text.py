"""The text that a person typed, found in a query or in ``?q=`` by tables of clauses. It knows no requests."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from search_plugin.raw_json import replace_surrogates

MAX_QUERY_CHARS = 10_000  # longer texts are cut: no model reads as far


def find_query_texts(query: Any) -> list[str]:
    """Find the different texts of a query clause or a retriever, in document order, blanks normalised.

    Texts are the same if they differ only in case or blanks. Filters, negations and the clauses in neither
    table give none, nor do texts that are empty or ``*``.
    """
    return _distinct(_walk(query))


def find_typed_text(typed: str) -> list[str]:
    """Find the text in ``?q=``, in the same form: one or none."""
    return _distinct([_drop_operators(typed, _QUERY_STRING)])


def normalise_text(text: str) -> list[str]:
    """Bring a text that stands for itself into the same form: one or none."""
    return _distinct([text])


def _distinct(texts: Iterator[str] | list[str]) -> list[str]:
    found: dict[str, str] = {}
    for text in texts:
        words = " ".join(text.split())
        found.setdefault(words.casefold(), words)
    return [
        replace_surrogates(words[:MAX_QUERY_CHARS]) for key, words in found.items() if key not in ("", "*")
    ]


def _walk(query: Any) -> Iterator[str]:
    pending = [query]  # a stack: queries may be nested deeply
    while pending:
        clause = pending.pop()
        if isinstance(clause, list):
            pending.extend(reversed(clause))
        elif isinstance(clause, dict):
            for name, body in clause.items():
                if isinstance(body, dict):
                    yield from _TEXT_CLAUSES.get(name, _no_text)(body)
                    inner = {**body, _ITSELF: body}
                    pending.extend(
                        inner[key] for key in reversed(_COMPOUND_CLAUSES.get(name, ())) if key in inner
                    )


def _no_text(body: dict[str, Any]) -> Iterator[str]:
    yield from ()


def _text_by_field(body: dict[str, Any]) -> Iterator[str]:
    for of_field in body.values():
        text = of_field.get("query") if isinstance(of_field, dict) else of_field
        if isinstance(text, str):
            yield text


def _text_by_field_under(*keys: str) -> Callable[[dict[str, Any]], Iterator[str]]:
    def find(body: dict[str, Any]) -> Iterator[str]:
        for of_field in body.values():
            if isinstance(of_field, dict):
                yield from (text for key in keys if isinstance(text := of_field.get(key), str))

    return find


def _text_of_vector_builder(body: dict[str, Any]) -> Iterator[str]:
    builder = body.get("query_vector_builder")
    if isinstance(builder, dict):
        yield from _text_by_field_under("model_text")(builder)


def _text_in_intervals(body: dict[str, Any]) -> Iterator[str]:
    for of_field in body.values():
        if isinstance(of_field, dict):
            yield from _text_by_field_under("query")({"match": of_field.get("match")})


def _text_in_query(body: dict[str, Any]) -> Iterator[str]:
    yield from _text_by_field({"query": body.get("query")})


def _text_in_query_string(body: dict[str, Any]) -> Iterator[str]:
    yield from (_drop_operators(text, _QUERY_STRING) for text in _text_in_query(body))


def _text_in_simple_query_string(body: dict[str, Any]) -> Iterator[str]:
    yield from (_drop_operators(text, _SIMPLE_QUERY_STRING) for text in _text_in_query(body))


# clauses that hold a text, and where
_TEXT_CLAUSES: Mapping[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "match": _text_by_field,
    "match_phrase": _text_by_field,
    "match_phrase_prefix": _text_by_field,
    "match_bool_prefix": _text_by_field,
    "multi_match": _text_in_query,
    "combined_fields": _text_in_query,
    "query_string": _text_in_query_string,
    "simple_query_string": _text_in_simple_query_string,
    "intervals": _text_in_intervals,
    # of the engines' models
    "neural": _text_by_field_under("query_text"),
    "neural_sparse": _text_by_field_under("query_text"),
    "text_expansion": _text_by_field_under("model_text"),
    "semantic": _text_in_query,
    "sparse_vector": _text_in_query,
    "knn": _text_of_vector_builder,
    # retrievers that take a text for several fields
    "rrf": _text_in_query,
    "linear": _text_in_query,
}

_ITSELF = ""

# clauses that hold clauses, and under which of their keys these add to the score
_COMPOUND_CLAUSES: Mapping[str, tuple[str, ...]] = {
    "bool": ("must", "should"),
    "boosting": ("positive",),
    "dis_max": ("queries",),
    "function_score": ("query",),
    "nested": ("query",),
    "script_score": ("query",),
    "hybrid": ("queries",),
    "pinned": ("organic", "retriever"),
    "rule": ("organic", "retriever"),
    "rule_query": ("organic",),
    # retrievers
    "standard": ("query",),
    "rrf": ("retrievers",),
    "linear": ("retrievers",),
    "rescorer": ("retriever",),
    "diversify": ("retriever",),
    "retriever": (_ITSELF,),
}

# The two little languages as tokens. `not` negates the next term or group, `dropped` holds no words.
_QUERY_STRING = re.compile(
    r"""
      (?P<phrase> "(?:\\.|[^"\\])*"? )
    | (?P<open> \( ) | (?P<close> \) )
    | (?P<not> NOT(?=[\s(]) | ! | -(?=\S) )
    | (?P<dropped> (?:AND|OR|&&|\|\|)(?=[\s(]|$)    # operators
        | [+-]                                      # required; a minus that stands alone
        | [\^~][\d.]*                               # boost, fuzziness, slop
        | [\[{][^\]}]*[\]}]? | [<>]=?\S*            # ranges
        | /(?:\\.|[^/\\])*/                         # regular expressions
        | _exists_:\S* )
    | (?P<field> (?:\\.|[^\s"()\[\]{}^~:\\])+: )
    | (?P<pattern> (?:\\.|[^\s"()\[\]{}^~:\\])+ )   # a term, perhaps with wildcards
    """,
    re.VERBOSE | re.DOTALL,
)
_SIMPLE_QUERY_STRING = re.compile(
    r"""
      (?P<phrase> "(?:\\.|[^"\\])*"? )
    | (?P<open> \( ) | (?P<close> \) )
    | (?P<not> -(?=\S) )
    | (?P<dropped> [+|*-] | ~\d* )
    | (?P<term> (?:\\.|[^\s"()|+*~\\])+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED_OR_QUOTE = re.compile(r'\\(.)|"', re.DOTALL)
_ESCAPED_OR_WILDCARD = re.compile(r"\\(.)|[*?]", re.DOTALL)


def _drop_operators(typed: str, language: re.Pattern[str]) -> str:
    """Reduce a query string to the words that a hit should be about.

    Phrases and terms stay, in their order. Operators, quotes, brackets, field names, boosts, ranges, regular
    expressions and wildcard characters go, and so does what is negated:
    ``title:"red wine"^2 -(sweet OR dry)`` is ``red wine``.
    """
    words: list[str] = []
    groups = [False]  # of every open group: is it negated
    negated = False  # is the next term or group
    for token in language.finditer(typed):
        match token.lastgroup:
            case "not":
                negated = True
                continue
            case "field":
                continue
            case "open":
                groups.append(groups[-1] or negated)
            case "close":
                groups.pop()
                groups = groups or [False]
            case "phrase" | "term" if not (negated or groups[-1]):
                words.append(_ESCAPED_OR_QUOTE.sub(r"\1", token[0]))
            case "pattern" if not (negated or groups[-1]):
                words.append(_ESCAPED_OR_WILDCARD.sub(r"\1", token[0]))
        negated = False
    return " ".join(words)
