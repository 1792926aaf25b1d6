"""Spans of values in a JSON text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_plugin.raw_json import replace_surrogates, scan_array, scan_document, scan_object, scan_value

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text('ab ,:{}[]"\\\n\x00ß🍷\ud800\udcff', max_size=8)  # marks of JSON, lone surrogates
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
STYLES = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"indent": 2, "separators": (",", " : ")},
        {"indent": "\t"},
        {"ensure_ascii": False},
        {"indent": 3, "ensure_ascii": False},
    ]
)


@given(
    members=st.dictionaries(TEXTS, VALUES, max_size=5), style=STYLES, blanks=st.text(" \t\r\n", max_size=3)
)
def test_each_members_span_is_its_value(members, style, blanks):
    text = blanks + json.dumps(members, **style) + blanks
    document = scan_document(text, scan_object)
    assert text[document.start : document.end] == text.strip(" \t\r\n")
    assert {name: node.value for name, node in document.value.items()} == json.loads(text)
    for node in document.value.values():
        assert json.loads(text[node.start : node.end]) == node.value
        assert text[node.start : node.end].strip() == text[node.start : node.end]


@given(elements=st.lists(VALUES, max_size=5), style=STYLES)
def test_each_elements_span_is_its_value(elements, style):
    text = json.dumps(elements, **style)
    nodes = scan_document(text, lambda text, start: scan_array(text, start, scan_value)).value
    assert [node.value for node in nodes] == json.loads(text)
    assert [json.loads(text[node.start : node.end]) for node in nodes] == json.loads(text)


@pytest.mark.parametrize(
    "written",
    [
        "1.0E-5",
        "1e400",
        "-0",
        "0.10000000000000000000000000001",
        "123456789012345678901234567890",
        r'"\ud83c\udf77"',
        r'"\ud800"',
        r'"a\"b\\"',
        '"\udcff"',
        "true",
        "null",
        "[ ]",
        '{ "a" : [ { } ] }',
    ],
)
@pytest.mark.parametrize("around", ['{"x":1,"v":%s}', '{ "v" :\n%s\n, "x" : 1 }', '{"v":0,"v":%s}'])
def test_a_value_is_found_as_it_is_written(around, written):
    """Also where parsing and printing would change the text; of repeated names the last counts."""
    text = around % written
    node = scan_document(text, scan_object).value["v"]
    assert text[node.start : node.end] == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "1",
        "{",
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,',
        '{"a":1,}',
        '{"a" 1}',
        '{"a":1]',
        "{a:1}",
        "{1:1}",
        "{} {}",
        '{"a":1}x',
        '{"a":tru}',
        '{"a":"\n"}',
        '{,"a":1}',
    ],
)
def test_what_is_not_an_object_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the standard library's scanner has its own messages
        scan_document(text, scan_object)


@pytest.mark.parametrize("text", ["", "{}", "[", "[1", "[1,", "[1,]", "[1 2]", "[1}", "[,1]"])
def test_what_is_not_an_array_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        scan_document(text, lambda text, start: scan_array(text, start, scan_value))


@pytest.mark.parametrize(
    ("text", "clean"), [("wine", "wine"), ("süß 🍷", "süß 🍷"), ("a\ud800b", "a?b"), ("\udcff", "?")]
)
def test_only_lone_surrogates_are_replaced(text, clean):
    assert replace_surrogates(text) == clean
