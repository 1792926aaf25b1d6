"""What has to hold for every input: one function a target, each a property that can be given any examples."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote

from hypothesis import assume, given
from hypothesis import strategies as st

from fuzz import inputs, oracle
from search_plugin import (
    BadAsk,
    FirstStage,
    Plan,
    Policy,
    Responses,
    Rewrite,
    Rules,
    SearchRequest,
    Skip,
    UnreadableAnswer,
    combine_scores,
    filter_answer,
    join_items,
    make_note,
    match_route,
    merge,
    place_hits,
    plan_search,
    read_passages,
    read_ticket,
    restore,
    split_items,
    write_ticket,
)
from search_plugin.chunks import cut
from search_plugin.pit import find_pit_indices
from search_plugin.policy import Chunking
from search_plugin.query_text import find_query_texts, find_typed_text

OURS = ("rerank", "rerank_model", "rerank_window_size", "rerank_query", "rerank_fields")

POLICIES = [
    Policy(name="plain", indices=("books",), model="small", passage_fields=("title", "tags.name"), window=4),
    Policy(name="all", indices=("all",), model="small", window=3, mode="off", keep_previous_score=True),
    Policy(
        name="rich",
        indices=("*",),
        model="small",
        passage_template="{title}: {chunks.text}{body}",
        passage_sources=("_source", "fields", "highlight", "inner_hits"),
        chunks=Chunking(words=20, overlap=10, by="word", most=2, score="mean"),
        query_text_path="query.match.title",
        window=5,
        score_mode="linear",
        annotate=True,
    ),
]
RULES = st.builds(
    Rules,
    st.sampled_from([POLICIES, POLICIES[2:], POLICIES[:1]]),
    st.just(frozenset({"small", "big"})),
    st.sampled_from([None, "elasticsearch", "opensearch"]),
)


def write_target(path: str, parameters: Mapping[str, str], mark: str) -> str:
    pairs = (f"{name}={quote(value, errors='replace')}" for name, value in parameters.items())
    return f"{path}?{mark.join(pairs)}" if parameters else path


REQUESTS = st.builds(
    SearchRequest,
    indices=st.sampled_from([("books",), ("all",), (), ("a*", "-b")]),
    target=st.builds(
        write_target, st.just("/books/_search"), inputs.PARAMETERS, st.sampled_from(["&", ";", "&&"])
    )
    | st.text("&;=%?rank_size/+0aé", max_size=30).map(lambda text: f"/_search?{text}"),
    headers=inputs.HEADERS,
    body=inputs.written(inputs.SEARCHES).map(inputs.as_bytes) | st.binary(max_size=60) | st.just(b""),
    in_body=st.booleans(),
)


@given(REQUESTS, RULES)
def planner(request: SearchRequest, rules: Rules) -> None:
    """A search is planned, left alone or refused, and nothing of ours reaches the cluster."""
    match_route("POST", request.target)
    try:
        plan = plan_search(request, rules)
    except BadAsk:
        return
    rewrites = [plan.stripped, plan.enlarged] if isinstance(plan, Plan) else [plan.stripped]
    own = _read_body(request)
    is_clusters = own is not None and rules.engine != "elasticsearch" and "rerank" in _ext(own)
    for rewrite in filter(None, rewrites):
        names = {name for name, _ in parse_qsl(rewrite.target.partition("?")[2].replace(";", "&"))}
        assert names.isdisjoint(OURS)
        if rewrite.body is not None:
            _check_body(json.loads(rewrite.body.decode("utf-8", "surrogateescape")), own or {})
        elif isinstance(plan, Plan) and own is not None and not is_clusters:
            assert "rerank" not in _ext(own) or "source" in request.target
    if isinstance(plan, Plan):
        assert plan.query_text.strip()
        assert plan.query_text.encode()
        assert 0 <= plan.page_from < plan.policy.window
        ticket = write_ticket(plan, rules.policies)
        assert ticket is None or read_ticket(ticket, rules) is not None


def _read_body(request: SearchRequest) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        body = json.loads(request.body.decode("utf-8", "surrogateescape"))
        return body if isinstance(body, dict) else None
    return None


def _ext(body: Mapping[str, Any]) -> Mapping[str, Any]:
    ext = body.get("ext")
    return ext if isinstance(ext, dict) else {}


def _check_body(sent: dict[str, Any], own: dict[str, Any]) -> None:
    """Only what is ours is taken out, and nothing changed but what asks for the window."""
    assert "rerank" not in _ext(sent)
    retriever = own.get("retriever")
    is_unwrapped = isinstance(retriever, dict) and "text_similarity_reranker" in retriever
    changed = {"from", "size", "fields", "ext", *(("retriever",) if is_unwrapped else ())}
    for name, value in own.items():
        if name not in changed:
            assert repr(sent[name]) == repr(value)
    assert {name: repr(value) for name, value in _ext(sent).items()} == {
        name: repr(value) for name, value in _ext(own).items() if name != "rerank"
    }


PLANS = st.builds(
    Plan,
    policy=st.sampled_from(POLICIES)
    | st.builds(
        lambda policy, mode, least: policy.model_copy(update={"score_mode": mode, "min_score": least}),
        st.sampled_from(POLICIES),
        st.sampled_from(["replace", "linear", "rrf"]),
        st.none() | st.floats(0, 1),
    ),
    query_text=st.just("red wine"),
    page_from=st.integers(0, 4),
    page_size=st.integers(1, 5),
    enlarged=st.just(Rewrite("")),
    stripped=st.just(Rewrite("")),
    added_fields=st.sampled_from([(), ("title",), ("title", "x")]),
    is_asked=st.booleans(),
    tells_hits=st.booleans(),
    scores_like_elasticsearch=st.booleans(),
    highlight_tags=st.sampled_from([(), ("<em>", "</em>")]),
)


@given(
    PLANS,
    inputs.written(inputs.ANSWERS).map(inputs.as_bytes) | inputs.written(inputs.VALUES).map(inputs.as_bytes),
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6),
)
def splicer(plan: Plan, answer: bytes, logits: list[float]) -> None:
    """An answer is readable or not; its pages are JSON with hits of its own."""
    try:
        first_stage = FirstStage.parse(answer)
    except UnreadableAnswer:
        return
    try:
        own = _hits(first_stage.text)
        restored = _hits(restore(plan, first_stage, {"status": "failed"}))
    except RecursionError:  # the gateway then asks again
        return
    page = slice(plan.page_from, plan.page_from + plan.page_size)
    added = plan.added_fields
    assert list(map(repr, restored)) == [repr(_without(hit, added)) for hit in own][page]
    passages = read_passages(plan, first_stage)
    if isinstance(passages, Skip):
        return
    per_passage = (logits * (len(passages.texts) // len(logits) + 1))[: len(passages.texts)]
    placed = place_hits(plan, first_stage, combine_scores(plan, passages, per_passage))
    note = make_note(plan, first_stage, placed, status="applied", reason=None, took_ms=1.5)
    merged = _hits(merge(plan, first_stage, placed, note))
    assert list(map(repr, map(_without_score, merged))) == [
        repr(_without_score(_without(own[place.hit], added))) for place in placed[page]
    ]
    scores = [hit["_score"] for hit in merged]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 3.4e38 for score in scores)
    if plan.policy.min_score is None:
        assert sorted(place.hit for place in placed) == list(range(len(own)))


def _hits(text: str) -> list[dict[str, Any]]:
    hits = json.loads(text)["hits"]["hits"]
    assert isinstance(hits, list)
    return hits


def _without(hit: dict[str, Any], added: Sequence[str]) -> dict[str, Any]:
    """The hit without the fields that only the window was asked for."""
    fields = hit.get("fields")
    if not isinstance(fields, dict):
        return hit
    kept = {
        name: value
        for name, value in fields.items()
        if not any(name == field or field.startswith(f"{name}.") for field in added)
    }
    members = {name: kept if name == "fields" else value for name, value in hit.items()}
    return members if kept else {name: value for name, value in members.items() if name != "fields"}


def _without_score(hit: dict[str, Any]) -> dict[str, Any]:
    """The hit without what reranking changes in it."""
    fields = hit.get("fields")
    kept = hit if not isinstance(fields, dict) else _drop_previous_score(hit, fields)
    return {name: value for name, value in kept.items() if name not in ("_score", "_explanation")}


def _drop_previous_score(hit: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if name != "_rerank.previous_score"}
    members = {name: kept if name == "fields" else value for name, value in hit.items()}
    return members if kept else {name: value for name, value in members.items() if name != "fields"}


NAMES = st.sampled_from(["a", "ab", "b", "a.b", "hits", "", "?", "[a]", "-a", "*", "\\"])
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        st.integers(0, 9) | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=12,
    ),
    max_size=4,
)
PATTERNS = st.sampled_from(["a", "ab", "b", "*", "**", "a*", "*b", "a\\.b", "hits", "?", "[a]", "", " "])
FILTER_PATHS = st.lists(
    st.builds(
        lambda minus, names: minus + ".".join(names), st.sampled_from(["", "", "-"]), st.lists(PATTERNS)
    ),
    max_size=4,
).map(",".join)


@given(DOCUMENTS, st.sampled_from(list(inputs.STYLES.values())), FILTER_PATHS | inputs.TEXTS)
def filter_path(document: dict[str, Any], style: Callable[[Any], str], paths: str) -> None:
    """The cut text holds what the engines' rules leave of the parsed answer; a second cut takes nothing."""
    text = style(document)
    once = filter_answer(text, paths)
    assert oracle.prune(json.loads(once)) == oracle.filter_value(document, paths)
    assert filter_answer(once, paths) == once


