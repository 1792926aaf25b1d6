"""Knows what is for those who manage the gateway, and puts all of it behind one gate."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, request
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import error_body
from gateway.experiments.api import ExperimentsApi, make_reports
from gateway.jobs.api import JobsApi
from gateway.jobs.api import make_blueprint as make_jobs
from gateway.jobs.home import Home
from gateway.jobs.safe import Safe
from gateway.jobs.store import JobStore
from gateway.keys import Keys
from gateway.management import Gate, NotAllowed, is_loopback
from gateway.pages.views import Pages, make_pages
from gateway.policies import PolicyFile
from gateway.scoring import Scorer
from gateway.settings import GatewaySettings
from gateway.tools import SearchTools
from gateway.wire import Answer, json_answer
from worker.contract.address import RedisAddress

_SOCKET_TIMEOUT_S = 2.0


def make_managed(
    settings: GatewaySettings,
    policies: PolicyFile,
    scorer: Scorer,
    tools: SearchTools,
    experiments: ExperimentsApi,
) -> Iterator[Blueprint]:
    """The blueprints that the gate guards, to stand under ``/_rerank``.

    Raises:
        ConfigurationError: the folder of jobs can't be written to.
    """
    gate = Gate(Keys(settings.managers), is_loopback=is_loopback(settings.host))
    jobs = None
    if settings.jobs_folder:
        home = Home(settings.jobs_folder)
        safe = Safe(settings.jobs_secret.get_secret_value())
        jobs = JobsApi(JobStore(connect(settings)), home, safe, policies)
        yield _guard(make_jobs(jobs, gate), gate)
    pages = Pages(
        tools,
        policies,
        scorer,
        gate.find_credentials,
        settings.flower_url,
        jobs,
    )
    yield _guard(make_pages(pages), gate)
    yield _guard(make_reports(experiments), gate)


def _guard(blueprint: Blueprint, gate: Gate) -> Blueprint:
    @blueprint.before_request
    def check() -> Answer | None:
        try:
            gate.check(request.method, request.headers, request.remote_addr or "")
        except NotAllowed as error:
            answer = json_answer(error.status, error_body(error.status, "security_exception", str(error)))
            if error.status == 401:
                answer.headers["WWW-Authenticate"] = 'Basic realm="rerank", charset="UTF-8"'
            return answer
        return None

    return blueprint


def connect(settings: GatewaySettings) -> Redis:
    """What is no score's way to Redis."""
    timeouts = {"socket_timeout": _SOCKET_TIMEOUT_S, "socket_connect_timeout": _SOCKET_TIMEOUT_S}
    return RedisAddress.from_url(settings.redis_url).connect(retry=Retry(NoBackoff(), 1), **timeouts)
