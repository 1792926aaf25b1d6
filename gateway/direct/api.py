"""Knows the paths of the rerank APIs, and how a request on one of them gets its scores."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flask import Blueprint, Flask, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from gateway.coding import TooLargeError, UnreadableCodingError, decode
from gateway.direct import answers
from gateway.direct.answers import WRITERS, Problem, Scored, write_problem
from gateway.direct.asks import BODIES, Ask, Kind
from gateway.direct.openapi import make_openapi
from gateway.errors import GatewayError
from gateway.hangup import Client
from gateway.keys import Keys
from gateway.metrics import count_direct
from gateway.policies import PolicyFile
from gateway.request_id import HelperPool
from gateway.scoring import Scorer, ScoreRequest, Scores, ScoringFailed
from gateway.settings import GatewaySettings
from gateway.strict_json import read_json
from gateway.tracing import answer_traced
from gateway.wire import Answer, ClientRequest, buffer_body, json_answer, read_request
from search_plugin import Reason
from worker.contract.logs import Event
from worker.contract.traces import current_span

logger = logging.getLogger(__name__)

POLICY = "(direct)"
"""Under which name these requests take their share of the workers."""

PATHS: Mapping[str, Kind] = {
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
    "/rerank": "rerank",  # TEI's where the body has `texts`
    "/tei/rerank": "tei",
    "/infinity/rerank": "infinity",
    "/score": "score",
    "/v1/score": "score",
}

_AT_ONCE = 16  # queries of one request that wait for scores at the same time
_RETRY_AFTER_S = 1

FAILURES: Mapping[Reason, tuple[Problem, str]] = {
    Reason.NO_WORKER: (answers.UNSERVED, "no worker serves the model now"),
    Reason.CIRCUIT_OPEN: (
        answers.UNSERVED,
        "scoring has failed several times; it is tried again in a moment",
    ),
    Reason.OVERLOAD: (answers.OVERLOADED, "more waits to be scored than can be done in time"),
    Reason.TIMEOUT: (answers.LATE, "the scores were not there in time"),
    Reason.BACKEND_ERROR: (answers.FAILED, "scoring failed"),
}


class Refused(GatewayError):
    """A request gets no scores (``problem`` says whose fault it is)."""

    def __init__(self, problem: Problem, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.param = param


@dataclass(frozen=True)
class DirectScoring:
    """The rerank APIs, whatever path they stand under."""

    scorer: Scorer
    file: PolicyFile
    settings: GatewaySettings
    keys: Keys

    def answer(self, path: str, asked: ClientRequest) -> Answer:
        """Score what a body asks for, in its dialect."""
        kind = PATHS[path]
        status, headers, reason = 200, {}, None
        model, model_ms, n_cached, n_scored = "", 0.0, 0, 0
        started = time.monotonic()
        try:
            self._check_key(asked)
            body = self._read(asked)
            if path == "/rerank" and "texts" in body:
                kind = "tei"
            model, ask, parsed = self._understand(kind, body)
            scores = self._score(model, ask, asked.client)
            scored = Scored(model, ask, scores.logits, scores.n_tokens)
            written = WRITERS[kind](parsed, scored, frozenset(body))
            model_ms = scores.model_ms
            n_cached, n_scored = scores.n_cached, len(scores.logits) - scores.n_cached
        except Refused as refused:
            status, written = write_problem(kind, refused.problem, str(refused), refused.param)
            if refused.problem is answers.TOO_LARGE:
                headers["Connection"] = "close"  # its rest is not read
        except ScoringFailed as failure:
            problem, message = FAILURES[failure.reason]
            status, written = write_problem(kind, problem, message, None)
            headers["Retry-After"] = str(_RETRY_AFTER_S)
            reason = failure.reason
        took_s = time.monotonic() - started
        count_direct(path, status, took_s, n_cached=n_cached, n_scored=n_scored)
        pairs = {"pairs": n_cached + n_scored, "cached": n_cached}
        current_span().set(model=model or None, reason=reason, **pairs)
        if 0 < self.settings.slow_log_ms <= took_s * 1000:
            times = {"took_ms": took_s * 1000, "model_ms": model_ms}
            logger.warning(Event("rerank.slow", path=path, status=status, model=model, **times, **pairs))
        answered = json_answer(status, written)
        answered.headers.extend(headers)
        return answered

    def tell_models(self) -> Answer:
        """OpenAI's list."""
        models = self.file.current().models
        served = self._find_served()
        data = [
            {
                "id": model,
                "object": "model",
                "created": 0,
                "owned_by": "rerank-sidecar",
                "served": model in served,
            }
            for model in models
        ]
        return json_answer(200, {"object": "list", "data": data})

    def tell_info(self) -> Answer:
        """What Text Embeddings Inference tells, as far as it is known here."""
        config = self.file.current()
        told = {
            "model_id": config.default_model,
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_client_batch_size": self.settings.rerank_max_documents,
            "max_concurrent_requests": self.settings.threads * self.settings.workers,
            "models": list(config.models),
        }
        return json_answer(200, told)

    def tell_health(self) -> Answer:
        """200 where a worker serves a model."""
        if self._find_served():
            return json_answer(200, {"status": "ok"})
        return json_answer(503, {"error": "no worker serves a model", "error_type": "Unhealthy"})

    def _find_served(self) -> frozenset[str]:
        with suppress(ScoringFailed):
            return self.scorer.find_served(self.file.current().models)
        return frozenset()

    def _check_key(self, asked: ClientRequest) -> None:
        if not self.keys.let_in(asked.header(b"authorization")):
            raise Refused(answers.NO_KEY, "a valid key is needed: Authorization: Bearer KEY")

    def _read(self, asked: ClientRequest) -> dict[str, Any]:
        limit = self.settings.rerank_body_limit_bytes
        buffered = buffer_body(asked, limit)
        if not isinstance(buffered.body, bytes):
            raise Refused(answers.TOO_LARGE, f"the body is longer than {limit} bytes")
        try:
            text = decode(buffered.body, asked.header(b"content-encoding"), limit)
            body = read_json(text)
        except TooLargeError as error:
            raise Refused(answers.TOO_LARGE, f"the body is longer than {limit} bytes") from error
        except (UnreadableCodingError, ValueError, RecursionError) as error:
            raise Refused(answers.MALFORMED, f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused(answers.MALFORMED, "the body is not a JSON object")
        return body

    def _understand(self, kind: Kind, body: dict[str, Any]) -> tuple[str, Ask, object]:
        try:
            parsed = BODIES[kind].model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            param = ".".join(_locate(first["loc"], body)) or None
            problem = answers.EMPTY if first["type"] == "too_short" else answers.INVALID
            raise Refused(problem, f"{param}: {first['msg']}" if param else first["msg"], param) from None
        ask = parsed.to_ask()
        if len(ask.pairs) > self.settings.rerank_max_documents:
            limit = self.settings.rerank_max_documents
            raise Refused(answers.INVALID, f"{len(ask.pairs)} texts; at most {limit} are scored at once")
        config = self.file.current()
        model = ask.model or config.default_model
        if model not in config.models:
            declared = ", ".join(config.models) or "none"
            raise Refused(
                answers.UNKNOWN_MODEL, f"model: {model!r} is not declared; declared: {declared}", "model"
            )
        return model, ask, parsed

    def _score(self, model: str, ask: Ask, client: Client) -> Scores:
        deadline = time.monotonic() + self.settings.rerank_deadline_ms / 1000
        places = ask.by_query()

        def score(query: str) -> Scores:
            texts = tuple(ask.pairs[place][1] for place in places[query])
            return self.scorer.score(ScoreRequest(model, query, texts, deadline, POLICY, client))

        if len(places) == 1:
            return score(next(iter(places)))
        with HelperPool(min(len(places), _AT_ONCE)) as pool:
            found = list(pool.map(score, places))
        logits = dict(_place(places, found))
        return Scores(
            tuple(logits[place] for place in range(len(ask.pairs))),
            max(scores.model_ms for scores in found),
            sum(scores.n_cached for scores in found),
            sum(scores.n_tokens for scores in found),
        )


def make_blueprint(direct: DirectScoring) -> Blueprint:
    """The paths of all dialects, to stand under any prefix."""
    blueprint = Blueprint("direct", __name__)
    for path in PATHS:
        view: Callable[[], Answer] = partial(_answer, direct, path)
        blueprint.add_url_rule(path, path.strip("/").replace("/", "_"), view, methods=["POST"])
    blueprint.add_url_rule("/v1/models", "models", direct.tell_models)
    blueprint.add_url_rule("/info", "info", direct.tell_info)
    blueprint.add_url_rule("/openapi.json", "openapi", lambda: json_answer(200, make_openapi(PATHS)))
    return blueprint


def make_app(direct: DirectScoring) -> Flask:
    """An application with nothing but these, at the root."""
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(make_blueprint(direct))
    app.add_url_rule("/health", "health", direct.tell_health)

    @app.errorhandler(HTTPException)
    def answer_http_error(error: HTTPException) -> Answer:
        status = error.code or 500
        problem = replace(answers.UNKNOWN_PATH if status < 500 else answers.MISTAKE, status=status)
        answered = json_answer(*write_problem("rerank", problem, error.description or error.name, None))
        if isinstance(error, MethodNotAllowed):
            answered.headers["Allow"] = ", ".join(error.valid_methods or ())
        return answered

    return app


def _answer(direct: DirectScoring, path: str) -> Answer:
    asked = read_request(request.environ)
    return answer_traced(asked, path, lambda: direct.answer(path, asked), route=path)


def _locate(loc: Sequence[int | str], body: Any) -> Iterator[str]:
    """The way to what is wrong or missing, without the names of the types that it was held against."""
    for part in loc:
        match body, part:
            case list(), int():
                body = body[part]
            case dict(), str():
                body = body.get(part)
            case _:
                return
        yield str(part)


def _place(places: Mapping[str, list[int]], found: list[Scores]) -> Iterator[tuple[int, float]]:
    for indices, scores in zip(places.values(), found, strict=True):
        yield from zip(indices, scores.logits, strict=True)
