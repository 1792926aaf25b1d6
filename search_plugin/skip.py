"""Why a search is left alone: every reason, in one enum."""

from dataclasses import dataclass
from enum import StrEnum

from search_plugin.rewrite import Rewrite


class Reason(StrEnum):
    """Why a search was not reranked. The values are what clients and metrics see; they do not change."""

    # found in the request, before the cluster is asked
    POLICY_OFF = (
        "policy_off"  # no policy covers every index that the search names, or it is not to be reranked
    )
    SEARCH_PIPELINE = "search_pipeline"  # its `ext.rerank` is for OpenSearch's own processor
    UNSUPPORTED_FORMAT = "unsupported_format"  # not a plain JSON request for a whole JSON answer
    BODY_TOO_LARGE = "body_too_large"  # the body is longer than the gateway reads
    MALFORMED_BODY = "malformed_body"  # not a JSON object, or no valid from and size: the cluster answers 400
    SCROLL = "scroll"  # a scroll walks the whole index, a batch at a time
    SEARCH_AFTER = "search_after"  # the next page is found by the sort values of this one's last hit
    SORT_NOT_SCORE = "sort_not_score"  # the client asked for another order than by score
    RESCORE_CLAUSE = (
        "rescore_clause"  # the client's own `rescore`, or a retriever like it, orders the first hits
    )
    COLLAPSE_INNER_HITS = "collapse_inner_hits"  # groups of hits, each with its own inner order
    NO_SOURCE = "no_source"  # no text to score: no `_source`, or none of the policy's fields in it
    SIZE_0 = "size_0"  # no hits wanted, only totals or aggregations
    FROM_PAST_WINDOW = "from_past_window"  # the page starts behind the last hit that would be scored
    NO_QUERY_TEXT = "no_query_text"  # nothing that a person typed is in the query
    AMBIGUOUS_QUERY = "ambiguous_query"  # several different texts are in the query

    # found in the cluster's answer
    TOO_FEW_HITS = "too_few_hits"  # fewer than two hits, or none on the page: there is no order to improve
    REPEATED_HITS = "repeated_hits"  # a document twice: not a ranking, as a hybrid query without its pipeline
    CLUSTER_REFUSED = "cluster_refused"  # the cluster took the search only as the client sent it

    EXPERIMENT = "experiment"  # it is in the arm of an experiment that shows the first stage

    STILL_RUNNING = "still_running"  # an asynchronous search whose hits are not the best ones yet

    # found while scoring
    NO_WORKER = "no_worker"  # no worker serves the policy's model
    OVERLOAD = "overload"  # the jobs under way would not let this one be scored before its deadline
    CIRCUIT_OPEN = "circuit_open"  # scoring failed again and again: it is tried anew in some seconds
    TIMEOUT = "timeout"  # the scores did not come before the deadline
    BACKEND_ERROR = "backend_error"  # the queue or the worker failed


@dataclass(frozen=True, slots=True)
class Skip:
    """The decision to give the client what the cluster says, and why.

    Attributes:
        stripped: the client's own search without what is ours; None where nothing is to be taken out.
    """

    reason: Reason
    stripped: Rewrite | None = None
