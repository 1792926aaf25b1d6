"""Knows how the parts make one Flask application; nothing happens at import."""

from __future__ import annotations

import logging

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from gateway.cluster import Cluster, open_cluster
from gateway.errors import STATUSES, GatewayError, error_body
from gateway.ops import make_ops
from gateway.policies import PolicyFile
from gateway.proxy import forward
from gateway.published import answer_nodes_info, is_nodes_info
from gateway.rescoring import Rescorer
from gateway.scoring import QueueScorer, Scorer
from gateway.search import SearchTools
from gateway.searches import Searches, is_explain
from gateway.settings import GatewaySettings
from gateway.wire import Answer, json_answer, read_request
from search_plugin import match_route

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
    scorer = scorer or QueueScorer(str(settings.redis_url), max_waiting=settings.threads)
    searches = Searches(SearchTools(cluster, Rescorer(scorer), policies, settings.search_body_limit_bytes))
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(make_ops(cluster, scorer, policies))
    _register_errors(app)

    @app.before_request
    def answer_before_routing() -> Answer | None:
        """All but our own paths is the cluster's: Flask's URL map never sees it."""
        target = request.environ["RAW_URI"]
        if _is_own(target) and not is_explain(target):
            return None
        asked = read_request(request.environ)
        if is_explain(target):
            return searches.explain(asked)
        if route := match_route(asked.method, asked.target):
            return searches.answer(asked, route)
        if settings.publish_address and is_nodes_info(asked.method, asked.target):
            return answer_nodes_info(cluster, asked, settings.publish_address)
        return forward(cluster, asked)

    return app


def _is_own(target: str) -> bool:
    path = target.partition("?")[0]
    return path == "/_rerank" or path.startswith("/_rerank/")


def _register_errors(app: Flask) -> None:
    @app.errorhandler(GatewayError)
    def answer_gateway_error(error: GatewayError) -> Answer:
        known = (STATUSES[found] for found in type(error).__mro__ if found in STATUSES)
        status, kind = next(known, (500, "gateway_exception"))
        logger.warning("%s: %s", kind, error)
        return json_answer(status, error_body(status, kind, str(error)))

    @app.errorhandler(HTTPException)
    def answer_http_error(error: HTTPException) -> Answer:
        """Of our own paths, and a 500 for a mistake of ours."""
        status = error.code or 500
        return json_answer(status, error_body(status, "gateway_exception", error.description or error.name))
