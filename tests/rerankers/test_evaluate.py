"""``python -m rerankers evaluate``: tiny models over judged queries."""

import json
import sys

import pytest
import torch
from transformers import BertModel

from rerankers import FlagReranker
from rerankers.__main__ import main
from rerankers.cosine import CosineModel, score_by_cosine

DOCUMENTS = {
    "a": "delete a folder",
    "b": "sort list by key",
    "c": "parse text",
    "d": "how to sort files",
    "e": "folder and all its files",
}
QUERIES = {"1": "delete folder", "2": "sort by key", "3": "parse files"}
FIRST_STAGE = {"1": ["e", "a", "d"], "2": ["d", "b"], "3": ["c", "d", "e"]}
GRADES = {"1": {"a": 2}, "2": {"b": 1}, "3": {"c": 1}}


@pytest.fixture
def files(tmp_path):
    """A collection in BEIR's layout, and a run of it."""
    (tmp_path / "qrels").mkdir()
    rows = [f"{q}\t{d}\t{grade}" for q, of_query in GRADES.items() for d, grade in of_query.items()]
    runs = [
        f"{q} Q0 {d} {rank} {9 - rank} x"
        for q, ds in FIRST_STAGE.items()
        for rank, d in enumerate(ds, start=1)
    ]
    for name, lines in {
        "corpus.jsonl": [json.dumps({"_id": id, "text": text}) for id, text in DOCUMENTS.items()],
        "queries.jsonl": [json.dumps({"_id": id, "text": text}) for id, text in QUERIES.items()],
        "qrels/test.tsv": ["query-id\tcorpus-id\tscore", *rows],
        "first.run": runs,
        "train.jsonl": ['{"query": "x", "grades": {"d": 5}}'],
    }.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command line; gives what it printed."""

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["rerankers", "evaluate", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    return run_command


def rank(scores, hits):
    return [hits[place] for place in sorted(range(len(hits)), key=lambda place: -scores[place])]


def test_models_are_measured_beside_the_first_stage_and_controls(
    run, files, reranker_folder, embedding_folder
):
    told = run(
        *(
            f"tiny={reranker_folder}",
            f"twice={reranker_folder}",
            "--beir",
            files,
            "--run",
            files / "first.run",
        ),
        *("--train", files / "train.jsonl", "--cosine", embedding_folder, "--output", files / "out"),
        *("--device", "cpu", "--max_length", 64, "--depth", 2, "--quiet"),
    )
    report = json.loads((files / "out" / "report.json").read_text())
    kinds = [(one["name"], one["kind"]) for one in report["systems"]]
    assert kinds == [
        ("first stage", "first stage"),
        ("cosine", "control"),
        ("tiny", "model"),
        ("twice", "model"),
        ("popularity", "control"),
    ]
    assert report["systems"][0]["means"]["MRR@10"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert report["systems"][2]["means"] == report["systems"][3]["means"]
    assert report["systems"][2]["latency_ms"]["queries"] == 3
    assert "tiny" in told

    reranker = FlagReranker(str(reranker_folder), devices="cpu", max_length=64)
    for id, hits in FIRST_STAGE.items():
        hits = hits[:2]
        scores = reranker.compute_score([(QUERIES[id], DOCUMENTS[one]) for one in hits])
        lines = (files / "out" / "tiny.run").read_text().splitlines()
        assert [line.split()[2] for line in lines if line.split()[0] == id] == rank(scores, hits)


def test_without_a_run_the_first_stage_is_bm25(run, files, reranker_folder):
    told = run(reranker_folder, "--beir", files, "--device", "cpu", "--max_length", 64, "--most", 2, "--json")
    report = json.loads(told)
    assert (report["queries"], report["systems"][1]["name"]) == (2, reranker_folder.name)
    assert report["systems"][0]["means"]["nDCG@10"] == 1.0  # BM25 finds these at once


def test_the_cosine_is_that_of_mean_pooled_vectors(embedding_folder):
    model = CosineModel(str(embedding_folder), "cpu", 64)
    scores = score_by_cosine(
        model, QUERIES, {id: [DOCUMENTS[one] for one in hits] for id, hits in FIRST_STAGE.items()}
    )
    bert = BertModel.from_pretrained(embedding_folder).eval()

    def embed(text):
        given = model._tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            return bert(**given).last_hidden_state[0].mean(dim=0)

    for id, hits in FIRST_STAGE.items():
        wanted = [
            torch.cosine_similarity(embed(QUERIES[id]), embed(DOCUMENTS[one]), dim=0).item() for one in hits
        ]
        assert scores[id] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param([], "expected --beir, or both --judgments and --documents", id="no collection"),
        pytest.param(
            ["--beir", "{files}", "--split", "dev"], "qrels/dev.tsv: is missing", id="no such split"
        ),
        pytest.param(["--beir", "{files}", "--depth", 0], "--depth: expected a whole number", id="depth"),
        pytest.param(["--beir", "{files}", "--most", 0], "--most: expected a whole number", id="most"),
        pytest.param(
            ["--beir", "{files}", "--run", "{files}/queries.jsonl"],
            "queries.jsonl:1: expected query Q0",
            id="run",
        ),
        pytest.param(
            ["--beir", "{files}", "--run", "{files}/other.run"],
            "has no 'zzz', which --run has",
            id="stale run",
        ),
        pytest.param(
            ["--beir", "{files}", "--run", "{files}/empty.run"],
            "no hits for any judged query",
            id="other run",
        ),
        pytest.param(["--beir", "{files}", "--cosine", "nowhere"], "nowhere: no such folder", id="cosine"),
        pytest.param(
            ["name=", "--beir", "{files}"], "models: expected [NAME=]MODEL[,ADAPTER]", id="a name alone"
        ),
    ],
)
def test_a_mistake_ends_with_a_sentence(run, files, reranker_folder, options, told):
    (files / "other.run").write_text("1 Q0 zzz 1 1 x\n")
    (files / "empty.run").write_text("9 Q0 a 1 1 x\n")
    words = [str(word).format(files=files) for word in options]
    with pytest.raises(SystemExit) as ended:
        run(reranker_folder, *words)
    assert str(ended.value).startswith("python -m rerankers evaluate: ")
    assert told in str(ended.value)
