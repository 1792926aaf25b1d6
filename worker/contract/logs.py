"""Knows how gateways and workers log: events with fields, as text or as JSON, each with its request's id.

The package itself leaves this out: it is no part of what goes through Redis.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from worker.contract.traces import trace_ids

LogFormat = Literal["text", "json"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the client's request for which this thread works; empty where there is none."""


class Event:
    """What is given to a logger in place of a text: ``logger.info(Event("score.late", id=…, model=…))``.

    Args:
        name: ``thing.happened``.
        fields: by names that are none of a line's own: time, level, logger, event, request_id, trace_id,
            span_id, exception. Never users' texts.
    """

    __slots__ = ("fields", "name")

    def __init__(self, name: str, /, **fields: object) -> None:
        self.name = name
        self.fields: Mapping[str, object] = fields

    def __str__(self) -> str:
        """``score.late id=… model=…``."""
        return " ".join([self.name, *(f"{name}={_to_word(value)}" for name, value in self.fields.items())])


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Write what this process logs or warns of, from this level on, to stderr, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(_FORMATTERS[log_format]())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's
        """See `logging.Formatter`."""
        line = super().formatMessage(record)
        return f"{line} request_id={request_id}" if (request_id := REQUEST_ID.get()) else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what others than we log is an event ``log`` with its text as ``message``."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        event = record.msg if isinstance(record.msg, Event) else Event("log", message=record.getMessage())
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": event.name,
            **{name: _round(value) for name, value in event.fields.items()},
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= trace_ids()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


_FORMATTERS: Mapping[LogFormat, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def _to_word(value: object) -> str:
    """As it is, or quoted where its end could not be told."""
    text = str(_round(value))
    is_plain = text.isprintable() and not set(text) & set(' "=')
    return text if is_plain and text else json.dumps(text)


def _round(value: object) -> object:
    return round(value, 1) if isinstance(value, float) else value
