"""Knows how results reach the cluster: by bulk, under ids made of what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from gateway.jobs.asking import BUSY, JobCluster, tell_error
from gateway.jobs.items import Done, Failure, JobFailed, Outcome, Write

_BULK_BYTES = 5 * 1024 * 1024
_BLOCKED = "cluster_block_exception"  # a full disk: somebody has to make room first
_EXISTS = "resource_already_exists_exception"

_KEYWORD = {"type": "keyword", "ignore_above": 512}
_LONG, _DOUBLE = {"type": "long"}, {"type": "double"}
MAPPING: Mapping[str, Any] = {
    "properties": {
        **dict.fromkeys(("job", "query_id", "index", "doc_id", "model"), _KEYWORD),
        "query": {"type": "text", "fields": {"keyword": _KEYWORD}},
        **dict.fromkeys(("rank", "previous_rank", "line", "passage"), _LONG),
        **dict.fromkeys(("score", "previous_score"), _DOUBLE),
        "scored_at": {"type": "date"},
    }
}


def make_id(*said: object) -> str:
    """The same id for the same words, 32 digits."""
    words = json.dumps(said, ensure_ascii=True).encode()
    return blake2b(words, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Bulk:
    """Writes what batches ask for."""

    cluster: JobCluster

    def prepare(self, index: str) -> None:
        """Make the destination, if it is not there.

        Raises:
            Stopped: the job goes no further.
            JobFailed: it can't be made.
        """
        target = f"/{quote(index, safe='')}"
        status, told, _ = self.cluster.ask("HEAD", target, is_read=True)
        if status == 404:
            status, told, _ = self.cluster.ask("PUT", target, {"mappings": MAPPING})
        if status >= 400 and _EXISTS not in str(told):
            raise JobFailed(f"destination.index: {tell_error(status, told)}")

    def write(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The same, but those that the cluster refused have failed.

        Raises:
            Stopped: the job goes no further.
        """
        writes = [
            (place, write)
            for place, outcome in enumerate(outcomes)
            if isinstance(outcome, Done)
            for write in outcome.writes
        ]
        refused: dict[int, str] = {}
        for chunk in _cut(writes):
            refused |= self._write_chunk(chunk)
        return [
            Failure(outcome.place, refused[place])
            if isinstance(outcome, Done) and place in refused
            else outcome
            for place, outcome in enumerate(outcomes)
        ]

    def _write_chunk(self, left: list[tuple[int, Write]]) -> dict[int, str]:
        refused: dict[int, str] = {}
        with self.cluster.control.patience() as patience:
            while left:
                body = b"".join(_to_lines(write) for _, write in left)
                status, told, _ = self.cluster.ask("POST", "/_bulk", body)
                if status >= 400:
                    reason = tell_error(status, told)
                    if _BLOCKED not in reason:
                        return refused | {place: reason for place, _ in left}
                    patience.wait(f"destination: {reason}")
                    continue
                again, trouble = [], ""
                for (place, write), item in zip(left, told["items"], strict=True):
                    answer = next(iter(item.values()))
                    if answer["status"] < 400:
                        continue
                    reason = tell_error(answer["status"], {"error": answer.get("error")})
                    if answer["status"] in BUSY or _BLOCKED in reason:
                        again.append((place, write))
                        trouble = reason
                    else:
                        refused[place] = reason
                left = again
                if left:
                    patience.wait(f"destination: {trouble}")
        return refused


def _cut(writes: Sequence[tuple[int, Write]]) -> Iterator[list[tuple[int, Write]]]:
    chunk: list[tuple[int, Write]] = []
    size = 0
    for place, write in writes:
        chunk.append((place, write))
        size += len(_to_lines(write))
        if size >= _BULK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _to_lines(write: Write) -> bytes:
    return b"%s\n%s\n" % (json.dumps(write.action).encode(), json.dumps(write.source).encode())
