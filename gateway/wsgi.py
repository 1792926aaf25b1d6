"""Knows gunicorn: how it is told to stand between a client and the cluster without being noticed.

What it still does on its own: it answers 400 in HTML to a request that is not correct HTTP/1.1
(Content-Length beside Transfer-Encoding, a folded header line, a target with bytes outside ASCII) and 500 to
a header that is named SCRIPT_NAME, and it sends 100 Continue at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

from gateway.app import create_app
from gateway.settings import GatewaySettings
from gateway.wire import RAW_HEADERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def serve(settings: GatewaySettings) -> None:
    """Serve until the process is told to stop."""
    GatewayServer(settings).run()


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """The gateway under gunicorn, configured by our settings only."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """See `BaseApplication`."""
        for name, value in _gunicorn_settings(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In each process after the fork, so that no connection is shared."""
        return create_app(self._settings)


class TransparentResponse(wsgi.Response):  # type: ignore[misc]
    """Without gunicorn's own Server and Date: the client sees the cluster's, or none where it sends none."""

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """See `wsgi.Response`."""
        super().process_headers(headers)  # refuses what would split the answer, but drops Server and Date
        self.headers = headers  # `wire.end_to_end` has taken out what is for one connection only

    def default_headers(self) -> list[str]:
        """See `wsgi.Response`."""
        return [line for line in super().default_headers() if not line.startswith(("Server:", "Date:"))]


class TransparentWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker; the application gets the header list whole and adds all headers itself."""

    def load_wsgi(self) -> None:
        """See `gunicorn.workers.base.Worker`."""
        super().load_wsgi()
        wsgi.Response = TransparentResponse  # there is no setting for it
        self.wsgi: WSGIApplication = _with_raw_headers(self.wsgi)


def _with_raw_headers(app: WSGIApplication) -> WSGIApplication:
    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response: Any = start_response.__self__  # type: ignore[attr-defined]  # gunicorn's, which has the request
        environ[RAW_HEADERS] = response.req.headers
        return app(environ, start_response)

    return call


def _gunicorn_settings(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "bind": settings.bind,
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": TransparentWorker,
        "worker_connections": settings.threads + 1000,  # kept connections beside the busy ones
        "keepalive": 660,  # seconds; some clients keep idle connections for ten minutes
        # engines take a first line of 4 kB and headers of 16 kB: theirs to refuse
        "limit_request_line": 8190,
        "limit_request_fields": 1000,
        "limit_request_field_size": 64 * 1024,
        "permit_unconventional_http_method": True,  # the cluster's to refuse, in its own words
        # headers are read from the list, where X_A and X-A differ: none is dropped, none sets the environ
        "header_map": "dangerous",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "control_socket_disable": True,
        "proc_name": "rerank-gateway",
    }
