"""Knows a scan: one query against all documents of an index, read page by page from one point in time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gateway.cluster import EngineName
from gateway.jobs.asking import tell_error
from gateway.jobs.destination import make_id
from gateway.jobs.items import Batch, BeginAnew, Done, Failure, JobFailed, Outcome, Row, Write
from gateway.jobs.lines import count_items
from gateway.jobs.scoring import Asked, Failed
from gateway.jobs.spec import ScanSpec
from gateway.jobs.tools import JobTools, tell_now
from gateway.scoring import tell_score
from search_plugin import FirstStage, Hit, combine_scores, make_scan_plan, read_texts

_KEEP_ALIVE = "1h"  # from each page to the next; and as long as a job may be paused
_LOST = "search_context_missing_exception"

# engine: how a point in time is opened, and under which name its id comes
_OPEN: Mapping[EngineName, tuple[str, str]] = {
    "elasticsearch": ("_pit", "id"),
    "opensearch": ("_search/point_in_time", "pit_id"),
}


class ScanWork:
    """See `gateway.jobs.items.Work`."""

    def __init__(self, spec: ScanSpec, tools: JobTools) -> None:
        assert tools.resolved.policy is not None
        self._spec = spec
        self._tools = tools
        self._policy = tools.resolved.policy
        self._plan = make_scan_plan(self._policy, spec.query_text)
        self._page_size = spec.limit_batch(spec.page_size)
        self._pit = (tools.job.cursor or {}).get("pit", "")
        self.total = count_items(tools.spool, tools.job)

    def batches(self, cursor: Mapping[str, Any] | None) -> Iterator[Batch[Hit]]:
        """See `Work`."""
        return self._read_failed(cursor) if self._tools.job.round else self._read_pages(cursor)

    def do(self, batch: Batch[Hit]) -> list[Outcome]:
        """See `Work`."""
        passages = read_texts(self._plan, batch.items)
        per_hit = list(passages.split(passages.texts))
        blank = [not any(text and not text.isspace() for text in texts) for texts in per_hit]
        asked = Asked(self._spec.query_text, passages.texts)
        (logits,) = self._tools.scorer.score_many(self._tools.resolved.model, [asked])
        if isinstance(logits, Failed):
            return [Failure(_tell_place(hit), f"scoring failed: {logits.reason}") for hit in batch.items]
        scores = combine_scores(self._plan, passages, logits)
        return [
            Failure(_tell_place(hit), "no_source: no text in the policy's fields")
            if is_blank
            else self._write_row(hit, score, len(texts))
            for hit, is_blank, score, texts in zip(batch.items, blank, scores, per_hit, strict=True)
        ]

    def close(self) -> None:
        """See `Work`."""
        if not self._pit:
            return
        engine = self._tools.cluster.find_engine()
        path, name = _OPEN[engine]
        body = {name: self._pit if engine == "elasticsearch" else [self._pit]}
        self._tools.cluster.ask("DELETE", f"/{path}", body)

    def _read_pages(self, cursor: Mapping[str, Any] | None) -> Iterator[Batch[Hit]]:
        after = (cursor or {}).get("after")
        self._pit = (cursor or {}).get("pit") or self._open()
        while True:
            told, text = self._search(after)
            if self.total is None:
                self.total = told["hits"]["total"]["value"]
            found = told["hits"]["hits"]
            if not found:
                return
            self._pit = told.get("pit_id", self._pit)
            after = found[-1]["sort"]
            yield Batch(FirstStage.parse(text).hits, {"pit": self._pit, "after": after})

    def _open(self) -> str:
        path, name = _OPEN[self._tools.cluster.find_engine()]
        index = quote(self._spec.find_index(self._policy), safe=",*")
        status, told, _ = self._tools.cluster.ask("POST", f"/{index}/{path}?keep_alive={_KEEP_ALIVE}")
        if status >= 400:
            raise JobFailed(f"index: {tell_error(status, told)}")
        return str(told[name])

    def _search(self, after: Sequence[Any] | None) -> tuple[Any, str]:
        body = {
            "pit": {"id": self._pit, "keep_alive": _KEEP_ALIVE},
            "query": self._spec.query,
            "sort": [{"_shard_doc": "asc"}],
            "size": self._page_size,
            "track_total_hits": self.total is None,
            **self._what_is_read,
            **({"search_after": after} if after else {}),
        }
        status, told, text = self._tools.cluster.ask("POST", "/_search", body, is_read=True)
        if status == 404 and _LOST in str(told):
            raise BeginAnew("the cluster has lost the point in time")
        if status >= 400:
            raise JobFailed(f"query: {tell_error(status, told)}")
        return told, text

    @property
    def _what_is_read(self) -> Mapping[str, Any]:
        fields = list(self._policy.fields)
        from_fields = {"fields": fields} if fields and "fields" in self._policy.passage_sources else {}
        return {"_source": fields or True, **from_fields}

    def _read_failed(self, cursor: Mapping[str, Any] | None) -> Iterator[Batch[Hit]]:
        """The documents that failed, as they are now."""
        with self._tools.spool.retried(self._tools.job.round).open("rb") as file:
            file.seek((cursor or {"offset": 0})["offset"])
            while rows := [json.loads(row) for row in _take(file, self._page_size)]:
                names = [{name: row[name] for name in _PLACE if name in row} for row in rows]
                docs = [{**name, "_source": list(self._policy.fields) or True} for name in names]
                status, told, _ = self._tools.cluster.ask("POST", "/_mget", {"docs": docs}, is_read=True)
                if status >= 400:
                    raise JobFailed(f"index: {tell_error(status, told)}")
                answer = json.dumps({"hits": {"hits": told["docs"]}})
                yield Batch(FirstStage.parse(answer).hits, {"offset": file.tell()})

    def _write_row(self, hit: Hit, logit: float, pairs: int) -> Done:
        score = tell_score(logit, is_logit=self._spec.scores == "logit")
        place = _tell_place(hit)
        return Done({**place, "score": score}, place, pairs, self._write_documents(place, score))

    def _write_documents(self, place: Row, score: float) -> list[Write]:
        destination = self._spec.destination
        if destination is None:
            return []
        if destination.field:
            fields: Any = score
            for name in reversed(destination.field.split(".")):
                fields = {name: fields}
            routing = {"routing": place["_routing"]} if "_routing" in place else {}
            named = {"_index": place["_index"], "_id": place["_id"], **routing}
            return [Write({"update": named}, {"doc": fields})]
        text = self._spec.query_text
        id_ = make_id(text, place["_index"], place["_id"])
        return [
            Write(
                {"index": {"_index": destination.index, "_id": id_}},
                {
                    "job": self._tools.job.id,
                    "query": text,
                    "index": place["_index"],
                    "doc_id": place["_id"],
                    "score": score,
                    "model": self._tools.resolved.model,
                    "scored_at": tell_now(),
                },
            )
        ]


_PLACE = ("_index", "_id", "_routing")


def _tell_place(hit: Hit) -> Row:
    return {name: hit.value(name) for name in _PLACE if hit.value(name) is not None}


def _take(file: Any, most: int) -> Iterator[bytes]:
    for _ in range(most):
        row = file.readline()
        if not row:
            return
        yield row
