"""Knows, in plain words, why a search has the cluster's order, and what can be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from search_plugin import Reason


class Words(NamedTuple):
    """One reason: what happened, as the end of "Not reranked: …", and what to do; empty where nothing is."""

    what: str
    remedy: str = ""


REASONS: Mapping[Reason, Words] = {
    Reason.POLICY_OFF: Words(
        "no policy that is on covers all indices of the search, or the search asked to be left alone",
        "Add the index or its alias to a policy, or have the search ask for it.",
    ),
    Reason.SEARCH_PIPELINE: Words("its ext.rerank is meant for OpenSearch's own search pipeline"),
    Reason.UNSUPPORTED_FORMAT: Words("it is not a plain JSON request for a JSON answer"),
    Reason.BODY_TOO_LARGE: Words(
        "its body is longer than the gateway reads", "Raise --search-body-limit-bytes."
    ),
    Reason.MALFORMED_BODY: Words("its body is no JSON object, or from or size are no counts"),
    Reason.SCROLL: Words("a scroll walks the whole index"),
    Reason.SEARCH_AFTER: Words("search_after finds its page by the sort values of the page before"),
    Reason.SORT_NOT_SCORE: Words("it asks for another order than by score"),
    Reason.RESCORE_CLAUSE: Words("it has a rescore clause or a retriever that reranks by itself"),
    Reason.COLLAPSE_INNER_HITS: Words("it collapses hits into groups with an order of their own"),
    Reason.NO_SOURCE: Words(
        "the hits have no text in the fields that passages are read from",
        "Name the right passage_fields in the policy.",
    ),
    Reason.SIZE_0: Words("it wants no hits"),
    Reason.FROM_PAST_WINDOW: Words("its page lies behind the window", "Choose a larger window."),
    Reason.NO_QUERY_TEXT: Words(
        "it holds nothing that a person typed: only filters, terms, vectors or match-all",
        "Send the text along: ext.rerank.query_context.query_text.",
    ),
    Reason.AMBIGUOUS_QUERY: Words(
        "it holds several different texts", "Say which one counts: the policy's query_text_path."
    ),
    Reason.TOO_FEW_HITS: Words("there are fewer than two hits, or none on the page"),
    Reason.REPEATED_HITS: Words(
        "the same document is among the hits twice",
        "A hybrid query needs the search pipeline that merges its parts.",
    ),
    Reason.CLUSTER_REFUSED: Words(
        "the cluster takes it only as it was sent, without the window",
        "Compare the index's max_result_window with the policy's window.",
    ),
    Reason.EXPERIMENT: Words("it is in the arm of an experiment that shows the cluster's order"),
    Reason.STILL_RUNNING: Words("the asynchronous search has not ended yet", "Ask again by its id."),
    Reason.NO_WORKER: Words(
        "no worker serves the policy's model", "Start one: python -m worker --config rerank.toml"
    ),
    Reason.OVERLOAD: Words(
        "more waits to be scored than can be done before its deadline",
        "Start more workers, or choose a smaller window.",
    ),
    Reason.CIRCUIT_OPEN: Words(
        "scoring has failed several times in a row, and is tried again in a moment",
        "The logs of gateway and workers say what failed.",
    ),
    Reason.TIMEOUT: Words(
        "the scores were not there at the policy's deadline",
        "Choose a smaller window, a later deadline_ms, or start more workers.",
    ),
    Reason.BACKEND_ERROR: Words(
        "Redis, the queue or the model failed", "The logs of gateway and workers say what failed."
    ),
}
