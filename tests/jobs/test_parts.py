"""The parts of jobs that need no server."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigurationError
from gateway.hangup import Watcher
from gateway.jobs import lines as lines_module
from gateway.jobs.api import _write_trec
from gateway.jobs.control import Control, Limiter, Stopped
from gateway.jobs.destination import make_id
from gateway.jobs.home import Home
from gateway.jobs.items import Tally
from gateway.jobs.lines import count_items, read_lines
from gateway.jobs.safe import NoSecret, Safe
from gateway.jobs.spool import Locked, RowFile, Spool
from gateway.jobs.store import Job


@given(
    texts=st.lists(st.sampled_from([b"", b" ", b"a", b"{}", b"\xff", b"x" * 50]), max_size=12),
    ends=st.booleans(),
    cut=st.integers(0, 12),
)
def test_reading_goes_on_where_a_cursor_says(tmp_path_factory, texts, ends, cut):
    """From any line's cursor on, the rest comes as if it had been read in one go."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    content = b"\n".join(texts) + (b"\n" if ends else b"")
    total = spool.receive([content[:7], content[7:]])
    whole = list(read_lines(spool, 0, None))
    assert len(whole) == total
    assert [(line.number, (line.text or b"").strip()) for line in whole] == [
        (number, text.strip()) for number, text in enumerate(texts, start=1) if text.strip()
    ]
    if cut < len(whole):
        assert list(read_lines(spool, 0, whole[cut].cursor)) == whole[cut + 1 :]
        assert content[whole[cut].offset :].startswith(whole[cut].text)


def test_a_line_that_is_too_long_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 10)
    spool = Spool(tmp_path)
    spool.receive([b"short\n" + b"x" * 35 + b"\nafter\n" + b"y" * 9 + b"\n" + b"z" * 12])
    found = list(read_lines(spool, 0, None))
    assert [(line.number, line.text) for line in found] == [
        (1, b"short\n"), (2, None), (3, b"after\n"), (4, b"y" * 9 + b"\n"), (5, None),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        found[1].read()


def test_a_later_round_reads_what_failed(tmp_path):
    spool = Spool(tmp_path)
    spool.receive([b"a\nb\nc\n"])
    failed = [line for line in read_lines(spool, 0, None) if line.number != 2]
    spool.retried(1).write_text("".join(json.dumps(line.fail("why").row) + "\n" for line in failed))
    again = list(read_lines(spool, 1, None))
    assert [(line.number, line.text) for line in again] == [(1, b"a\n"), (3, b"c\n")]
    assert count_items(spool, replace(JOB, round=1)) == 2
    assert [line.number for line in read_lines(spool, 1, again[0].cursor)] == [3]


def test_rows_behind_the_checkpoint_are_cut_off(tmp_path):
    path = tmp_path / "rows"
    file = RowFile(path, 0)
    file.append(b"one")
    length = file.sync()
    file.append(b"two")
    file.close()
    again = RowFile(path, length)
    again.append(b"2")
    assert again.sync() == len(b"one\n2\n")
    again.close()
    assert path.read_bytes() == b"one\n2\n"


def test_missing_rows_are_an_error(tmp_path):
    with pytest.raises(OSError, match="not all are there"):
        RowFile(tmp_path / "rows", 5)


def test_one_process_at_a_time_runs_a_job(tmp_path):
    spool = Spool(tmp_path / "job")
    with spool.locked():
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                with spool.locked():
                    os.write(writer, b"both")
            except Locked:
                os.write(writer, b"one")
            finally:
                os._exit(0)
        assert os.read(reader, 9) == b"one"
        os.wait()
    with spool.locked():
        pass


def test_the_folder_of_jobs_keeps_its_name(tmp_path):
    assert Home(tmp_path / "jobs").id == Home(tmp_path / "jobs").id != Home(tmp_path / "others").id


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"--jobs-folder: .*file"):
        Home(tmp_path / "file" / "jobs")


def test_credentials_are_read_with_the_secret_they_were_kept_with():
    kept = Safe("s").put("Basic x")
    assert "Basic" not in kept
    assert Safe("s").take(kept) == "Basic x"
    for other in (Safe("t"), Safe("")):
        with pytest.raises(NoSecret, match="another --jobs-secret"):
            other.take(kept)
    with pytest.raises(NoSecret, match="need --jobs-secret"):
        Safe("").put("Basic x")


JOB = Job("j", {"kind": "queries", "name": "my run"}, "done", 1.0)


@pytest.mark.parametrize(
    ("hits", "lines"),
    [
        pytest.param(
            [("a", 0.9), ("b", 0.5)], ["7 Q0 a 1 0.9 myrun", "7 Q0 b 2 0.5 myrun"], id="scores fall"
        ),
        pytest.param([("a", 0.5), ("b", 0.5)], ["7 Q0 a 1 1.0 myrun", "7 Q0 b 2 0.5 myrun"], id="a tie"),
        pytest.param([("a", None)], ["7 Q0 a 1 3.5 myrun"], id="one hit, not scored"),
        pytest.param([], [], id="no hit"),
    ],
)
def test_a_run_has_scores_that_fall_with_the_rank(hits, lines):
    """Readers of runs order by score, not by rank."""
    told = [
        {"_id": id_, "rank": rank, "score": score, "previous_score": 3.5}
        for rank, (id_, score) in enumerate(hits, start=1)
    ]
    row = json.dumps({"id": "7", "hits": told}).encode()
    assert _write_trec(row, JOB).decode().splitlines() == lines


def test_a_job_stands_in_redis_as_it_is():
    fields = {name.encode(): value.encode() for name, value in JOB.to_fields().items()}
    assert Job.from_fields({**fields, b"wanted": b"run", b"secret": b"x"}) == JOB


@pytest.mark.parametrize(
    ("wanted", "state", "is_told"),
    [("pause", "running", True), ("pause", "paused", False), ("cancel", "paused", True),
     ("cancel", "cancelled", False), ("run", "running", False), ("retry", "done", True)],
)  # fmt: skip
def test_what_is_still_to_come_is_told(wanted, state, is_told):
    told = Job("j", {"kind": "pairs"}, state, 1.0).tell(wanted)
    assert ("wanted" in told) is is_told


def test_the_same_words_make_the_same_id():
    assert make_id("q", "i", "d") == make_id("q", "i", "d") != make_id("q", "id", "")


def test_rates_are_of_late():
    tally = Tally()
    tally.add(0.0, 1000, 1000)
    for second in range(100, 121):
        tally.add(second, 50, 10)
    pairs, items = tally.rates(121.0)
    assert pairs == pytest.approx(50, rel=0.1)
    assert items == pytest.approx(10, rel=0.1)


def test_a_limit_waits_no_longer_than_the_job_goes_on():
    with closing(Control(Watcher())) as control:
        limiter = Limiter(control, pairs_per_s=0.001)
        limiter.take(1)  # the first goes at once
        control.stop()
        with pytest.raises(Stopped):
            limiter.take(1)
