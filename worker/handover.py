"""Knows how a message becomes a call in one of the worker's threads, and how monitors hear of it."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.app.task import Task
from celery.worker.consumer import Consumer

from worker.contract import REQUEST_HEADER
from worker.contract.logs import REQUEST_ID, Event
from worker.contract.traces import span

logger = logging.getLogger(__name__)


class Hands:
    """The jobs that a worker has in hand."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._held: set[int] = set()

    def take(self, message: object) -> None:
        self._held.add(id(message))

    def let_go(self, message: object) -> None:
        self._held.discard(id(message))

    def are_full(self) -> bool:
        """Has the worker all the jobs that it may take?"""
        return len(self._held) >= self._concurrency


class HandOver:
    """An execution strategy of Celery's (`celery.app.task.Task.Strategy`) that makes no request of a message.

    Celery's own can retry a task, revoke it, time it out, keep its result, and takes longer for that than
    all else that happens to a small job in a worker. A job here has a deadline, is cancelled and answered
    by other ways, and needs a thread, an acknowledgement, and the events that monitors show.
    """

    def __init__(self, hands: Hands, task: Task, _app: object, consumer: Consumer) -> None:
        self._hands = hands
        self._task = task
        self._executor = consumer.pool.executor
        self._errors = consumer.connection_errors
        self._events = consumer.event_dispatcher

    def __call__(self, message: Any, *_: object) -> None:
        """Called where messages are received."""
        self._hands.take(message)
        headers = message.headers
        self._tell(message, "received", name=self._task.name, args=headers.get("argsrepr", ""), kwargs="{}")
        self._executor.submit(self._run, message)

    def _run(self, message: Any) -> None:
        started_s = time.monotonic()
        REQUEST_ID.set(str(message.headers.get(REQUEST_HEADER, "")))
        self._tell(message, "started")
        told = {"queue": message.delivery_info["routing_key"], "message": message.headers["id"]}
        try:
            with span(self._task.name, "consumer", message.headers, **told):
                args, _kwargs, _embed = message.payload
                self._task.run(*args)
        except Exception as error:
            logger.error(Event("task.failed", id=message.headers.get("id"), error=type(error).__name__))
            self._tell(message, "failed", exception=type(error).__name__)
        else:
            self._tell(message, "succeeded", result="None", runtime=time.monotonic() - started_s)
        finally:
            self._hands.let_go(message)
            message.ack_log_error(logger, self._errors)

    def _tell(self, message: Any, event: str, **fields: object) -> None:
        if self._events and self._events.enabled:
            self._events.send(f"task-{event}", uuid=message.headers["id"], **fields)
