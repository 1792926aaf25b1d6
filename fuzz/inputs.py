"""What is made up: JSON of any shape, and searches, answers and parameters that are nearly valid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

TEXTS = st.text('aβ🍷 ,:;.*?[]{}()"\\/\n\x00\ud800\udcff~&=%#+-<>^!', max_size=12) | st.sampled_from(
    ["red wine", "title", "title.raw", "*", "", "true", "false", "_none_", "300ms", "NOT a", "0", "a.b.c"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([2**31, 10**30, -(10**400), 1e300, float("inf"), float("-inf"), float("nan"), 0.5])
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def deep(depth: int, opening: str, closing: str) -> str:
    """JSON nested that deeply, each time inside of the same."""
    return opening * depth + "1" + closing * depth


DEEP = st.builds(
    deep,
    st.sampled_from([30, 200, 480, 900, 970, 990, 1_100, 50_000]),
    st.sampled_from(['{"a":', '{"bool":{"must":', '{"nested":{"query":']),
    st.just(""),
).map(lambda text: text + "}" * text.count("{")) | st.sampled_from([200, 900, 980, 5_000]).map(
    lambda depth: deep(depth, "[", "]")
)


def mostly(usual: Strategy, odd: Strategy) -> Strategy:
    """The usual one, now and then the odd one: more than one oddity at a time hides the others."""
    return st.integers(0, 19).flatmap(lambda number: odd if number == 19 else usual)


def few(members: Mapping[str, Strategy], most: int = 3) -> Strategy:
    """An object with at most so many of these members."""
    names = st.lists(st.sampled_from(sorted(members)), max_size=most, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: members[name] for name in chosen}))


def object_of(members: Mapping[str, Strategy]) -> Strategy:
    """An object with some of these members; each may also be anything, and others may stand beside them."""
    known = few({name: mostly(strategy, VALUES) for name, strategy in members.items()})
    return mostly(known, st.builds(lambda one, two: {**two, **one}, known, objects_of_anything()))


def laid_over(base: dict[str, Any], members: Strategy) -> Strategy:
    """Something valid with other members in it."""
    return members.map(lambda chosen: {**base, **chosen})


def objects_of_anything() -> Strategy:
    return st.dictionaries(TEXTS, VALUES, max_size=2)


def one_or_more(strategy: Strategy) -> Strategy:
    return strategy | st.lists(strategy, max_size=3)


COUNTS = st.integers(-1, 30) | st.sampled_from(["3", "x", 1.5, 2**31, True])
FIELDS = st.sampled_from(["title", "body", "tags.name", "chunks.text", "tit*", "?itle"])
TEXT_CLAUSES = (
    "match",
    "match_phrase",
    "query_string",
    "simple_query_string",
    "multi_match",
    "neural",
    "rrf",
)
QUERIES = st.recursive(
    st.builds(
        lambda name, field, text: {name: {field: text}},
        st.sampled_from((*TEXT_CLAUSES, "semantic", "intervals", "knn", "standard")),
        st.sampled_from(["title", "query", "query_text", "query_vector_builder"]),
        TEXTS | object_of({"query": TEXTS, "match": object_of({"query": TEXTS}), "model_text": TEXTS}),
    ),
    lambda inner: st.builds(
        lambda name, key, clause: {name: {key: clause}},
        st.sampled_from(["bool", "nested", "function_score", "pinned", "retriever", "hybrid", "linear"]),
        st.sampled_from(["must", "should", "must_not", "query", "organic", "retriever", "queries"]),
        one_or_more(inner),
    ),
    max_leaves=4,
)
CHUNK_RESCORER = object_of(
    {
        "size": COUNTS,
        "score": st.sampled_from(["max", "first", "mean"]),
        "chunking_settings": object_of(
            {
                "strategy": st.sampled_from(["word", "sentence"]),
                "max_chunk_size": st.integers(19, 200),
                "overlap": COUNTS,
            }
        ),
    }
)
TIMES = st.sampled_from(["300ms", "1.5s", "0ms", "9" * 400 + "s", "1e9s", "٣s", "1m"])
EXT_RERANK = object_of(
    {
        "query_context": object_of(
            {"query_text": TEXTS, "query_text_path": st.sampled_from(["query.match.title", "a.0", "."])}
        ),
        "document_fields": st.lists(FIELDS, max_size=3),
        "model": st.sampled_from(["small", "big", "none"]),
        "rank_window_size": COUNTS,
        "min_score": st.floats() | COUNTS,
        "timeout": TIMES,
        "score_mode": st.sampled_from(["replace", "linear", "rrf"]),
        "weight": st.floats(),
        "rank_constant": COUNTS,
        "chunk_rescorer": CHUNK_RESCORER,
        "allow_rerank_failures": st.booleans(),
        "keep_previous_score": st.booleans(),
        "profile": st.booleans(),
        "mode": st.sampled_from(["on", "off", "shadow", "x"]),
    }
)
RETRIEVERS = QUERIES | object_of(
    {
        "text_similarity_reranker": object_of(
            {
                "retriever": object_of(
                    {
                        "standard": object_of(
                            {"query": QUERIES, "filter": one_or_more(QUERIES), "min_score": SCALARS}
                        )
                    }
                )
                | QUERIES,
                "field": FIELDS,
                "inference_text": TEXTS,
                "inference_id": st.sampled_from(["sidecar-small", "sidecar-", "other"]),
                "rank_window_size": COUNTS,
                "min_score": st.floats(),
                "chunk_rescorer": CHUNK_RESCORER,
                "filter": one_or_more(QUERIES),
            }
        )
    }
)
SOURCES = one_or_more(FIELDS) | object_of(
    {name: one_or_more(FIELDS) for name in ("includes", "excludes", "include", "exclude")}
)
TAGS = st.lists(st.sampled_from(["<b>", "</b>", "", "\ud800"]), max_size=2)
MATCH = {"query": {"match": {"title": "red wine"}}}
SEARCH_MEMBERS: Mapping[str, Strategy] = {
    "query": QUERIES,
    "retriever": RETRIEVERS,
    "ext": object_of({"rerank": EXT_RERANK, "own": VALUES}),
    "from": COUNTS,
    "size": COUNTS,
    "_source": SOURCES,
    "fields": st.lists(FIELDS | object_of({"field": FIELDS}), max_size=3),
    "stored_fields": one_or_more(st.sampled_from(["_none_", "title"])),
    "highlight": object_of(
        {
            "fields": objects_of_anything() | st.lists(objects_of_anything(), max_size=2),
            "pre_tags": TAGS,
            "post_tags": TAGS,
            "tags_schema": st.just("styled"),
        }
    ),
    "sort": one_or_more(st.sampled_from(["_score", "price", {"_score": "desc"}, {"_score": {}}])),
    "collapse": object_of({"field": FIELDS, "inner_hits": VALUES}),
    "pit": object_of({"id": st.text("AZaz09-_=~é", max_size=60)}),
    "knn": one_or_more(object_of({"query_vector_builder": VALUES})),
    "rescore": VALUES,
    "search_pipeline": TEXTS,
    "search_after": VALUES,
    "script_fields": VALUES,
}
SEARCHES = mostly(laid_over(MATCH, object_of(SEARCH_MEMBERS)), object_of(SEARCH_MEMBERS))
PARAMETERS = few(
    {
        "rerank": st.sampled_from(["", "true", "off", "shadow", "perhaps"]),
        "rerank_model": st.sampled_from(["small", "none", ""]),
        "rerank_window_size": st.sampled_from(["3", "-1", "9" * 5_000, "x", "٣"]),
        "rerank_query": TEXTS,
        "rerank_fields": st.sampled_from(["", ",", "title,body"]),
        "from": st.sampled_from(["0", "2", "x"]),
        "size": st.sampled_from(["0", "3", "9" * 5_000]),
        "q": TEXTS,
        "source": TEXTS | SEARCHES.map(json.dumps),
        "filter_path": TEXTS,
        "_source": st.sampled_from(["true", "false", "title", "*"]),
        "_source_includes": TEXTS,
        "sort": TEXTS,
        "format": st.sampled_from(["json", "yaml"]),
        "stored_fields": TEXTS,
    },
)
HEADERS = few(
    {
        "x-rerank": st.sampled_from(["on", "off", " SHADOW ", "?"]),
        "x-rerank-model": st.sampled_from(["small", "none", "\xff"]),
        "x-rerank-window": st.sampled_from(["5", "-", "9" * 5_000]),
        "accept": st.sampled_from(["application/json", "text/csv", "*/*;q=x, ,"]),
        "content-type": mostly(st.just("application/json"), TEXTS),
    },
)
HIT_MEMBERS: Mapping[str, Strategy] = {
    "_index": st.just("books"),
    "_id": TEXTS,
    "_score": st.floats(0, 20) | st.integers(0, 5) | st.sampled_from([None, 0.0, 1e-40, 3e38]),
    "_source": object_of({"title": TEXTS, "tags": one_or_more(object_of({"name": TEXTS})), "body": TEXTS}),
    "fields": object_of({"title": st.lists(TEXTS, max_size=2), "title.raw": st.lists(TEXTS), "x": VALUES}),
    "highlight": object_of({"title": st.lists(TEXTS, max_size=2)}),
    "inner_hits": object_of(
        {
            "chunks": object_of(
                {
                    "hits": object_of(
                        {
                            "hits": st.lists(
                                object_of(
                                    {
                                        "_source": object_of({"text": TEXTS}),
                                        "fields": object_of({"chunks": VALUES}),
                                        "_nested": object_of({"field": TEXTS, "_nested": VALUES}),
                                    }
                                ),
                                max_size=2,
                            )
                        }
                    )
                }
            )
        }
    ),
    "_explanation": VALUES,
    "sort": VALUES,
}
SCORED_HITS = st.builds(
    lambda score, title, hit: {"_source": {"title": title}, **hit, "_score": score},
    st.floats(0, 20),
    TEXTS,
    object_of(HIT_MEMBERS),
)
ANSWERS = st.fixed_dictionaries(
    {
        "hits": st.fixed_dictionaries(
            {
                "hits": st.lists(SCORED_HITS, max_size=6)
                | st.lists(mostly(SCORED_HITS, object_of(HIT_MEMBERS)), min_size=2)
            }
        )
    },
    optional={"took": SCALARS, "ext": object_of({"own": VALUES}), "_shards": VALUES},
).map(lambda answer: answer | {"hits": {"max_score": 1.5, **answer["hits"]}})

STYLES: Mapping[str, Callable[[Any], str]] = {
    "compact": lambda value: json.dumps(value, separators=(",", ":")),
    "pretty": lambda value: json.dumps(value, indent=2),
    "spaced": lambda value: " \n" + json.dumps(value, separators=(" ,\t", " : "), ensure_ascii=False) + "\r",
}


def repeat_names(text: str) -> str:
    """Some names twice, as a lenient printer might have it."""
    return text.replace('{"', '{"title":0,"_score":1,"', 3)


def written(strategy: Strategy) -> Strategy:
    """JSON text of a value in some style, now and then with a deep part, names twice or its end cut off."""
    texts = st.builds(lambda style, value: style(value), st.sampled_from(list(STYLES.values())), strategy)
    return mostly(
        texts,
        texts.map(repeat_names)
        | st.builds(lambda text, part: text.replace('"red wine"', part).replace("1.5", part), texts, DEEP)
        | st.builds(lambda text, cut: text[: -1 - cut % max(len(text), 1)], texts, st.integers(0, 99)),
    )


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape")
