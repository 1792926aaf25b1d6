"""How texts become ids, and ids batches."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankers import FlagAutoReranker, FlagReranker
from rerankers.loading import HubAccess, load_prompt_tokenizer
from rerankers.sequences import split_rows, tokenize

PIECES = [
    "folder",
    "remove tree",
    " ",
    "   ",
    "\n",
    "\n\n",
    "sort list by key",
    "é漢",
    "\U0001f600",
    "x" * 90,
    "<s>",
]


@pytest.fixture(params=["bert", "xlmr", "llama"], scope="module")
def tokenizer(request):
    return load_prompt_tokenizer(str(request.getfixturevalue(f"{request.param}_folder")), HubAccess())


@pytest.fixture(params=["bert", "xlmr", "distilbert", "llama", "minicpm", "gemma"], scope="module")
def loaded(request):
    """A reranker of each family, and each kind of encoder."""
    folder = request.getfixturevalue(f"{request.param}_folder")
    return FlagAutoReranker.from_finetuned(folder, devices="cpu")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=12),
    st.integers(1, 400),
    st.sampled_from([1, 7, 64]),
)
def test_the_beginning_of_a_long_text_has_the_ids_of_the_whole(tokenizer, pieces, times, max_tokens):
    text = "".join(pieces) * times
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenize(tokenizer, [text], max_tokens)[text] == whole[:max_tokens]


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [
        pytest.param("sort list " * 100_000, True, id="words"),
        pytest.param("sort" * 100_000, False, id="one word"),
        pytest.param("sort list", False, id="short"),
    ],
)
def test_of_a_long_text_only_the_beginning_is_read(bert_folder, text, is_cut):
    reranker = FlagReranker(bert_folder, devices="cpu")
    read = []

    class Spy:
        def __call__(self, texts, **options):
            read.extend(map(len, texts))
            return reranker.tokenizer(texts, **options)

    tokenize(Spy(), [text], 64)
    assert sum(read) < 2000 if is_cut else max(read) == len(text)


@pytest.mark.parametrize(
    ("lengths", "budget", "size", "expected"),
    [
        pytest.param([], 9, 9, [], id="nothing"),
        pytest.param([9, 3, 3, 3], 9, 9, [1, 3], id="as many as fit beside the longest"),
        pytest.param([20, 3], 9, 9, [1, 1], id="one too long still goes"),
        pytest.param([1] * 5, 9, 2, [2, 2, 1], id="no more than the size"),
    ],
)
def test_rows_are_split_into_batches(lengths, budget, size, expected):
    rows = [{"input_ids": [0] * length} for length in lengths]
    batches = split_rows(rows, budget, size)
    assert [len(batch) for batch in batches] == expected
    assert [row for batch in batches for row in batch] == rows


LARGE = "remove tree path " * 60_000  # a megabyte
ODD = {
    "a large passage": ({}, ("sort", LARGE)),
    "a large query": ({}, (LARGE, "path")),
    "a large word": ({}, ("sort", "x" * 1_000_000)),
    "a query that may be longer than the pair": ({"query_max_length": 60, "max_length": 30}, (LARGE, LARGE)),
    "a pair of one token": ({"max_length": 1}, ("sort list", "path")),
    "special tokens in the texts": ({}, ("<s> </s> [CLS] [SEP]", "[PAD] <pad> <unk> </s></s> Yes")),
    "signs that are no letters": ({}, ("\x00\x1b \u200b\ufeff", "\U0010ffff\u202e")),
}


@pytest.mark.parametrize(("options", "pair"), ODD.values(), ids=ODD)
def test_odd_texts_and_lengths_have_a_score(loaded, options, pair):
    assert math.isfinite(loaded.compute_score(pair, **options))
