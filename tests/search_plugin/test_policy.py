"""What a policy may say, and which one a search falls under."""

import pytest
from pydantic import ValidationError

from search_plugin import Policy, find_policy, match_route

REQUIRED = {"name": "wine", "indices": ("wine",), "model": "small", "passage_fields": ("title",)}


def make_policy(name, *indices):
    return Policy(**{**REQUIRED, "name": name, "indices": indices})


POLICIES = (
    make_policy("logs", "logs-*"),
    make_policy("drinks", "wine*", "beer"),
    make_policy("odd", "[a]?", "<odd-*"),
    make_policy("all", "*"),
)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("/wine/_search", "drinks", id="exact"),
        pytest.param("/wine-2024/_search", "drinks", id="pattern"),
        pytest.param("/wine,beer/_search", "drinks", id="each part by a pattern of the same policy"),
        pytest.param("/logs-1,wine/_search", "all", id="no one policy but the last covers both"),
        pytest.param("/logs-1,-logs-2/_search", "logs", id="exclusions are not looked at"),
        pytest.param("/logs-*/_search", "logs", id="the same wildcard"),
        pytest.param("/logs-2*/_search", "logs", id="a narrower wildcard"),
        pytest.param("/log*/_search", "all", id="a wider wildcard"),
        pytest.param("/LOGS-1/_search", "all", id="case counts"),
        pytest.param("/_search", "all", id="no index is all"),
        pytest.param("/_all/_search", "all", id="_all"),
        pytest.param("/*/_search", "all", id="star"),
        pytest.param("/-wine/_search", "all", id="only an exclusion"),
        pytest.param("/[a]%3F/_search", "odd", id="only the star is special in a pattern"),
        pytest.param("/ab/_search", "all", id="brackets and question marks match themselves"),
        pytest.param("/%3Codd-%7Bnow%2Fd%7D%3E/_search", "odd", id="date math as it is written"),
    ],
)
def test_the_first_policy_that_covers_every_part_is_found(target, expected):
    assert find_policy(match_route("GET", target).indices, POLICIES).name == expected


@pytest.mark.parametrize(
    "target", ["/_search", "/_all/_search", "/*/_search", "/other/_search", "/wine,x/_search"]
)
def test_a_search_that_no_policy_covers_has_none(target):
    policies = [*POLICIES[:-1], make_policy("underscore", "_*")]
    assert find_policy(match_route("GET", target).indices, policies) is None


def test_the_optional_options_have_defaults():
    policy = Policy(**REQUIRED)
    assert (policy.separator, policy.window, policy.deadline_ms, policy.max_passage_chars) == (
        "\n",
        50,
        1000,
        2000,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", ""),
        ("indices", ()),
        ("indices", ("",)),
        ("model", ""),
        ("passage_fields", ("",)),
        ("passage_template", "{}"),
        ("passage_template", "no field"),
        ("passage_template", "{title!r}"),
        ("passage_sources", ("elsewhere",)),
        ("mode", "perhaps"),
        ("score_mode", "sum"),
        ("weight", 1.5),
        ("chunks", {"words": 10}),
        ("chunks", {"words": 20, "overlap": 11}),
        ("window", 0),
        ("window", 10_001),
        ("deadline_ms", 0),
        ("max_passage_chars", 0),
        ("max_passage_chars", 100_001),
        ("windows", 10),
    ],
)
def test_a_wrong_option_is_refused_by_name(option, value):
    with pytest.raises(ValidationError, match=rf"(?m)^{option}(\.\w+)?$"):
        Policy(**{**REQUIRED, option: value})


def test_a_policy_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Policy(**REQUIRED).window = 3
