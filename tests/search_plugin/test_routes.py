"""Which requests are searches."""

import pytest

from search_plugin import Route, RouteKind, match_route


@pytest.mark.parametrize(
    ("target", "indices"),
    [
        pytest.param("/_search", (), id="no index"),
        pytest.param("/_search?q=wine", (), id="parameters"),
        pytest.param("/wine/_search", ("wine",), id="one index"),
        pytest.param("/wine/_search/", ("wine",), id="trailing slash"),
        pytest.param("/wine/_search//?pretty", ("wine",), id="trailing slashes"),
        pytest.param("/_all/_search", ("_all",), id="all"),
        pytest.param("/*/_search", ("*",), id="star"),
        pytest.param("/%2A/_search", ("*",), id="encoded star"),
        pytest.param("/wine,beer/_search", ("wine", "beer"), id="two indices"),
        pytest.param("/wine%2Cbeer/_search", ("wine", "beer"), id="an encoded comma parts indices too"),
        pytest.param("/wine,,beer,/_search", ("wine", "beer"), id="empty parts"),
        pytest.param("/wine,-wine-old/_search", ("wine", "-wine-old"), id="exclusion"),
        pytest.param("/eu:wine/_search", ("eu:wine",), id="remote cluster"),
        pytest.param("/%C3%A4pfel/_search", ("äpfel",), id="utf-8"),
        pytest.param("/a+b/_search", ("a+b",), id="a plus in a path is a plus"),
        pytest.param("/%3Clogs-%7Bnow%2Fd%7D%3E/_search", ("<logs-{now/d}>",), id="date math"),
        pytest.param(
            "/%3Ca-%7Bnow%2Fd%7Byyyy%2CMM%7D%7D%3E%2Cb/_search",
            ("<a-{now/d{yyyy,MM}}>", "b"),
            id="a comma inside date math",
        ),
        pytest.param("/<a/_search", ("<a",), id="a bracket that never closes"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_search_is_matched_with_its_indices(method, target, indices):
    assert match_route(method, target) == Route(RouteKind.SEARCH, indices)


@pytest.mark.parametrize("prefix", ["", "/wine"])
@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        ("/_search", RouteKind.SEARCH),
        ("/_msearch", RouteKind.MULTI_SEARCH),
        ("/_search/template", RouteKind.TEMPLATE),
        ("/_msearch/template/", RouteKind.MULTI_TEMPLATE),
        ("/_async_search", RouteKind.ASYNC_SEARCH),
        ("/_plugins/_asynchronous_search", RouteKind.ASYNC_SEARCH),
    ],
)
def test_every_kind_of_search_is_told(prefix, endpoint, kind):
    assert match_route("POST", prefix + endpoint).kind is kind


@pytest.mark.parametrize(
    ("method", "target"),
    [
        pytest.param("PUT", "/wine/_search", id="method"),
        pytest.param("HEAD", "/wine/_search", id="head"),
        pytest.param("GET", "/", id="root"),
        pytest.param("POST", "/_search/scroll", id="scroll"),
        pytest.param("POST", "/wine/_doc/_search", id="an id"),
        pytest.param("POST", "/wine/_search_shards", id="longer name"),
        pytest.param("GET", "/_async_search/FmRl==", id="an asynchronous search's id without a ticket"),
        pytest.param("GET", "/_async_search/", id="no id"),
        pytest.param("POST", "//_search", id="empty index"),
        pytest.param("POST", "wine/_search", id="no leading slash"),
        pytest.param("POST", "http://host/wine/_search", id="absolute form"),
        pytest.param("POST", "/wine%2F_search", id="encoded slash"),
        pytest.param("GET", "/wine?x=/_search", id="only in a parameter"),
        pytest.param("GET", "/wine/_search?q=a#b", id="a fragment would hide added parameters"),
        pytest.param("OPTIONS", "*", id="star target"),
    ],
)
def test_other_requests_are_not_ours(method, target):
    assert match_route(method, target) is None


def test_many_open_brackets_take_no_time():
    """A hostile index expression is split in linear time."""
    assert match_route("GET", f"/{'<' * 100_000}/_search") == Route(
        RouteKind.SEARCH, ("<" * 100_000,), "/" + "<" * 100_000
    )
