"""``python -m gateway evaluate``: policies over judged queries on a live cluster."""

import json

import pytest
import urllib3

from tests.evaluation.conftest import DOCUMENTS

pytestmark = pytest.mark.system

JUDGMENTS = {"delete": {"rmtree": 3, "rmdir": 1}, "sort": {"sort": 2}, "nothing": {"rmdir": 0}}


@pytest.fixture
def judgments(tmp_path):
    lines = [json.dumps({"query": query, "grades": grades}) for query, grades in JUDGMENTS.items()]
    (tmp_path / "j.jsonl").write_text("\n".join(lines))
    return tmp_path / "j.jsonl"


def search(url, text):
    body = {"query": {"match": {"body": text}}, "size": 100}
    hits = urllib3.request("POST", f"{url}/guides/_search", json=body).json()["hits"]["hits"]
    return [hit["_id"] for hit in hits]


def read_run(folder, name):
    rankings = {}
    for line in (folder / f"{name}.run").read_text().splitlines():
        rankings.setdefault(line.split()[0], []).append(line.split()[2])
    return rankings


def test_policies_are_measured_against_the_clusters_order(commands, judgments, tmp_path, cluster_url):
    train = tmp_path / "train.jsonl"
    train.write_text('{"query": "x", "grades": {"remove": 1}}\n')
    done = commands.run(
        *(
            "evaluate",
            "--judgments",
            judgments,
            "--index",
            "guides",
            "--policy",
            "guides",
            "--policy",
            "narrow",
        ),
        *("--output", tmp_path / "out", "--train", train),
    )
    assert done.returncode == 0, done.stderr
    assert "1 queries without a relevant document are left out" in done.stderr
    first_stage = {text: search(cluster_url, text) for text in ("delete", "sort")}
    assert read_run(tmp_path / "out", "first-stage") == first_stage
    by_length = {text: sorted(hits, key=lambda id: -len(DOCUMENTS[id])) for text, hits in first_stage.items()}
    assert read_run(tmp_path / "out", "guides") == by_length
    assert first_stage != by_length
    narrow = {
        text: [*sorted(hits[:2], key=lambda id: -len(DOCUMENTS[id])), *hits[2:]]
        for text, hits in first_stage.items()
    }
    assert read_run(tmp_path / "out", "narrow") == narrow
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    means = {one["name"]: one["means"]["nDCG@10"] for one in report["systems"]}
    assert means["guides"] == 1.0
    assert set(means) == {"first stage", "guides", "narrow", "popularity"}
    assert report["systems"][0]["latency_ms"]["queries"] == 2
    assert any("narrow: " in told and "not timed" in told for told in report["warnings"])


def test_a_search_of_ones_own_is_asked(commands, judgments, tmp_path, cluster_url):
    template = tmp_path / "search.json"
    template.write_text('{"query": {"match_phrase": {"body": "%SearchText% a list"}}, "ext": {}}')
    done = commands.run(
        "evaluate", "--judgments", judgments, "--index", "guides", "--search", template, "--output", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert set(read_run(tmp_path, "first-stage")) == {"sort"}


@pytest.mark.parametrize(
    ("words", "flags", "status", "told"),
    [
        pytest.param(
            ["--index", "nowhere", "--policy", "guides"], {}, 1, "index_not_found", id="no such index"
        ),
        pytest.param(
            ["--index", "nowhere"], {}, 2, "--policy: none covers the index 'nowhere'", id="no policy"
        ),
        pytest.param(
            ["--index", "guides", "--policy", "x"], {}, 2, "--policy: there is no 'x'; there", id="unknown"
        ),
        pytest.param([], {}, 2, "--index: is needed", id="no index"),
        pytest.param(
            ["--index", "guides"], {"judgments": "nowhere"}, 1, "nowhere: can't be read", id="no file"
        ),
        pytest.param(
            ["--index", "guides"], {"config": "nowhere"}, 2, "nowhere: cannot be read", id="no config"
        ),
        pytest.param(
            ["--index", "guides", "--measures", "x"], {}, 1, "measure: 'x' is unknown", id="measure"
        ),
        pytest.param(["--index", "guides", "--nonsense", "x"], {}, 2, "--nonsense", id="unknown option"),
        pytest.param(
            ["--index", "guides", "--policy", "unserved"],
            {},
            1,
            "policy 'unserved': no search was reranked: no_worker (2)",
            id="no worker",
        ),
        pytest.param(
            ["--index", "guides"],
            {"cluster-url": "http://{nowhere}"},
            1,
            "the cluster cannot be reached",
            id="no cluster",
        ),
        pytest.param(
            ["--index", "guides", "--search", "rerank.toml"],
            {},
            1,
            "rerank.toml: not JSON",
            id="no JSON search",
        ),
        pytest.param(
            ["--index", "guides", "--search", "fixed.json"],
            {},
            1,
            "%SearchText% where the query",
            id="no place",
        ),
        pytest.param(
            ["--index", "guides", "--search", "wrong.json"],
            {},
            1,
            "parsing_exception",
            id="the cluster refuses",
        ),
    ],
)
def test_what_stands_in_the_way_is_told(commands, judgments, nowhere, words, flags, status, told):
    (commands.folder / "fixed.json").write_text('{"query": {"match_all": {}}}')
    (commands.folder / "wrong.json").write_text('{"query": {"nonsense": {"body": "%SearchText%"}}}')
    files = {"rerank.toml", "fixed.json", "wrong.json"}
    words = [str(commands.folder / word) if word in files else word for word in words]
    filled = {name: value.format(nowhere=nowhere) for name, value in flags.items()}
    done = commands.run("evaluate", *words, **{"judgments": str(judgments), **filled})
    assert done.returncode == status, done.stderr
    assert told.format(nowhere=nowhere) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_index_without_hits_is_told(commands, tmp_path):
    (tmp_path / "j.jsonl").write_text('{"query": "zzz", "grades": {"a": 1}}')
    done = commands.run("evaluate", "--judgments", tmp_path / "j.jsonl", "--index", "guides")
    assert done.returncode == 1
    assert "'guides' has no hits for any judged query" in done.stderr


@pytest.mark.parametrize("command", ["evaluate", "mine"])
def test_missing_rights_are_told(commands, judgments, forbidding, tmp_path, command):
    flags = {"cluster-url": forbidding, "output": str(tmp_path / "x")}
    done = commands.run(command, "--judgments", judgments, "--index", "guides", **flags)
    assert done.returncode == 1
    assert "403" in done.stderr
    assert "security_exception: no permissions for [indices:data/read/search]" in done.stderr
    assert not (tmp_path / "x").exists()