@given(inputs.written(inputs.VALUES), FILTER_PATHS)
def filter_any(text: str, paths: str) -> None:
    """Whatever the text is: cut, or refused as no JSON or too deep."""
    with suppress(ValueError, RecursionError):
        json.loads(text)
        assume(text.strip().startswith("{"))
        json.loads(filter_answer(text, paths))


LINES = inputs.written(inputs.object_of({"index": inputs.one_or_more(inputs.TEXTS)})) | inputs.TEXTS
RESPONSES = st.fixed_dictionaries({"took": inputs.SCALARS, "responses": st.lists(inputs.VALUES, max_size=4)})


@given(
    st.lists(LINES, max_size=6).map(lambda lines: inputs.as_bytes("\n".join([*lines, ""])))
    | st.binary(max_size=60),
    inputs.written(RESPONSES).map(inputs.as_bytes) | st.binary(max_size=60),
)
def multi_search(body: bytes, answer: bytes) -> None:
    """Bodies and answers of multi-searches come together again as they were."""
    with suppress(ValueError):
        items = split_items(body)
        assert join_items(items) == body
        for item in items:
            with suppress(ValueError):
                assert all(isinstance(name, str) for name in item.read_indices(("x",)))
    with suppress(UnreadableAnswer):
        responses = Responses.parse(answer)
        assert responses.join(responses.texts()).encode("utf-8", "surrogateescape") == answer
        assert len(json.loads(responses.join(["{}"] * len(responses)))["responses"]) == len(responses)


