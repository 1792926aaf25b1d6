"""The raw target: read, and rewritten in two parameters only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_plugin.rewrite import read_parameters, set_window


@pytest.mark.parametrize(
    ("target", "parameters"),
    [
        pytest.param("/_search", {}, id="none"),
        pytest.param("/_search?", {}, id="empty"),
        pytest.param("/_search?q=red+wine%21&pretty", {"q": "red wine!", "pretty": ""}, id="decoded"),
        pytest.param("/_search?q=s%C3%BC%C3%9F", {"q": "süß"}, id="utf-8"),
        pytest.param("/_search?q=s\xc3\xbc\xc3\x9f", {"q": "süß"}, id="utf-8 that was not encoded"),
        pytest.param("/_search?q=%FF", {"q": "�"}, id="not utf-8"),
        pytest.param("/_search?size=1&size=2", {"size": "2"}, id="the last counts"),
        pytest.param("/_search?size=1;from=2", {"size": "1", "from": "2"}, id="a semicolon parts"),
        pytest.param("/_search?q=a=b", {"q": "a=b"}, id="the first equals sign counts"),
        pytest.param("/_search?&&q=a&", {"q": "a"}, id="empty parameters"),
        pytest.param("/_search?q=what?", {"q": "what?"}, id="question mark"),
        pytest.param("/_search?s%69ze=3", {"size": "3"}, id="encoded name"),
    ],
)
def test_parameters_are_read_as_the_engines_do(target, parameters):
    assert read_parameters(target) == parameters


@pytest.mark.parametrize(
    ("target", "rewritten"),
    [
        pytest.param("/w/_search", "/w/_search?from=0&size=50", id="added"),
        pytest.param("/w/_search?", "/w/_search?from=0&size=50", id="added to nothing"),
        pytest.param("/w/_search?q=a", "/w/_search?q=a&from=0&size=50", id="added behind"),
        pytest.param(
            "/w/_search?size=5&q=a&from=10", "/w/_search?size=50&q=a&from=0", id="replaced in place"
        ),
        pytest.param("/w/_search?size=5&q=a", "/w/_search?size=50&q=a&from=0", id="one replaced, one added"),
        pytest.param("/w/_search?size=5&size=6", "/w/_search?size=50&size=50&from=0", id="each repeated one"),
        pytest.param("/w/_search?s%69ze=5", "/w/_search?s%69ze=50&from=0", id="encoded name"),
        pytest.param("/w/_search?size", "/w/_search?size=50&from=0", id="no value"),
        pytest.param("/w/_search?a=1;size=5;;b", "/w/_search?a=1;size=50;;b&from=0", id="semicolons"),
        pytest.param(
            "/%3Cw-%7Bnow%2Fd%7D%3E/_search?&pretty&x=1&x=%20+2&",
            "/%3Cw-%7Bnow%2Fd%7D%3E/_search?&pretty&x=1&x=%20+2&&from=0&size=50",
            id="all else as it was",
        ),
        pytest.param("/w/_search?q=size=3", "/w/_search?q=size=3&from=0&size=50", id="in a value"),
    ],
)
def test_the_window_is_set(target, rewritten):
    assert set_window(target, 50) == rewritten


RAW_NAMES = st.sampled_from(["q", "pretty", "s%69", "a%26b", "", "from", "size", "fr%6Fm", "sizes"])
RAW_VALUES = st.text("abz0%+=?/\xfc", max_size=6)
PARTS = st.lists(st.tuples(RAW_NAMES, st.sampled_from(["", "="]), RAW_VALUES).map("".join), max_size=8)


@given(parts=PARTS, separator=st.sampled_from("&;"), size=st.integers(1, 10_000))
def test_other_parameters_keep_their_bytes(parts, separator, size):
    """Whatever else is in the target stays, in its order, and the window is what an engine reads."""
    target = "/w%2C/_search?" + separator.join(parts)
    rewritten = set_window(target, size)
    read = read_parameters(rewritten)
    assert (read["from"], read["size"]) == ("0", str(size))
    windowed = {"from": "from=0", "fr%6Fm": "fr%6Fm=0", "size": f"size={size}"}
    kept = [windowed.get(part.partition("=")[0], part) for part in parts]
    assert rewritten.startswith("/w%2C/_search?" + separator.join(kept))
