"""The pipeline: pairs in, scores out, whatever the batches."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import rerankers
from rerankers import AbsReranker, BadArgument, BadPairs, BadScore, FlagReranker
from rerankers.sequences import Limits

TOLERANCE = 1e-4
PAIRS = [
    ("how do I delete a folder", "remove a tree and all its files"),
    ("sort a list", "sort list by key " * 9),
    ("sort a list", ""),
    ("", "parse json"),
    ("how do I delete a folder", "text"),
]


def test_public_names_are_there():
    assert all(hasattr(rerankers, name) for name in rerankers.__all__)


def test_one_pair_gives_a_float_and_a_list_gives_a_list(reranker):
    assert isinstance(reranker.compute_score(PAIRS[0]), float)
    assert isinstance(reranker.compute_score(list(PAIRS[0])), float)
    assert len(reranker.compute_score([PAIRS[0]])) == 1
    assert reranker.compute_score([]) == []


def test_batch_agrees_with_single(reranker):
    singly = [reranker.compute_score(pair) for pair in PAIRS]
    assert reranker.compute_score(PAIRS) == pytest.approx(singly, abs=TOLERANCE)
    assert max(singly) - min(singly) > 100 * TOLERANCE  # the model does tell them apart


@pytest.mark.parametrize("batch_size", [1, 2, 3, 128])
def test_batch_size_changes_no_score(reranker, batch_size):
    expected = reranker.compute_score(PAIRS)
    assert reranker.compute_score(PAIRS, batch_size=batch_size) == pytest.approx(expected, abs=TOLERANCE)


def test_scores_come_in_the_order_of_the_pairs(reranker):
    expected = reranker.compute_score(PAIRS)
    assert reranker.compute_score(PAIRS[::-1]) == pytest.approx(expected[::-1], abs=TOLERANCE)


def test_equal_pairs_are_scored_once_and_tie(reranker):
    """Each distinct pair passes the model once."""
    reranker.model = CountRows(reranker.model)
    scores = reranker.compute_score([PAIRS[0], PAIRS[1], PAIRS[0], PAIRS[0]])
    assert scores[0] == scores[2] == scores[3] != scores[1]
    assert reranker.model.n_rows == 2


def test_like_lengths_share_a_batch(reranker):
    """A batch of rows of like length is all but free of padding."""
    reranker.model = CountRows(reranker.model)
    reranker.compute_score(
        [("a", "list " * n) for n in (1, 30) * 5] + [("b", "list " * 30)] * 5, batch_size=2
    )
    assert reranker.model.n_padding == 0


def test_normalize_gives_probabilities(reranker):
    logits = reranker.compute_score(PAIRS)
    expected = [1 / (1 + math.exp(-x)) for x in logits]
    assert reranker.compute_score(PAIRS, normalize=True) == pytest.approx(expected)


def test_instructions_are_put_before_the_texts(folder):
    """Also with a new line typed as two characters into the format."""
    plain = FlagReranker(folder, devices="cpu")
    instructed = FlagReranker(
        folder,
        devices="cpu",
        query_instruction_for_rerank="sort",
        query_instruction_format="{}:\\n{}",
        passage_instruction_for_rerank="tree ",
    )
    assert instructed.compute_score(("a", "b")) == plain.compute_score(("sort:\na", "tree b"))


@pytest.mark.parametrize(
    ("limits", "n_query", "n_passage"),
    [
        pytest.param(Limits(30, 40, 40), 5, 20, id="short enough"),
        pytest.param(Limits(3, 40, 40), 3, 20, id="query cut on its own"),
        pytest.param(Limits(30, 40, 16), 5, None, id="passage cut to the total"),
    ],
)
def test_too_long_a_pair_loses_the_end_of_its_passage(bert_folder, limits, n_query, n_passage):
    reranker = FlagReranker(bert_folder, devices="cpu")
    (row,) = reranker.encoder.encode([("list key tree path sort", "json " * 20)], limits)
    n_passage = limits.total - 3 - n_query if n_passage is None else n_passage
    assert row["token_type_ids"] == [0] * (n_query + 2) + [1] * (n_passage + 1)


def test_a_passage_may_have_a_limit_of_its_own(reranker):
    """Of the constructor or of the call; what the limit leaves is what is scored."""
    pair, cut = ("sort list", "tree path key json remove"), ("sort list", "tree path")
    (row,) = reranker.encode_pairs([cut], reranker._defaults)
    (both,) = reranker.encode_pairs([pair], reranker._defaults)
    n_cut = len(both["input_ids"]) - len(row["input_ids"])
    n_passage = len(reranker.tokenizer(pair[1], add_special_tokens=False)["input_ids"]) - n_cut
    assert reranker.compute_score(pair, passage_max_length=n_passage) == reranker.compute_score(cut)
    assert reranker.compute_score(pair, passage_max_length=n_passage) != reranker.compute_score(pair)


def test_a_query_that_leaves_no_room_is_cut_only_where_the_model_ends(folder):
    """Of 64 positions: what fits is left as published rerankers were run, what doesn't obeys the total."""
    reranker = FlagReranker(folder, devices="cpu")
    (fitting,) = reranker.encoder.encode([("list " * 20, "tree " * 9)], Limits(20, 20, 20))
    assert len(fitting["input_ids"]) > 20
    (overlong,) = reranker.encoder.encode([("list " * 90, "tree " * 90)], Limits(60, 60, 60))
    assert len(overlong["input_ids"]) == 60
    assert math.isfinite(
        reranker.compute_score(("list " * 90, "tree " * 90), max_length=900, query_max_length=800)
    )


