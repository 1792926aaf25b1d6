"""What is measured, not how fast it was: tokens, operations, pairs, and the lines that are printed."""

import json
import sys

import pytest
import torch

from rerankers import (
    BadArgument,
    FlagLLMReranker,
    FlagReranker,
    LayerWiseFlagLLMReranker,
    LightWeightFlagLLMReranker,
)
from rerankers.__main__ import main
from rerankers.base import ScoreOptions
from rerankers.commands.bench import make_pairs, read_lengths
from rerankers.commands.speed import count_work, measure_speed
from rerankers.families.decoder import PromptOptions
from rerankers.families.layered import LayerOptions

PAIRS = [("sort a list", "sort list by key"), ("sort a list", "parse json text " * 4)]
SMALL = ("--passages", "3", "--tokens", "2-5", "--rounds", "2", "--device", "cpu")


def count_by_hand(reranker, pairs, options, n_layers, width):
    """2 · parameters · tokens for the linear layers of each layer, 4 · tokens² · width for attention.

    An encoder's last layer has all tokens' keys and values and but one token of everything else.
    """
    lengths = [len(row["input_ids"]) for row in reranker.encode_pairs(pairs, options)]
    if isinstance(reranker, FlagReranker):
        projections, feed_forward = width**2, 2 * width * 48
        full = [2 * (4 * projections + feed_forward) * n + 4 * n * n * width for n in lengths]
        last = [4 * projections * n + 2 * (2 * projections + feed_forward) + 4 * n * width for n in lengths]
        return lengths, (n_layers - 1) * sum(full) + sum(last)
    in_layers = sum(
        module.weight.numel()
        for name, module in reranker.model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and any(f"layer{s}.{n}." in name for s in ("", "s") for n in range(n_layers))
    )
    return lengths, sum(2 * in_layers * n + 4 * n_layers * n * n * width for n in lengths)


@pytest.mark.parametrize(
    ("name", "make", "options", "n_layers", "head"),
    [
        pytest.param("bert_folder", FlagReranker, ScoreOptions(), 2, 2 * (32 * 32 + 32), id="encoder"),
        pytest.param("llama_folder", FlagLLMReranker, PromptOptions(), 2, 2 * 32, id="language model"),
        pytest.param("minicpm_folder", LayerWiseFlagLLMReranker, LayerOptions(), 4, 2 * 32, id="all layers"),
        pytest.param(
            "minicpm_folder", LayerWiseFlagLLMReranker, LayerOptions(cutoff_layers=2), 2, 2 * 32, id="two"
        ),
    ],
)
def test_tokens_and_operations_are_those_of_the_layers_that_run(request, name, make, options, n_layers, head):
    """Batches and their padding change nothing; a head reads one token a pair."""
    blank = {"query_instruction_for_rerank": None, "passage_instruction_for_rerank": None}
    cutoff = {"cutoff_layers": options.cutoff_layers} if isinstance(options, LayerOptions) else {}
    reranker = make(request.getfixturevalue(name), devices="cpu", **blank, **cutoff)
    lengths, expected = count_by_hand(reranker, PAIRS, options, n_layers, width=32)
    assert count_work(reranker, PAIRS) == (sum(lengths), expected + head * len(PAIRS))


def test_compressed_passages_cost_less(gemma_folder):
    plain = LightWeightFlagLLMReranker(gemma_folder, devices="cpu")
    short = LightWeightFlagLLMReranker(gemma_folder, devices="cpu", compress_layers=[2], compress_ratio=4)
    (tokens, flops), (tokens_short, flops_short) = (count_work(r, PAIRS) for r in (plain, short))
    assert tokens == tokens_short
    assert flops_short < flops


@pytest.mark.parametrize("name", ["bert_folder", "xlmr_folder", "llama_folder"])
def test_pairs_are_made_of_the_vocabulary(request, name):
    tokenizer = FlagReranker if name != "llama_folder" else FlagLLMReranker
    tokenizer = tokenizer(request.getfixturevalue(name), devices="cpu").tokenizer
    pairs = make_pairs(tokenizer, 20, (3, 9))
    assert pairs == make_pairs(tokenizer, 20, (3, 9))
    assert len({query for query, _ in pairs}) == 1
    assert {len(passage.split()) for _, passage in pairs} == set(range(3, 10))


@pytest.mark.parametrize(("text", "expected"), [("30-400", (30, 400)), ("7", (7, 7))])
def test_lengths_are_read(text, expected):
    assert read_lengths(text) == expected


@pytest.mark.parametrize("text", ["", "a", "0", "9-3", "3-", "-3", "1-2-3"])
def test_lengths_that_are_none_are_refused(text):
    with pytest.raises(BadArgument, match="--tokens: expected"):
        read_lengths(text)


def test_equal_pairs_are_refused(bert_folder):
    """They would be scored once and counted twice."""
    with pytest.raises(BadArgument, match="different"):
        measure_speed(FlagReranker(bert_folder, devices="cpu"), PAIRS + PAIRS, rounds=1)


def test_a_model_on_several_devices_is_refused(bert_folder):
    """The work of other processes can't be counted."""
    with pytest.raises(BadArgument, match="expected one to measure"):
        measure_speed(FlagReranker(bert_folder, devices=["cpu", "cpu"]), PAIRS, rounds=1)


@pytest.fixture
def run(monkeypatch, capsys):
    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["rerankers", "bench", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    return run_command


def test_the_command_tells_what_was_measured(run, bert_folder):
    printed = run(bert_folder, *SMALL)
    names = [line.partition("  ")[0] for line in printed.splitlines()]
    assert names[:3] == ["model", "machine", "pairs"]
    assert "share of peak" in names
    assert "torch " in printed.splitlines()[1]


def test_the_object_holds_consistent_figures(run, gemma_folder, tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"query": q, "passage": p}) + "\n" for q, p in PAIRS))
    told = json.loads(run(gemma_folder, "--pairs", file, "--rounds", 3, "--cutoff_layers", 2, "--json"))
    assert (told["pairs"], told["rounds"], told["class_name"]) == (2, 3, "LightWeightFlagLLMReranker")
    assert told["best_pairs_per_s"] == pytest.approx(2 / told["best_s"])
    assert told["s_per_100_pairs"] == pytest.approx(50 * told["median_s"])
    assert told["share_of_peak"] == pytest.approx(told["flops"] / told["best_s"] / told["peak_flops_per_s"])
    assert 0 < told["best_s"] <= told["median_s"]
    assert told["peak_memory_bytes"] > 50e6  # torch alone


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--rounds", 0), "--rounds: expected"),
        (("--passages", 0), "--passages: expected"),
        (("--pairs", "nowhere"), "--pairs: .*nowhere"),
        (("--cutoff_layers", 2), "unexpected keyword argument 'cutoff_layers'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_ends_with_a_sentence(run, bert_folder, options, told):
    with pytest.raises(SystemExit, match=told):
        run(bert_folder, *options)
