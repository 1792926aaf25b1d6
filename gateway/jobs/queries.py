"""Knows a job of queries: each is searched as a client would, and the best of its reranked hits are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.jobs.asking import Answered, tell_error
from gateway.jobs.destination import make_id
from gateway.jobs.items import Batch, Done, Outcome, Write
from gateway.jobs.lines import Line, count_items, read_lines
from gateway.jobs.spec import QueriesSpec
from gateway.jobs.tools import JobTools, tell_now
from gateway.rescoring import Rescorer
from gateway.scoring import tell_score
from gateway.searches import Searches
from gateway.tools import SearchTools
from gateway.wire import ClientRequest
from search_plugin import Policy, Reason, find_policy, match_route

_BODY_BYTES = 64 * 1024 * 1024
_NOTHING_TO_ORDER = frozenset({"", Reason.TOO_FEW_HITS.value})


@dataclass(frozen=True)
class Query:
    """What one line asks.

    Attributes:
        id: by which people know it.
        text: what was typed; None where a search's body says it.
        index: where, if not where the job says.
        body: the search.
    """

    id: str
    text: str | None
    index: str | None
    body: Mapping[str, Any]


class QueriesWork:
    """See `gateway.jobs.items.Work`."""

    def __init__(self, spec: QueriesSpec, tools: JobTools) -> None:
        assert tools.resolved.policy is not None
        self._spec = spec
        self._tools = tools
        self._policy = tools.resolved.policy
        self._index = spec.find_index(self._policy)
        search_tools = SearchTools(tools.cluster.cluster, Rescorer(tools.scorer), tools.policies, _BODY_BYTES)
        self._searches = Searches(search_tools)
        self.total = count_items(tools.spool, tools.job)

    def batches(self, cursor: Mapping[str, Any] | None) -> Iterator[Batch[Line]]:
        """See `Work`."""
        for line in read_lines(self._tools.spool, self._tools.job.round, cursor):
            yield Batch([line], line.cursor)

    def do(self, batch: Batch[Line]) -> list[Outcome]:
        """See `Work`."""
        return [self._search(line) for line in batch.items]

    def close(self) -> None:
        """See `Work`."""

    def _search(self, line: Line) -> Outcome:
        try:
            query = read_query(line, self._policy, self._spec)
            self._check_index(query.index)
        except ValueError as error:
            return line.fail(str(error))
        index = query.index or self._index
        answered = self._ask(index, query.body)
        if answered.status >= 400:
            return line.fail(tell_error(answered.status, answered.told))
        if answered.reason not in _NOTHING_TO_ORDER:
            return line.fail(f"not reranked: {answered.reason}")
        return self._write_row(line, query, answered.told)

    def _check_index(self, index: str | None) -> None:
        policies = self._tools.policies.current().policies
        if index is not None and find_policy(index.split(","), policies) != self._policy:
            raise ValueError(f"index: policy {self._policy.name!r} is not the one that covers {index!r}")

    def _ask(self, index: str, body: Mapping[str, Any]) -> Answered:
        target = f"/{quote(index, safe=',*')}/_search"
        content = json.dumps(body).encode()
        headers = [
            *self._tools.cluster.headers,
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(content)),
        ]
        request = ClientRequest("POST", target, headers, content, self._tools.control.client)
        route = match_route("POST", target)
        assert route is not None

        def search() -> Answered:
            with closing(self._searches.answer(request, route)) as answer:
                text = b"".join(answer.response)  # type: ignore[arg-type]  # ours are bytes
                return Answered(answer.status_code, text, answer.headers.get("X-Rerank-Reason", ""))

        return self._tools.cluster.insist(search)

    def _write_row(self, line: Line, query: Query, told: Mapping[str, Any]) -> Done:
        note = told.get("ext", {}).get("rerank", {})
        placed = {(hit["_index"], hit["_id"]): hit for hit in note.get("hits", ())}
        hits = [
            self._tell_hit(rank, hit, placed.get((hit["_index"], hit["_id"]), {}))
            for rank, hit in enumerate(told["hits"]["hits"], start=1)
        ]
        row = {
            "line": line.number,
            "id": query.id,
            "query": note.get("query_text") or query.text,
            **({"timed_out": True} if told.get("timed_out") else {}),
            "hits": hits,
        }
        pairs = sum(hit["score"] is not None for hit in hits)
        return Done(row, line.place, pairs, self._write_documents(row))

    def _tell_hit(self, rank: int, hit: Mapping[str, Any], placed: Mapping[str, Any]) -> dict[str, Any]:
        logit = placed.get("rerank_score")
        is_logit = self._spec.scores == "logit"
        return {
            "_index": hit["_index"],
            "_id": hit["_id"],
            "rank": rank,
            "score": None if logit is None else tell_score(logit, is_logit=is_logit),
            "previous_rank": placed.get("previous_rank", rank),
            "previous_score": placed.get("previous_score", hit["_score"]),
        }

    def _write_documents(self, row: Mapping[str, Any]) -> list[Write]:
        destination = self._spec.destination
        if destination is None:
            return []
        said = {"job": self._tools.job.id, "query_id": row["id"], "query": row["query"]}
        model, now = self._tools.resolved.model, tell_now()
        return [
            Write(
                {
                    "index": {
                        "_index": destination.index,
                        "_id": make_id(row["id"], row["query"], hit["_index"], hit["_id"]),
                    }
                },
                {
                    **said,
                    "index": hit["_index"],
                    "doc_id": hit["_id"],
                    **{name: value for name, value in hit.items() if not name.startswith("_")},
                    "model": model,
                    "scored_at": now,
                },
            )
            for hit in row["hits"]
        ]


def read_query(line: Line, policy: Policy, spec: QueriesSpec) -> Query:
    """What a line asks: JSON with ``query`` or ``body``, or plain text, an id and a tab before it if any.

    Raises:
        ValueError: what is wrong with it.
    """
    if line.text is None or line.text.lstrip().startswith(b"{"):
        return _read_object(line, policy, spec)
    try:
        text = line.text.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start}") from None
    id_, tab, typed = text.partition("\t")
    name = id_ if tab else str(line.number)
    return _make_query(name, (typed if tab else text).strip(), policy, spec, {})


def _read_object(line: Line, policy: Policy, spec: QueriesSpec) -> Query:
    try:
        told = line.read()
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    id_, index = told.get("id", line.number), told.get("index")
    if not isinstance(id_, str | int) or not isinstance(index, str | None):
        raise ValueError("id: expected a string or an integer; index: a string")
    if isinstance(told.get("query"), str):
        return _make_query(str(id_), told["query"], policy, spec, told)
    if isinstance(told.get("body"), dict):
        body = told["body"]
    elif isinstance(told.get("query"), dict):
        body = {name: value for name, value in told.items() if name not in ("id", "index")}
    else:
        raise ValueError("expected query, a text or a clause, or body, a search")
    return Query(str(id_), None, index, _complete(body, spec))


def _make_query(id_: str, text: str, policy: Policy, spec: QueriesSpec, told: Mapping[str, Any]) -> Query:
    if not text:
        raise ValueError("query: empty")
    fields = spec.fields or policy.fields
    clause = {"multi_match": {"query": text, "fields": list(fields)}} if fields else _ask_all_fields(text)
    body = _complete({"query": clause}, spec)
    body["ext"]["rerank"]["query_context"] = {"query_text": text}
    return Query(id_, text, told.get("index"), body)


def _ask_all_fields(text: str) -> Mapping[str, Any]:
    return {"multi_match": {"query": text, "fields": ["*"], "lenient": True}}


def _complete(body: Mapping[str, Any], spec: QueriesSpec) -> dict[str, Any]:
    """The search with what the job wants of each: so many hits, nothing of them but names and scores."""
    ext = body.get("ext") if isinstance(body.get("ext"), dict) else {}
    asked = (ext or {}).get("rerank")
    ours = {
        **(asked if isinstance(asked, dict) else {}),
        "mode": "on",
        "profile": True,
        "allow_rerank_failures": False,
        "rank_window_size": spec.top_k,
        **({"model": spec.model} if spec.model else {}),
    }
    return {
        **body,
        "from": 0,
        "size": spec.top_k,
        "_source": False,
        "ext": {**(ext or {}), "rerank": ours},
    }
