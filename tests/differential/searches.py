"""Searches as people and programs write them, all kinds of clauses and options mixed; some are wrong."""

from __future__ import annotations

from urllib.parse import urlencode

from hypothesis import strategies as st

from tests.differential.books import TAGS, WORDS
from tests.differential.wire import Request, ask

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
text_fields = st.sampled_from(("title", "body", "author.name", "title^3", "b*"))
plain_fields = st.sampled_from(("title", "body", "author.name"))
names = st.sampled_from(("first", "second"))


def clause(kind, **of_field):
    """``{kind: {field: {…}}}``."""
    return st.tuples(plain_fields, st.fixed_dictionaries(of_field)).map(
        lambda pair: {kind: {pair[0]: pair[1]}}
    )


def options(required, **optional):
    return st.fixed_dictionaries(required, optional=optional)


operators = st.sampled_from(("and", "or"))

text_clauses = st.one_of(
    st.tuples(plain_fields, texts).map(lambda pair: {"match": {pair[0]: pair[1]}}),
    clause("match", query=texts, operator=operators, boost=st.sampled_from((0.5, 2))),
    clause("match", query=texts, fuzziness=st.just("AUTO"), _name=names),
    clause("match_phrase", query=texts, slop=st.integers(0, 3)),
    clause("match_phrase_prefix", query=texts),
    clause("match_bool_prefix", query=texts),
    st.builds(
        lambda body: {"multi_match": body},
        options(
            {"query": texts, "fields": st.lists(text_fields, min_size=1, max_size=3, unique=True)},
            type=st.sampled_from(("best_fields", "most_fields", "cross_fields", "phrase")),
            tie_breaker=st.sampled_from((0.0, 0.3)),
            operator=operators,
        ),
    ),
    st.builds(
        lambda words, field: {
            "query_string": {"query": f'{field}:"{words}"^2 OR {words} -none', "lenient": True}
        },
        texts,
        plain_fields,
    ),
    st.builds(lambda words: {"simple_query_string": {"query": f"{words} | -x +({words})"}}, texts),
    st.builds(lambda words: {"combined_fields": {"query": words, "fields": ["title", "body"]}}, texts),
    st.builds(
        lambda words, mode: {
            "nested": {"path": "reviews", "score_mode": mode, "query": {"match": {"reviews.text": words}}}
        },
        texts,
        st.sampled_from(("avg", "max", "none")),
    ),
)

other_clauses = st.one_of(
    st.just({"match_all": {}}),
    st.just({"match_none": {}}),
    st.sampled_from(TAGS).map(lambda tag: {"term": {"tag": tag}}),
    st.lists(st.sampled_from(TAGS), max_size=3).map(lambda tags: {"terms": {"tag": tags}}),
    st.integers(80, 300).map(lambda pages: {"range": {"pages": {"gte": pages}}}),
    st.just({"range": {"printed": {"gte": "1950-01-01", "lt": "1975-01-01||+1y", "format": "yyyy-MM-dd"}}}),
    st.just({"exists": {"field": "body"}}),
    st.just({"ids": {"values": ["b01", "b02", "b40"]}}),
    st.just({"prefix": {"tag": "no"}}),
    st.just({"wildcard": {"tag": {"value": "*e*"}}}),
    st.just({"fuzzy": {"title": "rivr"}}),
    st.just({"geo_distance": {"distance": "200km", "place": {"lat": 42, "lon": -5}}}),
    st.just({"term": {"none": 1}}),
)


def compounds(inner):
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            lambda body: {"bool": body},
            st.fixed_dictionaries(
                {},
                optional={
                    "must": some,
                    "should": some,
                    "filter": st.one_of(other_clauses, st.lists(other_clauses, max_size=2)),
                    "must_not": other_clauses,
                    "minimum_should_match": st.sampled_from((1, "50%")),
                    "_name": names,
                },
            ),
        ),
        some.map(lambda queries: {"dis_max": {"queries": queries, "tie_breaker": 0.2}}),
        other_clauses.map(lambda query: {"constant_score": {"filter": query, "boost": 1.5}}),
        inner.map(
            lambda query: {
                "boosting": {"positive": query, "negative": {"term": {"tag": "novel"}}, "negative_boost": 0.5}
            }
        ),
        inner.map(
            lambda query: {
                "function_score": {
                    "query": query,
                    "field_value_factor": {"field": "pages"},
                    "boost_mode": "sum",
                }
            }
        ),
        inner.map(
            lambda query: {
                "function_score": {
                    "query": query,
                    "functions": [{"weight": 2, "filter": {"term": {"tag": "travel"}}}],
                }
            }
        ),
    )


queries = st.recursive(
    st.one_of(text_clauses, text_clauses, text_clauses, other_clauses), compounds, max_leaves=4
)

aggregations = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.just({"terms": {"field": "tag"}, "aggs": {"mean": {"avg": {"field": "price"}}}}),
        "prices": st.just({"histogram": {"field": "price", "interval": 5}}),
        "decades": st.just({"date_histogram": {"field": "printed", "fixed_interval": "3650d"}}),
        "spread": st.just({"stats": {"field": "pages"}}),
        "stars": st.just(
            {"nested": {"path": "reviews"}, "aggs": {"best": {"max": {"field": "reviews.stars"}}}}
        ),
        "best": st.just({"top_hits": {"size": 2, "_source": ["title"]}}),
        "novels": st.just({"filter": {"term": {"tag": "novel"}}, "meta": {"colour": "red"}}),
        "scores": st.just({"filters": {"filters": {"river": {"match": {"title": "river"}}}}}),
        "wrong": st.just({"terms": {"field": "title"}}),
    },
)

