"""Knows how Celery is set up here; not what a task does."""

from __future__ import annotations

import gc
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.apps.worker import Worker
from celery.bootsteps import StartStopStep
from celery.platforms import EX_FAILURE
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.connection import Connection
from kombu.utils.scheduling import round_robin_cycle

from worker.contract import bulk_queue, online_queue
from worker.contract.address import RedisAddress
from worker.contract.logs import Event
from worker.serving import ServingMark
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

_BULK = bulk_queue("")
_SWEEP_INTERVAL_S = 10
_RESTART_PAUSE_S = 1.0
_SOCKET_TIMEOUT_S = 2.0
_HEALTH_CHECK_S = 3  # a look that is answered so late, or at the latest twice so late, is tried anew
_EVENTS_INTERVAL_S, _EVENTS_AT_ONCE = 0.25, 1000
_BRPOP_S = 0.2  # after so long a look into the queues begins anew: there may be room for bulk then


class QuickConnection(Connection):
    """Tries again within two seconds; kombu's pauses grow to thirty, long after Redis is back."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        """See `kombu.Connection.ensure_connection`."""
        pauses = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2}
        return super().ensure_connection(*args, **{**pauses, **options})  # type: ignore[no-untyped-call]


class FrugalConsumer(Consumer):  # type: ignore[misc]
    """Sends the events of many jobs at once; one by one they take as long as all else that Celery does."""

    def on_send_event_buffered(self) -> None:
        """See `Consumer`: would send at once."""

    def register_with_event_loop(self, hub: Any) -> None:
        """See `Consumer`; called for each new connection."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(_EVENTS_INTERVAL_S, self._flush_events)
        self.event_dispatcher.buffer_limit = _EVENTS_AT_ONCE


def create_app(settings: WorkerSettings, has_room_for_bulk: Callable[[], bool]) -> Celery:
    """A Celery app without tasks; connects to nothing yet.

    Args:
        has_room_for_bulk: asked before each look into the queues.
    """
    app = Celery("rerank", set_as_current=False)
    app.amqp.Connection = QuickConnection
    broker = RedisAddress.from_url(settings.redis_url).configure_celery(
        visibility_timeout=settings.visibility_timeout_s,
        unacked_restore_interval=min(_SWEEP_INTERVAL_S, settings.visibility_timeout_s),
        unacked_restore_throttle=1,
        socket_keepalive=True,
        # without these the consumer waits for a minute where Redis's host is gone and another is the master
        health_check_interval=_HEALTH_CHECK_S,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=_SOCKET_TIMEOUT_S,
        queue_order_strategy=order_queues(has_room_for_bulk),
        brpop_timeout=_BRPOP_S,
    )
    app.conf.update(
        broker,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        timezone="UTC",
        # a job is acknowledged when it is answered: one whose worker is killed goes to another worker
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # Redis may come late, go and come back
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever
        worker_cancel_long_running_tasks_on_connection_loss=False,  # threads can't be
        worker_send_task_events=True,  # for Flower
        worker_consumer=FrugalConsumer,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def order_queues(has_room_for_bulk: Callable[[], bool]) -> type[round_robin_cycle]:
    """How kombu is to choose among queues: searches first, and bulk only where there is room for it."""

    class SearchesFirst(round_robin_cycle):
        def consume(self, n: int) -> list[str]:
            searches = [queue for queue in self.items if not queue.startswith(_BULK)]
            bulk = [queue for queue in self.items if queue.startswith(_BULK)]
            return [*searches, *(bulk if has_room_for_bulk() else [])]

    return SearchesFirst


def consume(make_app: Callable[[], Celery], settings: WorkerSettings, mark: ServingMark) -> None:
    """Consume the queues of the marked models until a signal or a monitor says stop; finish the jobs taken.

    Celery gives up on errors it did not foresee (5.7: Redis goes away while a job is not yet acknowledged).
    Then a new app and consumer take over in this process, where the models are.
    """
    while True:
        worker = _create_worker(make_app(), settings, mark)
        worker.start()
        if worker.exitcode != EX_FAILURE or state.should_stop is not None:
            return
        logger.error(Event("consumer.failed", problem="starting another"))
        time.sleep(_RESTART_PAUSE_S)


def _create_worker(app: Celery, settings: WorkerSettings, mark: ServingMark) -> Worker:
    class KeepMark(StartStopStep):  # type: ignore[misc]
        """Started when the consumer has its queues, stopped when it loses Redis or shuts down."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, _consumer: object) -> None:
            gc.collect()  # a connection that was lost before keeps sockets in cycles of references
            mark.start()

        def stop(self, _consumer: object) -> None:
            mark.stop()

    app.steps["consumer"].add(KeepMark)
    return app.Worker(
        hostname=f"rerank-{os.getpid()}@{socket.gethostname()}",  # several on a machine stay apart
        pool_cls="threads",
        concurrency=settings.concurrency,
        queues=[queue(alias) for queue in (online_queue, bulk_queue) for alias in mark.aliases],
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
