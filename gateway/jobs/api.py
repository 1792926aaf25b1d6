"""Knows how jobs are asked for and followed over HTTP, under ``/_rerank/jobs``."""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from redis import RedisError

from gateway.coding import UnreadableCodingError, decode
from gateway.errors import GatewayError, error_body
from gateway.jobs.home import Home
from gateway.jobs.safe import NoSecret, Safe
from gateway.jobs.spec import BadJob, Kind, read_spec
from gateway.jobs.spool import Locked, Spool
from gateway.jobs.store import ENDED, Job, JobStore, State, Wanted
from gateway.management import Gate
from gateway.policies import PolicyFile
from gateway.wire import Answer, buffer_body, json_answer, read_request

_BODY_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_PAGE, _LONGEST_PAGE = 100, 10_000
_PAGE_BYTES = 16 * 1024 * 1024

_NO_RUNNER = "nobody runs jobs here now: the gateway does, or `python -m gateway run-jobs`"

# action: what it makes people want, and in which states it can be asked for
ACTIONS: Mapping[str, tuple[Wanted, frozenset[State]]] = {
    "pause": ("pause", frozenset({"queued", "running", "paused"})),
    "resume": ("run", frozenset({"queued", "running", "paused"})),
    "cancel": ("cancel", frozenset({"awaiting_input", "queued", "running", "paused", "cancelled"})),
    "retry": ("retry", frozenset({"done", "failed"})),
}


class NoSuchJob(GatewayError):
    """There is no job of this id, here (the caller's mistake: answered 404)."""


class WrongState(GatewayError):
    """The job is not in a state for that (the caller's mistake: answered 409)."""


@dataclass(frozen=True)
class JobsApi:
    """What can be asked about jobs."""

    store: JobStore
    home: Home
    safe: Safe
    policies: PolicyFile

    def create(self, asked: Mapping[str, Any], credentials: str) -> Job:
        """Note a job; its items come with it (``queries``, ``pairs``) or afterwards, as its input.

        Raises:
            BadJob, NoSecret: it can't be done.
        """
        members = dict(asked)
        kind: Kind | None = members.get("kind")
        items = members.pop(kind, None) if kind in ("queries", "pairs") else None
        spec = read_spec(members)
        spec.resolve(self.policies.current())
        secret = self.safe.put(credentials) if credentials else ""
        if items is not None and not (isinstance(items, list) and items):
            raise BadJob(f"{kind}: expected a list with something in it")
        job = Job(
            id=uuid.uuid4().hex,
            spec=spec.model_dump(mode="json", exclude_defaults=True) | {"kind": spec.kind},
            state="queued" if items or spec.kind == "scan" else "awaiting_input",
            created=time.time(),
            home=self.home.id,
        )
        spool = self.home.spool(job.id)
        if items:
            job = replace(job, total=spool.receive(_to_lines(items)))
        self.store.create(job, secret)
        return job

    def take_input(self, job_id: str, pieces: Iterator[bytes]) -> Job:
        """What its items are, a line each; then it can begin.

        Raises:
            NoSuchJob, WrongState, BadJob: not for this job.
        """
        spool = self.find(job_id)[1]
        try:
            with spool.locked():
                job = self.find(job_id)[0]
                if job.state != "awaiting_input":
                    raise WrongState(f"job {job_id} has its input already")
                total = spool.receive(pieces)
                if not total:
                    raise BadJob("input: there is no line in it")
                job = replace(job, state="queued", total=total)
                self.store.write(job)
                return job
        except Locked:
            raise WrongState(f"job {job_id} is being given its input") from None

    def act(self, job_id: str, action: str, credentials: str) -> tuple[Job, Wanted]:
        """Tell the runner.

        Raises:
            NoSuchJob, WrongState, NoSecret: it can't be told that.
        """
        job, _, _ = self.find(job_id)
        wanted, states = ACTIONS[action]
        if job.state not in states:
            raise WrongState(f"{action}: job {job_id} is {job.state}")
        if action == "retry" and job.state == "done" and not job.failed:
            raise WrongState(f"retry: nothing of job {job_id} has failed")
        self.store.want(job_id, wanted, self.safe.put(credentials) if credentials else "")
        return job, wanted

    def delete(self, job_id: str) -> None:
        """Forget it with its files.

        Raises:
            NoSuchJob, WrongState: it has not ended.
        """
        job, spool, _ = self.find(job_id)
        if job.state not in ENDED:
            raise WrongState(f"delete: job {job_id} is {job.state}; cancel it first")
        try:
            with spool.locked():
                self.store.forget(job_id)
                spool.delete()
        except Locked:
            raise WrongState(f"delete: job {job_id} is just ending") from None

    def find(self, job_id: str) -> tuple[Job, Spool, Wanted]:
        """The job, where its files are, and what people want of it.

        Raises:
            NoSuchJob: there is none.
        """
        found = self.store.find(job_id)
        if found is None:
            raise NoSuchJob(f"there is no job {job_id!r}")
        job, wanted = found
        if job.home != self.home.id:
            raise NoSuchJob(f"the files of job {job_id!r} are in another gateway's --jobs-folder")
        return self._mind_runner([found])[0][0], self.home.spool(job_id), wanted

    def find_all(self, offset: int, size: int) -> list[tuple[Job, Wanted]]:
        """The newest first, those of other folders too."""
        return self._mind_runner(self.store.find_all(offset, size))

    def _mind_runner(self, found: list[tuple[Job, Wanted]]) -> list[tuple[Job, Wanted]]:
        """The same; where nobody runs jobs, those that wait for it say so."""
        waiting = [job for job, _ in found if job.home == self.home.id and job.state in ("queued", "running")]
        if not waiting or self.store.has_runner(self.home.id):
            return found
        return [
            (replace(job, trouble=_NO_RUNNER) if job in waiting else job, wanted) for job, wanted in found
        ]