def test_special_tokens_go_around_and_between_the_texts(xlmr_folder):
    """The tokenizer's own template, also around empty texts."""
    reranker = FlagReranker(xlmr_folder, devices="cpu")
    start, end = reranker.tokenizer.bos_token_id, reranker.tokenizer.eos_token_id
    rows = reranker.encoder.encode([("", "")], Limits(9, 9, 9))
    assert rows == [{"input_ids": [start, end, end, end]}]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param("text", "found str", id="a text"),
        pytest.param(None, "found NoneType", id="nothing"),
        pytest.param(7, "found int", id="a number"),
        pytest.param(("query",), "not 1 elements", id="a single text"),
        pytest.param(("query", "passage", "more"), "not 3 elements", id="three texts"),
        pytest.param(("query", None), "a single pair", id="a pair without passage"),
        pytest.param([("a", "b"), ("a", None)], "pair 1: .*str, NoneType", id="second without passage"),
        pytest.param([("a", "b"), "ab"], "pair 1: .*found str", id="a text among pairs"),
        pytest.param([("a", "b"), ("a", "b"), 3], "pair 2: .*found int", id="a number among pairs"),
        pytest.param([("a", "b", "c")], "pair 0: ", id="three texts among pairs"),
        pytest.param([()], "pair 0: .*nothing", id="an empty pair"),
        pytest.param([(b"a", "b")], "pair 0: .*bytes, str", id="bytes"),
    ],
)
def test_bad_pairs_are_refused_by_index(reranker, given, told):
    with pytest.raises(BadPairs, match=told):
        reranker.compute_score(given)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        pytest.param({"cutoff_layers": [3]}, TypeError, "cutoff_layers", id="unknown name"),
        pytest.param({"batch_size": 0}, BadArgument, "batch_size", id="no batch"),
        pytest.param({"max_length": -1}, BadArgument, "max_length", id="negative length"),
        pytest.param({"query_max_length": 1.5}, BadArgument, "query_max_length", id="half a token"),
        pytest.param({"passage_max_length": 0}, BadArgument, "passage_max_length", id="no passage"),
    ],
)
def test_bad_arguments_are_refused_by_name(reranker, folder, arguments, error, told):
    with pytest.raises(error, match=told):
        reranker.compute_score(PAIRS, **arguments)
    with pytest.raises(error, match=told):
        FlagReranker(folder, **arguments)


def test_half_a_surrogate_pair_is_read_as_unknown(reranker):
    assert reranker.compute_score(("a", "b \ud83d")) == reranker.compute_score(("a", "b \ufffd"))


@pytest.mark.parametrize("number", [math.nan, math.inf], ids=str)
def test_a_score_that_is_no_number_is_an_error_naming_the_pair(reranker, number):
    reranker.model = Spoil(reranker.model, number)
    with pytest.raises(BadScore, match=r"pair 2 \(query of 11 characters, passage of 0\)"):
        reranker.compute_score([PAIRS[0], PAIRS[1], PAIRS[2]])


def test_out_of_memory_makes_batches_smaller_for_good(reranker):
    """Scores stay, later calls start with what was learned."""
    expected = reranker.compute_score(PAIRS)
    reranker.model = TightMemory(reranker.model, max_tokens=70)
    assert reranker.compute_score(PAIRS) == pytest.approx(expected, abs=TOLERANCE)
    assert reranker.model.n_failures > 0
    reranker.model.n_failures = 0
    reranker.compute_score(PAIRS)
    assert reranker.model.n_failures == 0


def test_a_single_pair_out_of_memory_is_an_error(reranker):
    reranker.model = TightMemory(reranker.model, max_tokens=1)
    with pytest.raises(torch.OutOfMemoryError):
        reranker.compute_score(PAIRS)


def test_other_errors_of_the_model_come_through(reranker):
    """They are no reason to try again with less."""
    (table,) = (part for name, part in reranker.model.named_modules() if name.endswith("word_embeddings"))
    table.weight = torch.nn.Parameter(torch.zeros(2, 32))
    with pytest.raises((RuntimeError, IndexError), match="out of range"):
        reranker.compute_score(PAIRS)


def test_threads_with_different_lengths_share_a_reranker(reranker):
    """No tokenizer or model state is shared between calls."""
    lengths = [12, 24, 48] * 8
    expected = {n: reranker.compute_score(PAIRS, max_length=n) for n in set(lengths)}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: reranker.compute_score(PAIRS, max_length=n), lengths))
    for n, scores in zip(lengths, found, strict=True):
        assert scores == pytest.approx(expected[n], abs=TOLERANCE)


def test_flag_reranker_is_an_abs_reranker(reranker):
    assert isinstance(reranker, AbsReranker)


class Wrapped(torch.nn.Module):
    """A model with something of its own before or after."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner


class CountRows(Wrapped):
    """Counts what passes through."""

    n_rows = 0
    n_padding = 0

    def forward(self, **batch):
        lengths = find_lengths(batch)
        self.n_rows += len(lengths)
        self.n_padding += batch["input_ids"].numel() - int(lengths.sum())
        return self.inner(**batch)


class Spoil(Wrapped):
    """Scores the shortest row of a batch with something that is no number."""

    def __init__(self, inner, number):
        super().__init__(inner)
        self.number = number

    def forward(self, **batch):
        output = self.inner(**batch)
        output.logits[find_lengths(batch).argmin()] = self.number
        return output


class TightMemory(Wrapped):
    """Has room for so many tokens only, padding counted."""

    def __init__(self, inner, max_tokens):
        super().__init__(inner)
        self.max_tokens = max_tokens
        self.n_failures = 0

    def forward(self, **batch):
        if batch["input_ids"].numel() > self.max_tokens:
            self.n_failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(**batch)


def find_lengths(batch):
    """Of packed or padded rows."""
    return batch["lengths"] if "lengths" in batch else batch["attention_mask"].sum(dim=1)
