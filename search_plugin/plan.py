"""The decision for one search: a plan or the reason to leave it alone."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from search_plugin.ask import NOTHING, PARAMETERS, Ask, read_ext, read_headers_ask, read_parameters_ask
from search_plugin.fitness import Search, is_plain_json
from search_plugin.paths import find_values
from search_plugin.pit import find_pit_indices
from search_plugin.policy import Policy, find_policy
from search_plugin.query_text import find_query_texts, find_typed_text, normalise_text
from search_plugin.raw_json import join_object, split_object
from search_plugin.retriever import find_reranker, unwrap
from search_plugin.rewrite import Rewrite, SearchText, drop_parameters, read_parameters
from search_plugin.skip import Reason, Skip

Engine = Literal["elasticsearch", "opensearch"]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search, as it came.

    Attributes:
        indices: the parts of its index expression; empty if it names none.
        target: the raw request target, percent-encoded, one character a byte.
        headers: by lower-case name.
        body: with any content coding removed.
        in_body: only its body can ask for the window, as that of an item of a multi-search.
    """

    indices: tuple[str, ...]
    target: str
    headers: Mapping[str, str]
    body: bytes
    in_body: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one search.

    Attributes:
        policy: the policy that it falls under, what the request asks for laid over it.
        query_text: the text that a person typed.
        page_from, page_size: the client's page.
        enlarged: asks for the window, or up to the page's end if that is behind it.
        stripped: the client's own search, without what is ours.
        added_fields: what the enlarged search asks for in ``fields`` and the client did not.
        filter_path: what the client wants of the answer, still to be applied to it; empty for all.
        is_asked: the request asks to be reranked, so the answer says what was done.
        tells_hits: it says so of each hit.
        fails_open: without scores the answer is the cluster's own page, not an error.
        scores_like_elasticsearch: scores are normalised as its ``text_similarity_reranker`` does.
        highlight_tags: what highlight fragments are marked with, no part of the text.
    """

    policy: Policy
    query_text: str
    page_from: int
    page_size: int
    enlarged: Rewrite
    stripped: Rewrite
    added_fields: tuple[str, ...] = ()
    filter_path: str = ""
    is_asked: bool = False
    tells_hits: bool = False
    fails_open: bool = True
    scores_like_elasticsearch: bool = False
    highlight_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the gateway is configured to do, as far as planning needs it.

    Attributes:
        policies: the first that covers a search applies.
        models: those that a request may name.
        engine: what the cluster is; None while that is not known.
    """

    policies: Sequence[Policy]
    models: Collection[str] = ()
    engine: Engine | None = None


def make_scan_plan(policy: Policy, query_text: str) -> Plan:
    """How hits are read that no search of a client's has found: by the policy, for this query."""
    nothing = Rewrite("")
    return Plan(policy, query_text, page_from=0, page_size=0, enlarged=nothing, stripped=nothing)


def strip_target(target: str) -> str:
    """The target without the parameters that are ours."""
    return drop_parameters(target, PARAMETERS)


def plan_search(request: SearchRequest, rules: Rules) -> Plan | Skip:
    """Decide how a search is reranked, or why it is not.

    Raises:
        BadAsk: what the request asks of us is wrong.
    """
    try:
        return _plan_search(request, rules)
    except RecursionError:  # nested more deeply than the engines read
        return Skip(Reason.MALFORMED_BODY, Rewrite(strip_target(request.target)))


def _plan_search(request: SearchRequest, rules: Rules) -> Plan | Skip:
    parameters = read_parameters(request.target)
    target = strip_target(request.target)
    if not is_plain_json(request.headers, parameters):
        return Skip(Reason.UNSUPPORTED_FORMAT, Rewrite(target))
    in_source = "source" in parameters and not request.body.strip()
    try:
        text = parameters["source"] if in_source else request.body.decode("utf-8", "surrogateescape")
        body = _read_body(text)
    except ValueError:
        return Skip(Reason.MALFORMED_BODY, Rewrite(target))
    indices = request.indices or find_pit_indices(body.get("pit"))
    policy = find_policy(indices, rules.policies) if indices or "pit" not in body else None
    is_clusters = rules.engine != "elasticsearch" and _is_for_cluster(body, parameters, policy)
    in_body, edits = (NOTHING, {}) if is_clusters else _read_body_ask(body, text)
    in_headers = read_headers_ask(request.headers)
    asked = in_headers.behind(read_parameters_ask(parameters)).behind(in_body)
    search_text = SearchText(target, text, in_source, request.in_body)
    stripped = search_text.rewrite(edits)
    if policy is not None and is_clusters:
        return Skip(Reason.SEARCH_PIPELINE, stripped)
    mode = policy and (asked.mode or ("on" if asked else policy.mode))
    if policy is None or "off" in (mode, in_headers.mode):
        return Skip(Reason.POLICY_OFF, stripped)
    policy = _lay_over(policy, asked, rules.models)
    try:
        search = Search.read(parameters, _apply(body, edits))
    except ValueError:
        return Skip(Reason.MALFORMED_BODY, stripped)
    added = _find_missing_fields(policy, search)
    reason = search.find_unfit() or _find_unfit_for(policy, search, added)
    if reason:
        return Skip(reason, stripped)
    texts = _read_query_texts(search, asked, policy)
    if len(texts) != 1:
        return Skip(Reason.AMBIGUOUS_QUERY if texts else Reason.NO_QUERY_TEXT, stripped)
    return Plan(
        policy=policy,
        query_text=texts[0],
        page_from=search.page_from,
        page_size=search.page_size,
        enlarged=search_text.rewrite(
            edits | _add_fields(search.body, added), max(policy.window, search.page_from + search.page_size)
        ),
        stripped=stripped,
        added_fields=added,
        filter_path=parameters.get("filter_path", ""),
        is_asked=bool(asked),
        tells_hits=bool(asked.profile),
        fails_open=asked.allow_rerank_failures is not False,
        scores_like_elasticsearch="retriever" in edits,
        highlight_tags=search.highlight_tags,
    )


