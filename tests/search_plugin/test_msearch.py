"""Multi-searches cut apart and put together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_plugin import Item, Responses, UnreadableAnswer, join_items, split_items

LINES = st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=5)


@given(st.lists(st.tuples(LINES, LINES), min_size=1, max_size=4))
def test_items_are_split_and_joined_byte_for_byte(lines):
    body = "".join(f"{header}\n{search}\n" for header, search in lines).encode()
    if not body.startswith(b"\n"):
        assert join_items(split_items(body)) == body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}\n{}", id="no line's end at the end"),
        pytest.param(b"{}\n", id="a header only"),
        pytest.param(b"\n{}\n{}\n", id="a blank first line"),
    ],
)
def test_other_bodies_are_refused(body):
    with pytest.raises(ValueError, match="not pairs"):
        split_items(body)


@pytest.mark.parametrize(
    ("header", "indices"),
    [
        (b"{}", ("default",)),
        (b"", ("default",)),
        (b" \r", ("default",)),
        (b'{"index":"a"}', ("a",)),
        (b'{"index":"a,b-*"}', ("a", "b-*")),
        (b'{"index":["a","b"]}', ("a", "b")),
        (b'{"indices":["a"]}', ("a",)),
        (b'{"index":[]}', ("default",)),
        (b'{"index":null,"routing":"x"}', ("default",)),
    ],
)
def test_an_items_indices_stand_in_its_header(header, indices):
    assert Item(header, b"{}").read_indices(("default",)) == indices


@pytest.mark.parametrize("header", [b"{", b"[]", b"1", b'{"index":1}', b'{"index":[1]}'])
def test_a_wrong_header_is_refused(header):
    with pytest.raises(ValueError, match=r".*"):
        Item(header, b"{}").read_indices(())


def test_single_answers_are_cut_out_and_put_back():
    text = '{ "took" : 1, "responses" : [ {"hits":{}, "a":1.0E-5} , {"error":1} ] }'
    responses = Responses.parse(text.encode())
    assert responses.texts() == ['{"hits":{}, "a":1.0E-5}', '{"error":1}']
    assert responses.join(responses.texts()) == text
    assert responses.join(["1", "2"]) == '{ "took" : 1, "responses" : [ 1 , 2 ] }'


@pytest.mark.parametrize("text", ["", "[]", '{"error":1}', '{"responses":1}', '{"responses":[', "{}"])
def test_another_answer_is_unreadable(text):
    with pytest.raises(UnreadableAnswer):
        Responses.parse(text.encode())
