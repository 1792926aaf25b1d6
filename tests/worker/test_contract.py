"""What the messages between gateway and worker may hold, and that they survive the wire."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract import (
    MAX_PASSAGE_CHARS,
    MAX_PASSAGES,
    MAX_QUERY_CHARS,
    ContractError,
    ScoreJob,
    ScoreReply,
    read_job_id,
)

JOB = {"id": "j-1", "model": "docs", "query_text": "q", "passages": ["p"], "deadline": 1.5}
REPLY = {"id": "j-1", "scores": [0.5]}

ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
aliases = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
durations = st.floats(min_value=0, allow_infinity=False)
jobs = st.builds(
    ScoreJob,
    id=ids,
    model=aliases,
    query_text=st.text(),
    passages=st.lists(st.text(), min_size=1).map(tuple),
    deadline=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)
replies = st.one_of(
    st.builds(ScoreReply, id=ids, scores=st.lists(finite).map(tuple), queue_ms=durations, model_ms=durations),
    st.builds(ScoreReply, id=ids, error=st.text(min_size=1), model_version=st.text(max_size=100)),
)


@given(jobs)
def test_a_job_survives_the_wire(job):
    assert ScoreJob.from_message(json.loads(json.dumps(job.to_message()))) == job


@given(replies)
def test_a_reply_survives_the_wire(reply):
    assert ScoreReply.from_message(reply.to_message()) == reply


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"query_text": "q" * MAX_QUERY_CHARS}, id="longest query"),
        pytest.param({"query_text": ""}, id="empty query"),
        pytest.param({"passages": [""] * MAX_PASSAGES}, id="most passages"),
        pytest.param({"passages": ["p" * MAX_PASSAGE_CHARS]}, id="longest passage"),
        pytest.param({"id": "i" * 64}, id="longest id"),
        pytest.param({"model": "bge-reranker-v2.5_m3"}, id="punctuated alias"),
        pytest.param({"version": 2, "part": 3, "policy": "p", "bulk": True, "sent": 4.5}, id="all given"),
    ],
)
def test_a_job_within_its_limits_is_read(fields):
    defaults = {"version": 2, "part": 0, "policy": "", "bulk": False, "sent": 0.0}
    assert ScoreJob.from_message(JOB | fields).to_message() == defaults | JOB | fields


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"query_text": "q" * (MAX_QUERY_CHARS + 1)}, "query_text", id="query too long"),
        pytest.param({"query_text": None}, "query_text", id="no query"),
        pytest.param({"query_text": "\ud800"}, "query_text", id="half a surrogate pair"),
        pytest.param({"passages": ["p"] * (MAX_PASSAGES + 1)}, "passages", id="too many passages"),
        pytest.param({"passages": []}, "passages", id="no passages"),
        pytest.param({"passages": "p"}, "passages", id="passages not a list"),
        pytest.param({"passages": ["p", "p" * (MAX_PASSAGE_CHARS + 1)]}, "passages.1", id="passage too long"),
        pytest.param({"passages": ["p", 2]}, "passages.1", id="passage not a text"),
        pytest.param({"id": "i" * 65}, "id", id="id too long"),
        pytest.param({"id": "a\n"}, "id", id="line end in id"),
        pytest.param({"id": ""}, "id", id="empty id"),
        pytest.param({"model": "../m"}, "model", id="path as model"),
        pytest.param({"deadline": "1.5"}, "deadline", id="deadline as text"),
        pytest.param({"deadline": float("inf")}, "deadline", id="endless deadline"),
        pytest.param({"deadline": 0}, "deadline", id="no deadline"),
        pytest.param({"version": 1}, "version", id="another version"),
        pytest.param({"top_n": 3}, "top_n", id="unknown field"),
    ],
)
def test_a_job_over_its_limits_is_refused_by_field(fields, field):
    with pytest.raises(ContractError) as caught:
        ScoreJob.from_message(JOB | fields)
    assert caught.value.field == field


@pytest.mark.parametrize("field", [*JOB])
def test_a_job_that_lacks_a_field_is_refused_by_field(field):
    with pytest.raises(ContractError) as caught:
        ScoreJob.from_message({name: value for name, value in JOB.items() if name != field})
    assert caught.value.field == field


@pytest.mark.parametrize("message", [None, "text", 3, [JOB]], ids=repr)
def test_a_message_that_is_no_object_is_refused(message):
    with pytest.raises(ContractError, match=r"^job: "):
        ScoreJob.from_message(message)


def test_a_job_built_by_hand_is_checked_the_same_way():
    with pytest.raises(ContractError, match=r"^model: "):
        ScoreJob(**JOB | {"model": "no alias"})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"scores": [0.5], "error": "why"}, "scores", id="scores and error"),
        pytest.param({"scores": None}, "scores", id="neither"),
        pytest.param({"scores": [0.5, None]}, "scores.1", id="no score"),
        pytest.param({"queue_ms": -1}, "queue_ms", id="negative time"),
        pytest.param({"version": 1}, "version", id="unknown field"),
    ],
)
def test_a_wrong_reply_is_refused_by_field(fields, field):
    with pytest.raises(ContractError) as caught:
        ScoreReply.from_message(json.dumps(REPLY | fields).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e999"])
def test_a_score_that_is_no_finite_number_is_refused(score):
    with pytest.raises(ContractError, match=r"^scores\.0: "):
        ScoreReply.from_message(b'{"id":"j-1","scores":[%s]}' % score.encode())


@pytest.mark.parametrize("message", [b"", b"{", b"\xff", b"[]"], ids=repr)
def test_bytes_that_are_no_reply_are_refused(message):
    with pytest.raises(ContractError, match=r"^reply: "):
        ScoreReply.from_message(message)


@pytest.mark.parametrize(
    ("message", "job_id"),
    [
        pytest.param({"id": "j-1", "passages": 3}, "j-1", id="malformed elsewhere"),
        pytest.param({"id": "no id"}, None, id="malformed id"),
        pytest.param({}, None, id="none"),
        pytest.param("j-1", None, id="no object"),
    ],
)
def test_the_id_of_a_malformed_message_is_read_if_it_can_be(message, job_id):
    assert read_job_id(message) == job_id


def test_neither_errors_nor_reprs_quote_texts():
    """Logs and monitors show both; the texts are users' documents."""
    secret = "the patient's file"
    with pytest.raises(ContractError) as caught:
        ScoreJob.from_message(JOB | {"query_text": [secret], "passages": [{"body": secret}]})
    assert secret not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert secret not in repr(ScoreJob(**JOB | {"query_text": secret, "passages": [secret]}))


def test_the_contract_loads_without_model_and_server_libraries():
    """The gateway imports it: it must not cost torch, nor pull the worker's Celery set-up in."""
    heavy = "{'torch', 'transformers', 'flask', 'celery', 'redis'}"
    code = f"import sys, worker.contract; sys.exit(str(sorted({heavy} & set(sys.modules)) or ''))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""
