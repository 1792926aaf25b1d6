"""Knows how the parts make one Flask application; nothing happens at import."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.exceptions import HTTPException

from gateway.cluster import Cluster, open_cluster
from gateway.direct.api import DirectScoring, make_blueprint
from gateway.direct.api import make_app as make_direct_app
from gateway.errors import ClientGone, GatewayError, RefusedRequest, UnreadableBody, error_body, find_status
from gateway.experiments.api import ExperimentsApi, make_events
from gateway.experiments.ledger import Ledger
from gateway.experiments.limits import RateLimit
from gateway.experiments.log import UbiLog
from gateway.experiments.trials import Trials
from gateway.keys import Keys
from gateway.managed import connect, make_managed
from gateway.ops import make_ops
from gateway.policies import PolicyFile
from gateway.proxy import forward
from gateway.published import answer_nodes_info, is_nodes_info
from gateway.request_id import begin_request
from gateway.rescoring import Rescorer
from gateway.score_queue import QueueScorer
from gateway.scoring import Scorer
from gateway.searches import Searches, is_explain
from gateway.settings import GatewaySettings
from gateway.tools import SearchTools
from gateway.wire import Answer, ClientRequest, json_answer, read_request, read_target
from search_plugin import match_route
from worker.contract.logs import Event

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)


def create_app(
    settings: GatewaySettings, *, cluster: Cluster | None = None, scorer: Scorer | None = None
) -> Flask:
    """The gateway as a WSGI application; it opens no connection before the first request.

    Args:
        cluster, scorer: instead of those that the settings describe.

    Raises:
        ConfigurationError: ``rerank.toml`` or a file of certificates is missing or wrong.
    """
    policies = PolicyFile(settings.config)
    cluster = cluster or open_cluster(settings, idle_connections=settings.threads)
    scorer = scorer or QueueScorer(
        settings.redis_url,
        max_waiting=settings.threads,
        compress_above=settings.queue_compress_above,
    )
    rescorer, limit = Rescorer(scorer), settings.search_body_limit_bytes
    ledger = Ledger(connect(settings), settings.events_life_s)
    log = UbiLog(settings.events_folder) if settings.events_folder else None
    trials = Trials(ledger, log)
    tools = SearchTools(cluster, rescorer, policies, limit, settings.slow_log_ms, trials)
    experiments = ExperimentsApi(
        ledger, log, policies, RateLimit(settings.events_per_s), frozenset(settings.origins)
    )
    searches = Searches(tools)
    app = Flask(__name__, static_folder=None)
    direct = DirectScoring(scorer, policies, settings, Keys(settings.keys))
    app.register_blueprint(make_ops(cluster, scorer, policies))
    app.register_blueprint(make_events(experiments), url_prefix="/_rerank")
    for managed in make_managed(settings, policies, scorer, tools, experiments):
        app.register_blueprint(managed, url_prefix="/_rerank")
    app.register_blueprint(make_blueprint(direct), url_prefix="/_rerank")
    _register_errors(app)
    direct_app = make_direct_app(direct)
    direct_app.register_error_handler(GatewayError, _answer_error)

    def answer(asked: ClientRequest) -> Answer:
        if is_explain(asked.target):
            return searches.explain(asked)
        if route := match_route(asked.method, asked.target):
            return searches.answer(asked, route)
        if settings.publish_address and is_nodes_info(asked.method, asked.target):
            return answer_nodes_info(cluster, asked, settings.publish_address)
        return forward(cluster, asked)

    gateway, rerank_port = _put_before(app.wsgi_app, answer), settings.rerank_port

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The port tells by which listener a request came."""
        begin_request(environ)
        is_direct = environ["SERVER_PORT"] == rerank_port
        return (direct_app if is_direct else gateway)(environ, start_response)

    app.wsgi_app = call  # type: ignore[method-assign]
    return app


def _put_before(own: WSGIApplication, answer: Callable[[ClientRequest], Answer]) -> WSGIApplication:
    """Our own paths are Flask's; all else is the cluster's, and Flask never sees it, to save time."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        target = read_target(environ)
        if _is_own(target) and not is_explain(target):
            return own(environ, start_response)
        try:
            answered = answer(read_request(environ))
        except GatewayError as error:
            answered = _answer_error(error)
        except Exception:  # a mistake of ours
            logger.exception(Event("gateway.failed"))
            answered = json_answer(500, error_body(500, "gateway_exception", "a mistake of the gateway's"))
        return answered(environ, start_response)

    return call


def _is_own(target: str) -> bool:
    path = target.partition("?")[0]
    return path == "/_rerank" or path.startswith("/_rerank/")


def _answer_error(error: GatewayError) -> Answer:
    status, kind = find_status(error)
    level = logging.DEBUG if isinstance(error, ClientGone) else logging.WARNING
    logger.log(level, Event("request.failed", kind=kind, error=error))
    answered = json_answer(status, error_body(status, kind, str(error)))
    if isinstance(error, RefusedRequest | UnreadableBody):
        answered.headers["Connection"] = "close"  # where a next request would start is not known
    return answered


def _register_errors(app: Flask) -> None:
    app.register_error_handler(GatewayError, _answer_error)

    @app.errorhandler(HTTPException)
    def answer_http_error(error: HTTPException) -> Answer:
        """Of our own paths, and a 500 for a mistake of ours."""
        status = error.code or 500
        return json_answer(status, error_body(status, "gateway_exception", error.description or error.name))
