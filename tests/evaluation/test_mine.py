"""``python -m gateway mine``: training rows whose negatives are a live cluster's hits."""

import json

import pytest

from relevance.rows import read_rows
from tests.evaluation.conftest import DOCUMENTS

pytestmark = pytest.mark.system


@pytest.fixture
def mine(commands, tmp_path):
    """Runs the command over judgments; gives the process and its rows, documents by their ids."""
    ids = {body: id for id, body in DOCUMENTS.items()}

    def run(judgments, *words, **flags):
        lines = [json.dumps({"query": query, "grades": grades}) for query, grades in judgments.items()]
        (tmp_path / "j.jsonl").write_text("\n".join(lines))
        output = tmp_path / "rows.jsonl"
        done = commands.run(
            *("mine", "--judgments", tmp_path / "j.jsonl", "--index", "guides", "--output", output),
            *words,
            **flags,
        )
        rows = list(read_rows(output)) if output.exists() else []
        return done, [
            (row.query, {ids[text] for text in row.pos}, {ids[text] for text in row.neg}, row) for row in rows
        ]

    return run


def test_negatives_are_the_clusters_own_hits(mine):
    judged = {"delete": {"rmtree": 3, "far": 1, "gone": 1}, "sort": {"sort": 2}, "zzz": {"rmtree": 1}}
    done, rows = mine(judged, "--ranks", "1-50", "--negatives", "10")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 rows; 1 queries without a relevant document or a negative\n"
    assert [found[:3] for found in rows] == [
        ("delete", {"rmtree", "far"}, {"remove", "rmdir", "unlink"}),  # "far" is no hit: it was fetched
        ("sort", {"sort"}, {"sorted", "shuffle"}),
    ]
    assert rows[0][3].pos_scores is None


def test_a_teacher_leaves_out_what_may_be_relevant(mine):
    judged = {"delete": {"rmdir": 3}}
    done, ((_, _, negatives, row),) = mine(judged, "--ranks", "1-50", "--teacher", "length")
    assert done.returncode == 0, done.stderr
    assert negatives == {"remove", "unlink"}  # rmtree's is longer than the judged one
    assert row.pos_scores == (float(len(DOCUMENTS["rmdir"])),)
    assert dict(zip(row.neg, row.neg_scores, strict=True)) == {text: float(len(text)) for text in row.neg}
    far = len(DOCUMENTS["rmdir"]) - len(DOCUMENTS["remove"])
    _, ((_, _, negatives, _),) = mine(judged, "--ranks", "1-50", "--teacher", "length", "--margin", far)
    assert negatives == {"unlink"}


@pytest.mark.parametrize(
    ("words", "flags", "status", "told"),
    [
        pytest.param(
            ["--teacher", "unserved"], {}, 1, "teacher: no worker serves model 'unserved'", id="nobody"
        ),
        pytest.param(["--teacher", "x"], {}, 2, "--teacher: no [models.x]", id="unknown teacher"),
        pytest.param(
            ["--teacher", "length"],
            {"redis-url": "redis://{nowhere}/0"},
            1,
            "Redis can't be asked who serves 'length'",
            id="no Redis",
        ),
        pytest.param([], {"index": "nowhere", "policy": "guides"}, 1, "index_not_found", id="no such index"),
        pytest.param(
            [], {"cluster-url": "http://{nowhere}"}, 1, "the cluster cannot be reached", id="no cluster"
        ),
        pytest.param(
            ["--ranks", "40-50"], {}, 1, "no query has both a relevant document and", id="nothing there"
        ),
        pytest.param(["--ranks", "x"], {}, 1, "--ranks: expected for example 5-100, found 'x'", id="ranks"),
        pytest.param([], {"output": ""}, 2, "--output: is needed", id="no output"),
    ],
)
def test_what_stands_in_the_way_is_told(mine, nowhere, words, flags, status, told):
    filled = {name: value.format(nowhere=nowhere) for name, value in flags.items()}
    done, rows = mine({"delete": {"rmtree": 3}}, *words, **filled)
    assert done.returncode == status, done.stderr
    assert told.format(nowhere=nowhere) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert rows == []