def make_blueprint(api: JobsApi, gate: Gate) -> Blueprint:
    """The routes of jobs, to stand under any prefix; whoever registers it has the gate before it."""
    jobs = Blueprint("jobs", __name__)

    @jobs.post("/jobs")
    def create() -> Answer:
        job = api.create(_read_object(), gate.find_credentials(request.headers))
        return json_answer(201, job.tell())

    @jobs.get("/jobs")
    def find_all() -> Answer:
        offset, size = _read_number("from", 0, 1_000_000), _read_number("size", _PAGE, _LONGEST_PAGE)
        found = api.find_all(offset, size)
        return json_answer(200, {"jobs": [job.tell(wanted) for job, wanted in found]})

    @jobs.put("/jobs/<job_id>/input")
    def take_input(job_id: str) -> Answer:
        asked = read_request(request.environ)
        pieces = [asked.body] if isinstance(asked.body, bytes) else asked.body
        coding = (asked.header(b"content-encoding") or b"identity").decode("latin-1").strip().lower()
        return json_answer(200, api.take_input(job_id, _decode(pieces, coding)).tell())

    @jobs.get("/jobs/<job_id>")
    def find(job_id: str) -> Answer:
        job, _, wanted = api.find(job_id)
        return json_answer(200, job.tell(wanted))

    @jobs.post("/jobs/<job_id>/<any(pause, resume, cancel, retry):action>")
    def act(job_id: str, action: str) -> Answer:
        job, wanted = api.act(job_id, action, gate.find_credentials(request.headers))
        return json_answer(202, job.tell(wanted))

    @jobs.delete("/jobs/<job_id>")
    def delete(job_id: str) -> Answer:
        api.delete(job_id)
        return json_answer(200, {"id": job_id, "deleted": True})

    @jobs.get("/jobs/<job_id>/<any(results, failures):name>")
    def read_rows(job_id: str, name: str) -> Answer | Response:
        job, spool, _ = api.find(job_id)
        form = request.args.get("format", "page")
        if form == "page":
            start, size = _read_number("cursor", 0, 2**63), _read_number("size", _PAGE, _LONGEST_PAGE)
            return json_answer(200, read_page(job, spool, name, start, size))
        has_ranks = name == "results" and job.spec["kind"] == "queries"
        if form not in _DOWNLOADS or (form == "trec" and not has_ranks):
            raise BadJob("format: expected page or ndjson; trec for the results of queries")
        suffix, kind, write = _DOWNLOADS[form]
        answer = Response((write(row, job) for row in _read_rows(job, spool, name)), content_type=kind)
        answer.headers["Content-Disposition"] = f'attachment; filename="{name}-{job_id[:8]}.{suffix}"'
        return answer

    def refuse(error: Exception) -> Answer:
        status, type_ = _find_error(error)
        return json_answer(status, error_body(status, type_, str(error)))

    for kind in _ERRORS:
        jobs.register_error_handler(kind, refuse)
    return jobs


def tell_status(error: Exception) -> int:
    """The status of what is wrong with a request about jobs."""
    return _find_error(error)[0]


