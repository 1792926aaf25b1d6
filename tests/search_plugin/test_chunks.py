"""Long texts to chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_plugin.chunks import combine, cut
from search_plugin.policy import Chunking


def words(count, start=0):
    return " ".join(f"w{number}" for number in range(start, start + count))


@pytest.mark.parametrize(
    ("text", "options", "chunks"),
    [
        pytest.param("", {}, [], id="nothing"),
        pytest.param(" \n", {}, [], id="blank"),
        pytest.param("red  wine\n", {}, ["red  wine"], id="short"),
        pytest.param(words(45), {"by": "word"}, [words(20), words(20, 20), words(5, 40)], id="words"),
        pytest.param(
            words(45),
            {"by": "word", "overlap": 5},
            [words(20), words(20, 15), words(15, 30)],
            id="overlap",
        ),
        pytest.param(
            f"{words(12)}. {words(12, 12)}! {words(3, 24)}",
            {},
            [f"{words(12)}.", f"{words(12, 12)}! {words(3, 24)}"],
            id="sentences",
        ),
        pytest.param(words(45), {}, [words(20), words(20, 20), words(5, 40)], id="no sentence ends"),
        pytest.param(words(45), {"by": "word", "score": "first"}, [words(20)], id="first"),
        pytest.param(
            f"{words(20)} {words(19, 20)} Red {words(19, 40)} wine",
            {"by": "word", "most": 2},
            [f"{words(19, 20)} Red", f"{words(19, 40)} wine"],
            id="those with the query's words, in the text's order",
        ),
        pytest.param(words(60), {"by": "word", "most": 1}, [words(20)], id="none has: the first"),
    ],
)
def test_a_text_is_cut(text, options, chunks):
    assert cut(text, Chunking(**{"words": 20, **options}), "red wine") == chunks


@given(st.text(max_size=400), st.integers(20, 40), st.integers(0, 10), st.sampled_from(["word", "sentence"]))
def test_no_word_is_lost(text, size, overlap, by):
    chunks = cut(text, Chunking(words=size, overlap=overlap, by=by, most=50), "")
    assert set(" ".join(chunks).split()) == set(text.split())
    assert all(len(chunk.split()) <= size for chunk in chunks)


@pytest.mark.parametrize(("how", "score"), [("max", 3.0), ("mean", 1.0), ("first", 3.0)])
def test_scores_of_chunks_are_combined(how, score):
    assert combine([3.0] if how == "first" else [1.0, 3.0, -1.0], how) == score
