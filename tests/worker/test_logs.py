"""How a log line looks, for people and for machines."""

import json
import logging
import sys

import pytest

from worker.contract.logs import REQUEST_ID, Event, JsonFormatter, TextFormatter


def record(message, *arguments, level=logging.INFO, error=None):
    return logging.LogRecord("worker.tasks", level, "tasks.py", 1, message, arguments, error)


@pytest.fixture(autouse=True)
def no_request():
    """This thread works for none, whatever ran in it before."""
    token = REQUEST_ID.set("")
    yield
    REQUEST_ID.reset(token)


@pytest.fixture
def request_id(no_request):
    """The request that this thread works for while the test runs."""
    token = REQUEST_ID.set("req-1")
    yield "req-1"
    REQUEST_ID.reset(token)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        pytest.param(Event("score.late"), "score.late", id="no fields"),
        pytest.param(Event("score.late", id="a", n=2), "score.late id=a n=2", id="plain words"),
        pytest.param(Event("x.y", ms=1.2345), "x.y ms=1.2", id="milliseconds"),
        pytest.param(Event("x.y", error="not found"), 'x.y error="not found"', id="with a blank"),
        pytest.param(Event("x.y", error='a="b"'), 'x.y error="a=\\"b\\""', id="with quotes"),
        pytest.param(Event("x.y", error="a\nb.z id=1"), 'x.y error="a\\nb.z id=1"', id="no second line"),
        pytest.param(Event("x.y", reason=""), 'x.y reason=""', id="empty"),
    ],
)
def test_an_event_as_text(event, text):
    assert str(event) == text
    assert TextFormatter().format(record(event)).endswith(f" INFO worker.tasks {text}")


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        pytest.param(
            record(Event("score.late", id="a", ms=1.26)),
            {"event": "score.late", "id": "a", "ms": 1.3},
            id="ours",
        ),
        pytest.param(record("%d %s", 2, "ends"), {"event": "log", "message": "2 ends"}, id="others'"),
        pytest.param(record(Event("x.y", error=ValueError("no"))), {"error": "no"}, id="an error"),
        pytest.param(record(Event("x.y", text="a\nb")), {"text": "a\nb"}, id="two lines"),
        pytest.param(record(Event("x.y"), level=logging.ERROR), {"level": "ERROR"}, id="its level"),
    ],
)
def test_a_line_as_json(logged, expected):
    line = JsonFormatter().format(logged)
    assert "\n" not in line
    told = json.loads(line)
    assert {name: told[name] for name in expected} == expected
    assert {"time", "level", "logger", "event"} <= set(told)
    assert told["time"].endswith("+00:00")
    assert "request_id" not in told


def test_a_line_names_its_request(request_id):
    logged = record(Event("score.late", id="a"))
    assert TextFormatter().format(logged).endswith("score.late id=a request_id=req-1")
    assert json.loads(JsonFormatter().format(logged))["request_id"] == request_id


def test_a_traceback_stays_in_its_line():
    try:
        raise KeyError("x")
    except KeyError:
        line = JsonFormatter().format(record(Event("x.failed"), error=sys.exc_info()))
    assert "\n" not in line
    assert "KeyError" in json.loads(line)["exception"]