def _find_error(error: Exception) -> tuple[int, str]:
    return next(row for kind, row in _ERRORS.items() if isinstance(error, kind))


_ERRORS: Mapping[type[Exception], tuple[int, str]] = {
    BadJob: (400, "illegal_argument_exception"),
    NoSecret: (400, "illegal_argument_exception"),
    NoSuchJob: (404, "resource_not_found_exception"),
    WrongState: (409, "status_exception"),
    RedisError: (503, "redis_unavailable_exception"),
    OSError: (507, "io_exception"),
}


def _write_ndjson(row: bytes, _job: Job) -> bytes:
    return row


def _write_trec(row: bytes, job: Job) -> bytes:
    """A run's lines, best first: the rank says the order, and the score falls with it as readers expect."""
    told = json.loads(row)
    tag = "".join(job.spec.get("name", "").split()) or job.spec["kind"]
    query_id = "".join(str(told["id"]).split()) or "_"
    scores = [hit["score"] if hit["score"] is not None else hit["previous_score"] for hit in told["hits"]]
    is_falling = all(before > after for before, after in pairwise(scores))
    lines = (
        f"{query_id} Q0 {hit['_id']} {hit['rank']} {score if is_falling else 1 / hit['rank']} {tag}\n"
        for hit, score in zip(told["hits"], scores, strict=True)
    )
    return "".join(lines).encode()


_DOWNLOADS: Mapping[str, tuple[str, str, Callable[[bytes, Job], bytes]]] = {
    "ndjson": ("ndjson", "application/x-ndjson", _write_ndjson),
    "trec": ("run", "text/plain; charset=utf-8", _write_trec),
}


def _files(job: Job, spool: Spool) -> Mapping[str, tuple[Path, int]]:
    return {
        "results": (spool.results, job.results_bytes),
        "failures": (spool.failures, job.failures_bytes),
    }


def _read_rows(job: Job, spool: Spool, name: str, start: int = 0) -> Iterator[bytes]:
    """The rows that count, from a byte on."""
    path, length = _files(job, spool)[name]
    if start >= length:
        return
    with path.open("rb") as file:
        file.seek(start)
        while start < length and (row := file.readline()):
            start += len(row)
            yield row


def read_page(job: Job, spool: Spool, name: str, start: int, size: int) -> dict[str, Any]:
    """Some rows, and where the next ones begin.

    Args:
        name: results or failures.
        start: a byte at which a row begins.

    Raises:
        BadJob: none does.
    """
    _, length = _files(job, spool)[name]
    rows: list[Any] = []
    read = 0
    for row in islice(_read_rows(job, spool, name, start), size):
        try:
            rows.append(json.loads(row))
        except ValueError:
            raise BadJob("cursor: expected what the page before said") from None
        read += len(row)
        if read > _PAGE_BYTES:
            break
    end = start + read
    return {name: rows, "cursor": end if end < length or job.state not in ENDED else None}


def _read_object() -> dict[str, Any]:
    asked = buffer_body(read_request(request.environ), _BODY_BYTES)
    if not isinstance(asked.body, bytes):
        raise BadJob(f"longer than {_BODY_BYTES} bytes; send many items as the job's input")
    try:
        body = json.loads(decode(asked.body, asked.header(b"content-encoding"), _BODY_BYTES))
    except (UnreadableCodingError, ValueError, RecursionError) as error:
        raise BadJob(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadJob("the body is not a JSON object")
    return body


def _read_number(name: str, otherwise: int, most: int) -> int:
    text = request.args.get(name, str(otherwise))
    if not (text.isascii() and text.isdecimal() and int(text) <= most):
        raise BadJob(f"{name}: expected a whole number up to {most}")
    return int(text)


def _decode(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """An input of any length, without its content coding."""
    if coding == "identity":
        yield from pieces
        return
    if coding != "gzip":
        raise BadJob(f"Content-Encoding: expected gzip or none, not {coding}")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        for piece in pieces:
            while piece:
                yield inflater.decompress(piece, _PIECE_BYTES)
                piece = inflater.unconsumed_tail
    except zlib.error as error:
        raise BadJob(f"input: not gzip: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise BadJob("input: not one whole gzip stream")


def _to_lines(items: Iterable[object]) -> Iterator[bytes]:
    """What came in a list as it would have come in a file."""
    for item in items:
        is_text = isinstance(item, str)
        yield json.dumps({"query": item} if is_text else item).encode() + b"\n"
