"""``python -m rerankers``: its commands, their help and their mistakes."""

import io
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from rerankers import FlagLLMReranker, FlagReranker, LightWeightFlagLLMReranker
from rerankers.__main__ import main

PAIRS = [("sort a list", "sort list by key"), ("sort a list", "parse json")]
LINES = "".join(json.dumps({"query": q, "passage": p}) + "\n\n" for q, p in PAIRS)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command line with a text on standard input; gives what it printed."""

    def run_command(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["rerankers", *map(str, arguments)])
        content = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
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


def test_what_a_language_model_is_asked_can_be_given(run, llama_folder):
    asked = {
        "query_instruction_for_rerank": "sort",
        "query_instruction_format": "{} tree: {}",
        "passage_instruction_for_rerank": "path",
        "passage_instruction_format": "{}={}",
        "separator": " and ",
        "prompt": "key?",
    }
    reranker = FlagLLMReranker(llama_folder, devices="cpu", answers=["Yes", "remove"], **asked)
    options = [text for name, value in asked.items() for text in (f"--{name}", value)]
    printed = run("score", llama_folder, "--answers", "Yes", "remove", *options, stdin=LINES)
    assert [float(line) for line in printed.splitlines()] == pytest.approx(
        reranker.compute_score(PAIRS), abs=1e-4
    )


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
        ('{"query": 1, "passage": "a"}', "-:1: .*query is int"),
        (b'{"query": "a", "passage": "\xff"}', "-:1: expected .*can't decode byte 0xff"),
    ],
    ids=["no json", "no passage", "query is a number", "no utf-8"],
)
def test_a_bad_pair_ends_with_a_sentence(run, bert_folder, line, told):
    with pytest.raises(SystemExit, match=told):
        run("score", bert_folder, "--device", "cpu", stdin=line)


def test_a_reader_that_goes_away_ends_it_quietly(bert_folder, tmp_path):
    """As `head` does."""
    (tmp_path / "pairs.jsonl").write_text(LINES * 200)
    command = [sys.executable, "-m", "rerankers", "score", bert_folder, "--chunk_size", "1"]
    command += ["--device", "cpu", "--input", tmp_path / "pairs.jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        float(process.stdout.readline())
        process.stdout.close()
        assert process.wait(timeout=120) == 1
        assert "Error" not in process.stderr.read()


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 100])
def test_what_comes_before_a_bad_line_is_scored(run, capsys, bert_folder, chunk_size):
    """However many pairs are scored at a time, and the line is named by its number in the file."""
    expected = FlagReranker(bert_folder, devices="cpu").compute_score(PAIRS + PAIRS[:1])
    lines = LINES + LINES.splitlines()[0] + "\n[]\n" + LINES
    with pytest.raises(SystemExit, match="-:6: expected"):
        run("score", bert_folder, "--device", "cpu", "--chunk_size", chunk_size, stdin=lines)
    printed = capsys.readouterr().out
    assert [float(line) for line in printed.splitlines()] == pytest.approx(expected, abs=1e-4)


def test_scores_are_printed_before_the_next_pairs_are_read(monkeypatch, capsys, bert_folder):
    """So a pipe gets them while its other end still writes."""
    n_printed = [0]

    def type_lines():
        for line in LINES.splitlines():
            yield line.encode()
            n_printed.append(n_printed[-1] + capsys.readouterr().out.count("\n"))

    monkeypatch.setattr(sys, "argv", ["rerankers", "score", str(bert_folder), "--chunk_size", "1"])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=type_lines()))
    main()
    assert n_printed == [0, 1, 1, 2, 2]


class Screen(io.StringIO):
    """What a terminal is to a program that writes to it."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "options", "shown"),
    [
        pytest.param(Screen, (), "2/2", id="somebody looks"),
        pytest.param(Screen, ("--quiet",), "", id="but wants none"),
        pytest.param(io.StringIO, (), "", id="nobody looks"),
    ],
)
def test_progress_is_shown_to_who_sees_it(run, monkeypatch, bert_folder, tmp_path, stream, options, shown):
    (tmp_path / "pairs.jsonl").write_text(LINES)
    monkeypatch.setattr(sys, "stderr", stream())
    run("score", bert_folder, "--device", "cpu", "--input", tmp_path / "pairs.jsonl", *options)
    found = [line for line in sys.stderr.getvalue().split("\r") if "pairs" in line]
    assert shown in found[-1] if shown else not found


def test_a_score_that_is_no_number_is_told_by_its_line(run, bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SystemExit, match=r"from line 1 on, pair 0 .*the model gave nan"):
        run("score", folder, "--device", "cpu", stdin=LINES)
    with pytest.raises(SystemExit, match="from line 3 on, pair 0"):
        run("score", folder, "--device", "cpu", stdin="\n\n" + LINES)


@pytest.mark.parametrize("size", [0, -1])
def test_a_chunk_of_nothing_is_refused(run, bert_folder, size):
    with pytest.raises(SystemExit, match="--chunk_size: expected a whole number"):
        run("score", bert_folder, "--chunk_size", size, stdin=LINES)


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
        ([], ["score", "info", "bench", "finetune"]),
        (["score"], ['"passage"', "--peft_path", "--normalize", "--revision", "--cache_dir", "--quiet"]),
        (["info"], ["--peft_path", "--revision", "--json", "examples:"]),
        (["bench"], ["--pairs", "--passages", "--rounds", "--cutoff_layers", "examples:"]),
        (["finetune"], ['"pos"', "--lora_rank", "--learning_rate", "--knowledge_distillation", "examples:"]),
    ],
    ids=["all", "score", "info", "bench", "finetune"],
)
def test_help_teaches(run, capsys, command, taught):
    with pytest.raises(SystemExit) as end:
        run(*command, "--help")
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in taught)
    assert "--hub_model_id" not in printed  # taken, but not needed to learn the command