@given(
    st.text("ab wine.!?\n。\ud800", max_size=300),
    st.builds(
        lambda words, share, by, most, score: Chunking(
            words=words, overlap=words // share, by=by, most=most, score=score
        ),
        st.integers(20, 40),
        st.integers(2, 50),
        st.sampled_from(["word", "sentence"]),
        st.integers(1, 50),
        st.sampled_from(["max", "first", "mean"]),
    ),
    inputs.TEXTS,
    inputs.VALUES,
    inputs.VALUES | inputs.QUERIES,
)
def texts(text: str, chunking: Chunking, typed: str, value: Any, query: Any) -> None:
    """Texts are cut, typed texts reduced and points in time read, whatever they are."""
    chunks = cut(text, chunking, typed)
    assert len(chunks) <= chunking.most
    assert all(chunk in text and len(chunk.split()) <= chunking.words for chunk in chunks)
    for found in (find_typed_text(typed), find_query_texts(query), find_query_texts(value)):
        assert all(one == " ".join(one.split()) and one for one in found)
    assert all(isinstance(name, str) for name in find_pit_indices(value))
    assert isinstance(find_pit_indices({"id": typed}), tuple)


TICKET = {"policy": "plain", "query_text": "red wine", "page_from": 0, "page_size": 3}


@given(
    st.text(max_size=60)
    | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
    | st.builds(
        lambda ticket: _pack(ticket),
        inputs.written(
            inputs.laid_over(
                TICKET,
                inputs.few(
                    {
                        "policy": st.sampled_from(["plain", "rich", "x"]),
                        "query_text": inputs.TEXTS,
                        "page_from": inputs.COUNTS,
                        "page_size": inputs.COUNTS,
                        "chosen": inputs.EXT_RERANK
                        | inputs.object_of({"window": inputs.COUNTS, "chunks": inputs.VALUES}),
                        "added_fields": inputs.VALUES,
                        "flags": inputs.VALUES,
                    }
                ),
            )
        ),
    )
)
def tickets(encoded: str) -> None:
    """What a client sends as a ticket is one of ours, within its policy, or none."""
    plan = read_ticket(encoded, Rules(POLICIES, frozenset({"small"})))
    if plan is not None:
        assert plan.policy.window <= plan.policy.max_window
        assert plan.policy.name in {policy.name for policy in POLICIES}


def _pack(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(inputs.as_bytes(text))).decode().rstrip("=")


Target = Callable[[], None]

TARGETS: Mapping[str, Target] = {
    target.__name__: target
    for target in (planner, splicer, filter_path, filter_any, multi_search, texts, tickets)
}
