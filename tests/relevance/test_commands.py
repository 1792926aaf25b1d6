"""``python -m relevance``: its commands, from judgments to a report, and their mistakes."""

import json
import subprocess
import sys

import pytest

from relevance.__main__ import COMMANDS, main
from relevance.rows import read_rows

QRELS = "q1 0 d1 2\nq1 0 d2 0\nq2 0 d3 1\nq3 0 d9 0\n"
QUERIES = "q1\tdelete a folder\nq2\tsort a list\nq3\tnothing\n"
RUN = "".join(
    f"{query} Q0 {document} {rank} {9 - rank} bm25\n"
    for query in ("q1", "q2")
    for rank, document in enumerate(("d2", "d1", "d3", "d4"), start=1)
)
BETTER = "q1 Q0 d1 1 9 x\nq1 Q0 d2 2 8 x\nq2 Q0 d3 1 9 x\n"
CORPUS = "".join(
    json.dumps({"_id": f"d{n}", "title": f"T{n}", "text": f"text {n}"}) + "\n" for n in range(1, 9)
)
ROWS = (
    *("rows", "--judgments", "qrels.txt", "--queries", "queries.tsv"),
    *("--documents", "corpus.jsonl", "--run", "bm25.run", "--output", "x"),
)
EVENTS = [
    {"action_name": "click", "query_id": f"{n}", "event_attributes": {"object": {"object_id": "b"}}}
    for n in range(30)
]
ASKED = [
    {"query_id": f"{n}", "user_query": "red dress", "query_response_hit_ids": ["a", "b"]} for n in range(40)
]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a command line in a folder with the files above; gives its exit status and what it printed."""
    files = {"qrels.txt": QRELS, "queries.tsv": QUERIES, "bm25.run": RUN, "better.run": BETTER}
    files |= {"corpus.jsonl": CORPUS}
    files |= {
        name: "".join(json.dumps(one) + "\n" for one in lines)
        for name, lines in (("events", EVENTS), ("asked", ASKED))
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["relevance", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().out

    return run_command


@pytest.fixture
def judged(run):
    """The judgments as ours."""
    assert run("import", "qrels.txt", "--queries", "queries.tsv", "--output", "j.jsonl")[0] == 0
    return "j.jsonl"


def test_import_writes_jsonl(run, judged, tmp_path):
    first = json.loads((tmp_path / judged).read_text().splitlines()[0])
    assert first == {"id": "q1", "query": "delete a folder", "grades": {"d1": 2, "d2": 0}}


def test_clicks_make_judgments(run, tmp_path):
    status, told = run(
        *("clicks", "events", "--queries", "asked", "--output", "j.jsonl", "--cut", "1", "--ratings", "r.tsv")
    )
    assert (status, told.splitlines()[0]) == (0, "80 views, 30 clicked")
    (judged,) = (json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines())
    assert judged["query"] == "red dress"
    assert set(judged["grades"]) == {"a", "b"}
    assert (tmp_path / "r.tsv").read_text().splitlines()[0] == "query\tdocument\tviews\tclicks\tlift"


def test_split_and_check(run, judged, tmp_path):
    assert run("split", judged, "--output", "parts", "--parts", "a=1,b=1")[0] == 0
    parts = [f"parts/{name}.jsonl" for name in "ab"]
    lines = [line for part in parts for line in (tmp_path / part).read_text().splitlines()]
    assert sorted(lines) == sorted((tmp_path / judged).read_text().splitlines())
    status, told = run("check", judged, judged)
    assert (status, told) == (0, f"{judged}: 3 lines are right\n")
    (tmp_path / "other.jsonl").write_text('{"query": "Sort a list!", "pos": ["a"], "neg": ["b"]}\n')
    status, told = run("check", judged, "other.jsonl")
    assert status == 1
    assert "leak: j.jsonl has 'sort a list', other.jsonl has 'Sort a list!'\n1 queries are in two" in told


def test_rows_have_negatives_of_the_run(run, judged, tmp_path):
    options = ("--documents", "corpus.jsonl", "--run", "bm25.run", "--ranks", "1-3", "--output", "r.jsonl")
    status, told = run("rows", "--judgments", judged, *options)
    assert (status, told) == (0, "2 rows; 1 queries without a relevant document or a negative\n")
    rows = {row.query: (row.pos, set(row.neg)) for row in read_rows(tmp_path / "r.jsonl")}
    assert rows == {
        "delete a folder": (("T1\ntext 1",), {"T2\ntext 2", "T3\ntext 3"}),
        "sort a list": (("T3\ntext 3",), {"T2\ntext 2", "T1\ntext 1"}),
    }


def test_compare_prints_and_writes_a_report(run, judged, tmp_path):
    runs = ("bm25.run", "ours|1=better.run")
    (tmp_path / "train.jsonl").write_text('{"query": "x", "grades": {"d4": 1}}\n')
    status, told = run("compare", *runs, "--judgments", judged, "--train", "train.jsonl", "--output", "out")
    assert status == 0
    assert "2 judged queries. nDCG@10 decides; differences are from bm25." in told
    table = {line.split("  ")[0]: line.split() for line in told.splitlines() if line}
    assert table["ours|1"][1:6] == ["1.000"] * 4 + ["0.100"]
    assert table["bm25"][1] == f"{(1 / 1.584962500721156 + 0.5) / 2:.3f}"
    assert "popularity (control)" in table
    assert "only 2 queries" in told
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [one["name"] for one in report["systems"]] == ["bm25", "ours|1", "popularity"]
    assert report["systems"][1]["against_first_stage"]["wins"] == 2
    assert report["per_query"][0]["ours|1 nDCG@10"] == 1.0
    assert "| ours\\|1 | 1.000 |" in (tmp_path / "out" / "report.md").read_text()
    head, *rows = (tmp_path / "out" / "queries.tsv").read_text().splitlines()
    assert head.split("\t")[:3] == ["id", "query", "bm25 nDCG@10"]
    assert [row.split("\t")[1] for row in rows] == ["delete a folder", "sort a list"]
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "ours-1.run").read_text().startswith("q1 Q0 d1 1 ")


def test_what_got_worse_is_shown(run, judged):
    _, told = run("compare", "better.run", "bm25.run", "--judgments", judged)
    assert "WARNINGS\n\n  bm25 is not better than the first stage: nDCG@10 -0.4" in told
    assert "Worst regressions of bm25 (nDCG@10)\n\n  1.000 → 0.500  sort a list\n" in told
    _, told = run("compare", "better.run", "bm25.run", "--judgments", judged, "--json")
    assert json.loads(told)["queries"] == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["import", "nowhere", "--output", "x"], "nowhere: can't be read: No such file or directory"),
        (["import", "qrels.txt", "--output", "x"], "no text for 3 judged queries, the first: 'q1'"),
        (["import", "qrels.txt", "--output", "x", "--cut", "2,1"], "--cut: expected ascending numbers"),
        (
            ["import", "qrels.txt", "--queries", "queries.tsv", "--output", "no/x"],
            "no/x: can't be written: No such file or directory",
        ),
        (
            ["clicks", "events", "--output", "x"],
            "events: no click that can be told from it (30 without a known",
        ),
        (
            ["clicks", "events", "--queries", "asked", "--views", "99", "--output", "x"],
            "events: no document reaches grade 1 with 99 views or more (--views, --cut)",
        ),
        (["split", "corpus.jsonl", "--output", "x"], "corpus.jsonl:1: query: expected a text, found nothing"),
        (
            ["split", "corpus.jsonl", "--output", "x", "--parts", "a"],
            "--parts: expected for example train=80",
        ),
        (
            ["split", "corpus.jsonl", "--output", "x", "--parts", "../a=1"],
            "--parts: expected names of letters",
        ),
        (["compare", "bm25.run"], "--judgments: is needed"),
        (["compare", "queries.tsv", "--judgments", "qrels.txt"], "queries.tsv:1: expected query Q0 document"),
        (
            ["compare", "bm25.run", "--judgments", "qrels.txt", "--measures", "best"],
            "measure: 'best' is unknown",
        ),
        (
            ["compare", "bm25.run", "bm25.run", "--judgments", "qrels.txt"],
            "bm25: two rankings have this name",
        ),
        (
            [*ROWS, "--ranks", "5"],
            "--ranks: expected for example 5-100, found '5'",
        ),
        (
            [*ROWS, "--ranks", "50-60"],
            "bm25.run: no query has both a relevant document and a negative",
        ),
    ],
)
def test_a_mistake_ends_with_a_sentence(run, tmp_path, arguments, told):
    message, _ = run(*arguments)
    assert message.startswith(f"python -m relevance {arguments[0]}: {told}")
    assert not (tmp_path / "x").exists()


def test_judgments_without_anything_relevant_are_refused(run, tmp_path):
    (tmp_path / "none.txt").write_text("q1 0 d1 0\n")
    message, _ = run("compare", "bm25.run", "--judgments", "none.txt")
    assert message.endswith("the judgments know no relevant document for any query")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(run, command):
    status, told = run(command, "--help")
    assert status == 0
    assert f"python -m relevance {command}" in told.split("example")[1]


def test_nobody_may_read_to_the_end(tmp_path):
    (tmp_path / "q.txt").write_text(QRELS)
    (tmp_path / "a.run").write_text(RUN)
    command = [sys.executable, "-m", "relevance", "compare", "--judgments", "q.txt", "a.run"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
