"""``python -m gateway jobs`` against a running gateway."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.jobs.conftest import to_lines

pytestmark = pytest.mark.system


@pytest.fixture
def jobs(product):
    """Run one command."""

    def run(*words, stdin=b""):
        command = [sys.executable, "-m", "gateway", "jobs", "--url", product.url, *words]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60)

    return run


def test_a_job_is_submitted_watched_and_read(jobs, tmp_path):
    file = tmp_path / "pairs.ndjson"
    file.write_bytes(to_lines({"query": "sort", "passage": "list"}) + b"bad\n")
    done = jobs("submit", "pairs", str(file), "--name", "two lines", "--scores", "logit")
    told = done.stderr.decode()
    assert done.returncode == 0, told
    assert "2/2" in told  # the progress bar
    assert "1 of 2 done  1 failed  two lines" in told
    job_id = told.split()[1]
    assert json.loads(jobs("results", job_id).stdout)["line"] == 1
    assert json.loads(jobs("failures", job_id).stdout)["line"] == 2
    output = tmp_path / "results"
    assert jobs("results", job_id, "--output", str(output)).returncode == 0
    assert json.loads(output.read_text())["line"] == 1
    assert job_id in jobs("list").stdout.decode()
    assert json.loads(jobs("show", job_id).stdout)["spec"]["scores"] == "logit"
    assert jobs("delete", job_id).returncode == 0
    assert jobs("show", job_id).returncode == 1


def test_lines_may_come_from_a_pipe(jobs):
    done = jobs("submit", "pairs", "-", "--detach", stdin=to_lines({"query": "sort", "passage": "list"}))
    job_id = done.stdout.decode().strip()
    assert jobs("watch", job_id).returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["pause", "nothing"], "there is no job 'nothing'", id="no such job"),
        pytest.param(["submit", "pairs"], "pairs: expected a file", id="no file"),
        pytest.param(["submit", "pairs", "/nowhere"], "No such file", id="a file that is not there"),
        pytest.param(
            ["submit", "scan", "--index", "x"], "query_text: Field required", id="a part is missing"
        ),
        pytest.param(["--url", "http://127.0.0.1:9", "list"], "Connection refused", id="no gateway"),
    ],
)
def test_what_cannot_be_done_is_one_line(jobs, words, told):
    done = jobs(*words)
    assert done.returncode == 1
    assert told in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