def _read_body(text: str) -> dict[str, Any]:
    body = json.loads(text) if text.strip() else {}
    if not isinstance(body, dict):
        raise ValueError("the body is not an object")
    return body


def _is_for_cluster(body: Mapping[str, Any], parameters: Mapping[str, str], policy: Policy | None) -> bool:
    """Is the ``ext.rerank`` for OpenSearch's own processor?"""
    ext = body.get("ext")
    if not isinstance(ext, dict) or "rerank" not in ext:
        return False
    names_pipeline = "search_pipeline" in parameters or "search_pipeline" in body
    return policy is None or policy.ext_rerank == "passthrough" or names_pipeline


def _read_body_ask(body: Mapping[str, Any], text: str) -> tuple[Ask, dict[str, str | None]]:
    """What the body asks for, and the edits that take it out."""
    ask, edits = NOTHING, dict[str, str | None]()
    clause = find_reranker(body)
    if clause is not None:
        ask, edits = unwrap(body, clause)
    ext = body.get("ext")
    if isinstance(ext, dict) and "rerank" in ext:
        ask = ask.behind(read_ext(ext["rerank"]))
        members = split_object(split_object(text)["ext"])
        del members["rerank"]
        edits = {**edits, "ext": join_object(members) if members else None}
    return ask, edits


def _apply(body: Mapping[str, Any], edits: Mapping[str, str | None]) -> dict[str, Any]:
    edited = {**body, **{name: value and json.loads(value) for name, value in edits.items()}}
    return {name: value for name, value in edited.items() if edits.get(name, "") is not None}


def _lay_over(policy: Policy, asked: Ask, models: Collection[str]) -> Policy:
    if not asked:
        return policy
    if asked.model is not None and asked.model not in models:
        asked.refuse("model", f"no such model: {asked.model!r}; declared are {', '.join(sorted(models))}")
    limits = (
        ("rank_window_size", asked.rank_window_size, policy.largest_window),
        ("timeout", asked.timeout, policy.longest_deadline_ms),
    )
    for name, wanted, limit in limits:
        if wanted is not None and wanted > limit:
            asked.refuse(
                name, f"must be at most {limit}{'ms' if name == 'timeout' else ''} (policy {policy.name!r})"
            )
    return policy.model_copy(update={"mode": "on", **asked.policy_options()})


def _find_unfit_for(policy: Policy, search: Search, added: Sequence[str]) -> Reason | None:
    if search.page_from >= policy.window:
        return Reason.FROM_PAST_WINDOW
    needs_source = not policy.fields and not search.source_filter.is_whole
    # what is fetched besides would also stand in the options of a completion suggester
    spoils_suggest = added and "suggest" in search.body
    return Reason.NO_SOURCE if needs_source or spoils_suggest else None


def _read_query_texts(search: Search, asked: Ask, policy: Policy) -> list[str]:
    if asked.query_text is not None:
        return normalise_text(asked.query_text)
    if asked.query_text_path is not None:
        found = _read_path(search.body, asked.query_text_path)
        return (
            normalise_text(found)
            if found is not None
            else asked.refuse("query_text_path", "query_text_path must point to a string field")
        )
    if policy.query_text_path and (found := _read_path(search.body, policy.query_text_path)):
        return normalise_text(found)
    if "q" in search.parameters:  # overrules the body's query, also when empty
        return find_typed_text(search.parameters["q"])
    vectors = search.body.get("knn", [])
    clauses = [{"knn": clause} for clause in (vectors if isinstance(vectors, list) else [vectors])]
    return find_query_texts([search.body.get("query"), *clauses, search.body.get("retriever")])


def _read_path(body: Mapping[str, Any], path: str) -> str | None:
    # OpenSearch writes clauses out before it reads them: {"match": {"title": "x"}} has a match.title.query
    values = list(find_values(body, path)) or list(find_values(body, path.removesuffix(".query")))
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def _find_missing_fields(policy: Policy, search: Search) -> tuple[str, ...]:
    source_filter = search.source_filter
    missing = (field for field in policy.fields if not source_filter.keeps(field))
    return tuple(field for field in missing if not search.asks_for_field(field))


def _add_fields(body: Mapping[str, Any], added: Sequence[str]) -> dict[str, str | None]:
    return {"fields": json.dumps([*body.get("fields", ()), *added])} if added else {}
