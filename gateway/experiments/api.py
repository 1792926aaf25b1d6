"""Knows how events come in over HTTP, for everybody, and how reports go out, for those who manage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, request
from redis import RedisError

from gateway.coding import TooLargeError, UnreadableCodingError, decode
from gateway.errors import GatewayError, error_body
from gateway.experiments.events import BadEvents, read_events
from gateway.experiments.ledger import Ledger
from gateway.experiments.limits import RateLimit
from gateway.experiments.log import UbiLog
from gateway.experiments.report import make_report
from gateway.metrics import count_events
from gateway.policies import PolicyFile
from gateway.wire import Answer, buffer_body, json_answer, read_request
from search_plugin import Experiment

BODY_BYTES = 256 * 1024

_KEPT = frozenset({"credited", "noted"})


class NoExperiment(GatewayError):
    """There is none of this name, or none at all (the caller's mistake: answered 404)."""


class TooManyEvents(GatewayError):
    """An address sends too much (its mistake: answered 429, or 413)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ForeignPage(GatewayError):
    """A page of a site that is not named in ``--events-origins`` sends events (answered 403)."""


@dataclass(frozen=True)
class ExperimentsApi:
    """What can be asked about experiments, and told to them.

    Attributes:
        origins: whose pages may send events; ``*`` for all.
    """

    ledger: Ledger
    log: UbiLog | None
    policies: PolicyFile
    limit: RateLimit
    origins: frozenset[str]

    def receive(self, body: bytes) -> dict[str, Any]:
        """Take what users did.

        Raises:
            BadEvents, NoExperiment, RedisError: nothing was credited, or not all.
        """
        experiments = self.policies.current().experiments
        events = read_events(body)
        outcomes = self.ledger.credit(events, experiments)
        count_events(outcomes)
        if self.log:
            told = zip(events, outcomes, strict=True)
            self.log.note_events([event.told for event, outcome in told if outcome in _KEPT])
        return {"received": len(events), **Counter(outcomes)}

    def find(self, name: str) -> Experiment:
        """The experiment of this name.

        Raises:
            NoExperiment: none is declared.
        """
        experiments = self.policies.current().experiments
        found = next((one for one in experiments if one.name == name), None)
        if found is None:
            declared = ", ".join(one.name for one in experiments) or "none"
            raise NoExperiment(f"there is no experiment {name!r}; declared: {declared}")
        return found

    def report(self, experiment: Experiment) -> dict[str, Any]:
        """What it has shown so far."""
        return make_report(experiment, self.ledger.read(experiment))

    def allows(self, origin: str, host: str) -> bool:
        """May a page of this origin send events to us, who are reached as ``host``?"""
        return "*" in self.origins or origin in self.origins or urlsplit(origin).netloc == host


def make_events(api: ExperimentsApi) -> Blueprint:
    """The route for everybody: users' browsers and applications, which have no key."""
    events = Blueprint("events", __name__)

    @events.before_request
    def check() -> Answer | None:
        if not api.policies.current().experiments:
            raise NoExperiment("no experiments are declared in rerank.toml")
        origin = request.headers.get("Origin")
        if origin is not None and not api.allows(origin, request.headers.get("Host", "")):
            raise ForeignPage(f"pages of {origin} may send no events; see --events-origins")
        if not api.limit.admits(request.remote_addr or "", time.monotonic()):
            raise TooManyEvents(429, "too many requests from this address; see --events-per-s")
        return None

    @events.route("/events", methods=["OPTIONS"])
    def answer_preflight() -> Answer:
        return json_answer(200, {})

    @events.post("/events")
    def receive() -> Answer:
        asked = buffer_body(read_request(request.environ), BODY_BYTES)
        if not isinstance(asked.body, bytes):
            raise TooManyEvents(413, f"the body is longer than {BODY_BYTES} bytes")
        try:
            body = decode(asked.body, asked.header(b"content-encoding"), BODY_BYTES)
        except TooLargeError as error:
            raise TooManyEvents(413, f"the body is longer than {BODY_BYTES} bytes") from error
        except UnreadableCodingError as error:
            raise BadEvents(f"the body can't be read: {error}") from error
        return json_answer(200, api.receive(body))

    @events.after_request
    def allow(answer: Answer) -> Answer:
        """Browsers ask whether the page may read the answer, and before that, whether it may send JSON."""
        origin = request.headers.get("Origin")
        if origin is not None and api.allows(origin, request.headers.get("Host", "")):
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Access-Control-Allow-Headers"] = "Content-Type"
            answer.headers["Access-Control-Max-Age"] = "86400"
            answer.headers["Vary"] = "Origin"
        return answer

    return _refuse_by_table(events)


def make_reports(api: ExperimentsApi) -> Blueprint:
    """The routes for those who manage; whoever registers it has the gate before it."""
    reports = Blueprint("experiments", __name__)

    @reports.get("/experiments")
    def tell_all() -> Answer:
        experiments = api.policies.current().experiments
        return json_answer(200, {"experiments": [api.report(one) for one in experiments]})

    @reports.get("/experiments/<name>")
    def tell(name: str) -> Answer:
        return json_answer(200, api.report(api.find(name)))

    @reports.delete("/experiments/<name>")
    def forget(name: str) -> Answer:
        api.ledger.forget(api.find(name))
        return json_answer(200, {"name": name, "reset": True})

    return _refuse_by_table(reports)


def _refuse_by_table(blueprint: Blueprint) -> Blueprint:
    def refuse(error: Exception) -> Answer:
        status, kind = next(row for type_, row in _ERRORS.items() if isinstance(error, type_))
        status = error.status if isinstance(error, TooManyEvents) else status
        answer = json_answer(status, error_body(status, kind, str(error)))
        if status == 413:
            answer.headers["Connection"] = "close"  # its rest is not read
        return answer

    for kind in _ERRORS:
        blueprint.register_error_handler(kind, refuse)
    return blueprint


_ERRORS: Mapping[type[Exception], tuple[int, str]] = {
    BadEvents: (400, "illegal_argument_exception"),
    ForeignPage: (403, "security_exception"),
    NoExperiment: (404, "resource_not_found_exception"),
    TooManyEvents: (429, "too_many_requests_exception"),
    RedisError: (503, "redis_unavailable_exception"),
}
