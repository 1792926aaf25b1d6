"""``python -m rerankers``: its commands, their help and their mistakes."""

import io
import json
import sys

import pytest

from rerankers import FlagReranker, LightWeightFlagLLMReranker
from rerankers.__main__ import main

PAIRS = [("sort a list", "sort list by key"), ("sort a list", "parse json")]
LINES = "".join(json.dumps({"query": q, "passage": p}) + "\n\n" for q, p in PAIRS)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command line with a text on standard input; gives what it printed."""

    def run_command(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["rerankers", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        main()
        return capsys.readouterr().out

    return run_command


def test_score_prints_a_score_a_line_in_order(run, folder):
    expected = FlagReranker(folder, devices="cpu").compute_score(PAIRS)
    printed = run("score", folder, "--device", "cpu", stdin=LINES)
    assert [float(line) for line in printed.splitlines()] == pytest.approx(expected, abs=1e-4)


def test_scores_of_several_layers_share_a_line(run, gemma_folder):
    reranker = LightWeightFlagLLMReranker(gemma_folder, devices="cpu", compress_layers=[2], compress_ratio=2)
    expected = reranker.compute_score(PAIRS, cutoff_layers=[2, 4], prompt="key?")
    options = ("--prompt", "key?", "--cutoff_layers", 2, 4, "--compress_layers", 2, "--compress_ratio", 2)
    printed = run("score", gemma_folder, "--device", "cpu", *options, stdin=LINES)
    found = [tuple(map(float, line.split("\t"))) for line in printed.splitlines()]
    assert found == [pytest.approx(scores, abs=1e-4) for scores in zip(*expected, strict=True)]


def test_an_option_of_another_family_ends_with_a_sentence(run, bert_folder):
    with pytest.raises(SystemExit, match="unexpected keyword argument 'prompt'"):
        run("score", bert_folder, "--prompt", "key?", stdin=LINES)


def test_score_reads_a_file(run, bert_folder, tmp_path):
    (tmp_path / "pairs.jsonl").write_text(LINES)
    printed = run("score", bert_folder, "--device", "cpu", "--normalize", "--input", tmp_path / "pairs.jsonl")
    assert all(0 < float(line) < 1 for line in printed.splitlines())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "-:1: expected"),
        ('{"query": "a"}', "-:1: .*passage"),
        ('{"query": 1, "passage": "a"}', "pair 0"),
    ],
    ids=["no json", "no passage", "query is a number"],
)
def test_a_bad_pair_ends_with_a_sentence(run, bert_folder, line, told):
    with pytest.raises(SystemExit, match=told):
        run("score", bert_folder, "--device", "cpu", stdin=line)


def test_a_missing_file_ends_with_a_sentence(run, bert_folder, tmp_path):
    with pytest.raises(SystemExit, match=r"--input: .*nowhere"):
        run("score", bert_folder, "--input", tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="cannot find file"):
        run(
            "finetune",
            "--model_name_or_path",
            bert_folder,
            "--train_data",
            tmp_path / "nowhere",
            "--output_dir",
            "x",
        )


@pytest.mark.parametrize(
    ("command", "taught"),
    [
        ([], ["score", "finetune"]),
        (["score"], ['"passage"', "--peft_path", "--normalize"]),
        (["finetune"], ['"pos"', "--lora_rank", "--learning_rate", "--knowledge_distillation", "examples:"]),
    ],
    ids=["all", "score", "finetune"],
)
def test_help_teaches(run, capsys, command, taught):
    with pytest.raises(SystemExit) as end:
        run(*command, "--help")
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in taught)
    assert "--deepspeed" not in printed  # taken, but not needed to learn the command