sorts = st.sampled_from(
    (
        "_score",
        ["_score"],
        [{"_score": "desc"}],
        [{"_score": {"order": "desc"}}, "id"],
        ["pages"],
        [{"pages": "desc"}, "_score"],
        [{"_geo_distance": {"place": {"lat": 40, "lon": -3}, "order": "asc"}}],
        ["_doc"],
        [{"_score": "asc"}],
        [],
        ["none"],
    )
)

sources = st.sampled_from(
    (True, False, "title", ["title", "tag"], {"includes": ["*"], "excludes": ["body"]}, [], "none")
)

# inside the window, across its edge, behind it; written in ways that the engines take and refuse
SLICES = ((0, 3), (5, 5), (15, 10), (19, 1), (20, 5), (9_999, 2))
pages = st.sampled_from(
    (
        *({"from": start, "size": size} for start, size in SLICES),
        *({"size": size} for size in (0, 20, 21, 60, "4", -1)),
        *({"from": start} for start in (2.0, 10, 55)),
        {},
        {},
    )
)

highlights = st.sampled_from(
    (
        {"fields": {"title": {}}},
        {"fields": {"*": {"number_of_fragments": 0}}, "pre_tags": ["<b>"], "post_tags": ["</b>"]},
        {"fields": [{"body": {"type": "plain", "fragment_size": 20}}], "require_field_match": False},
        {"fields": {"title": {"type": "fvh"}}},
    )
)

bodies = st.fixed_dictionaries(
    {"query": queries},
    optional={
        "aggs": aggregations,
        "sort": sorts,
        "_source": sources,
        "highlight": highlights,
        "fields": st.sampled_from((["title"], ["pr*"], [{"field": "printed", "format": "yyyy"}])),
        "docvalue_fields": st.sampled_from((["pages"], [{"field": "printed", "format": "epoch_millis"}])),
        "stored_fields": st.sampled_from((["pages"], "_none_", ["*"])),
        "script_fields": st.just({"twice": {"script": {"source": "doc['pages'].value * 2"}}}),
        "collapse": st.sampled_from(
            ({"field": "tag"}, {"field": "tag", "inner_hits": {"name": "more", "size": 2}})
        ),
        "track_total_hits": st.sampled_from((True, False, 5)),
        "track_scores": st.booleans(),
        "explain": st.booleans(),
        "version": st.booleans(),
        "seq_no_primary_term": st.booleans(),
        "min_score": st.sampled_from((0.5, 1.5)),
        "post_filter": other_clauses,
        "profile": st.booleans(),
        "suggest": st.just(
            {
                "text": "rivr",
                "words": {"term": {"field": "title"}},
                "done": {"prefix": "riv", "completion": {"field": "suggest"}},
            }
        ),
        "rescore": st.just({"window_size": 10, "query": {"rescore_query": {"match": {"body": "winter"}}}}),
        "timeout": st.just("5s"),
        "terminate_after": st.just(15),
        "search_after": st.just([1.5]),
        "indices_boost": st.just([{"books": 1.5}]),
        "stats": st.just(["group"]),
        "ext": st.just({}),
        "slice": st.just({"id": 0, "max": 2}),
        "unknown": st.just(1),
    },
)

parameters = st.fixed_dictionaries(
    {},
    optional={
        "rest_total_hits_as_int": st.sampled_from(("true", "false")),
        "typed_keys": st.just("true"),
        "pretty": st.sampled_from(("", "true", "false")),
        "size": st.sampled_from(("2", "25")),
        "from": st.sampled_from(("1", "18")),
        "q": texts.map(lambda words: f"title:({words})"),
        "_source_includes": st.just("t*"),
        "filter_path": st.sampled_from(
            ("hits.hits._id,hits.total", "-hits.hits._source.body", "**._id,**._score,aggregations")
        ),
        "search_type": st.sampled_from(("query_then_fetch", "dfs_query_then_fetch")),
        "request_cache": st.just("true"),
        "preference": st.just("mine"),
        "human": st.just(""),
        "unknown": st.just("1"),
    },
)


def thin_out(body, kept):
    """At most four options beside the query, chosen by the number ``kept``."""
    options = [name for name in body if name != "query"]
    chosen = {options[(kept + 7 * step) % len(options)] for step in range(kept % 5)} if options else set()
    return {name: value for name, value in body.items() if name == "query" or name in chosen}


def make_request(method, indices, asked, body, kept, page):
    few_asked = dict(list(asked.items())[kept % 3 : kept % 3 + kept % 4])
    query = f"?{urlencode(few_asked)}" if few_asked else ""
    search = {**thin_out(body, kept), **page}
    if indices != "books":
        search.pop("profile", None)  # it lists the shards as they happened to answer
    is_timed = bool(search.get("profile"))
    return ask(f"{method} /{indices}/_search{query}", search, has_numbers_of_the_moment=is_timed)


requests: st.SearchStrategy[Request] = st.builds(
    make_request,
    st.sampled_from(("POST", "GET")),
    st.sampled_from(("books", "books", "books,books-too", "book*")),
    parameters,
    bodies,
    st.integers(0, 1000),
    pages,
)
