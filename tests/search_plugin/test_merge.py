"""The client's page cut out of the enlarged answer."""

import json
import math

import pytest

from search_plugin import FirstStage, read_passages, restore
from tests.search_plugin import make
from tests.search_plugin.make import merge

ANSWER = """\
{
  "took" : 7,
  "timed_out" : false,
  "_shards" : {
    "total" : 1,
    "successful" : 1,
    "skipped" : 0,
    "failed" : 0
  },
  "hits" : {
    "total" : {
      "value" : 1204,
      "relation" : "eq"
    },
    "max_score" : 4.1500006,
    "hits" : [
      {
        "_index" : "wine",
        "_id" : "a",
        "_score" : 4.1500006,
        "_source" : {
          "title" : "Süß, \\"rot\\"",
          "price" : 1.0E-5,
          "serial" : 123456789012345678901234567890,
          "_score" : 99.0
        },
        "highlight" : {
          "title" : [
            "<em>S\\u00fc\\u00df</em>"
          ]
        },
        "inner_hits" : {
          "reviews" : {
            "hits" : {
              "total" : {
                "value" : 1,
                "relation" : "eq"
              },
              "max_score" : 0.5,
              "hits" : [
                {
                  "_id" : "r1",
                  "_score" : 0.5
                }
              ]
            }
          }
        }
      },
      {
        "_index" : "wine",
        "_id" : "b",
        "_score" : 2.0,
        "_source" : {
          "title" : "Riesling",
          "price" : 10.50
        }
      },
      {
        "_index" : "wine",
        "_id" : "c",
        "_score" : 1.0,
        "_source" : { }
      }
    ]
  },
  "aggregations" : {
    "best" : {
      "hits" : {
        "total" : {
          "value" : 1,
          "relation" : "eq"
        },
        "max_score" : 4.1500006,
        "hits" : [
          {
            "_id" : "a",
            "_score" : 4.1500006
          }
        ]
      }
    }
  }
}
"""
COMPACT = json.dumps(json.loads(ANSWER), separators=(",", ":"), ensure_ascii=False)


def make_plan(page_from=0, page_size=10, window=50, **options):
    return make.make_plan(page_from, page_size, policy=make.make_policy(window=window, **options))


def make_answer(*scores):
    hits = [{"_id": chr(ord("a") + i), "_score": score} for i, score in enumerate(scores)]
    answer = {"hits": {"max_score": scores[0] if scores else None, "hits": hits}}
    return FirstStage.parse(json.dumps(answer, separators=(",", ":")).encode())


def read_hits(answer):
    return [(hit["_id"], hit["_score"]) for hit in json.loads(answer)["hits"]["hits"]]


def cut(text, first, last):
    """What stands in the text from one piece up to and with another."""
    start = text.index(first)
    return text[start : text.index(last, start) + len(last)]


def test_only_order_score_and_max_score_of_a_pretty_answer_change():
    """The exact bytes: pretty stays pretty, and scores elsewhere in the answer are not touched."""
    first_stage = FirstStage.parse(ANSWER.encode())
    assert read_passages(make_plan(), first_stage).texts == ('Süß, "rot"', "Riesling", "")
    a = cut(ANSWER, '      {\n        "_index" : "wine",\n        "_id" : "a"', "\n      }")
    b = cut(ANSWER, '      {\n        "_index" : "wine",\n        "_id" : "b"', "\n      }")
    c = cut(ANSWER, '      {\n        "_index" : "wine",\n        "_id" : "c"', "\n      }")
    expected = ANSWER.replace(
        f"{a},\n{b},\n{c}",
        ",\n".join(
            [
                b.replace('"_score" : 2.0', '"_score" : 0.8807971'),
                c.replace('"_score" : 1.0', '"_score" : 0.5'),
                a.replace('"_score" : 4.1500006', '"_score" : 0.2689414'),
            ]
        ),
    ).replace('"max_score" : 4.1500006', '"max_score" : 0.8807971', 1)
    assert merge(make_plan(), first_stage, [-1.0, 2.0, 0.0]) == expected


@pytest.mark.parametrize("text", [ANSWER, COMPACT], ids=["pretty", "compact"])
def test_a_page_with_all_hits_is_restored_byte_for_byte(text):
    assert restore(make_plan(), FirstStage.parse(text.encode())) == text


def test_a_restored_page_has_the_clusters_scores_and_order():
    restored = restore(make_plan(page_from=1, page_size=1), FirstStage.parse(COMPACT.encode()))
    expected = json.loads(COMPACT)
    expected["hits"]["hits"] = expected["hits"]["hits"][1:2]
    assert restored == json.dumps(expected, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(("text", "empty"), [(ANSWER, '"hits" : [ ]'), (COMPACT, '"hits":[]')])
def test_an_empty_page_is_written_as_the_cluster_writes_it(text, empty):
    restored = restore(make_plan(page_from=10), FirstStage.parse(text.encode()))
    assert empty in restored
    assert json.loads(restored)["hits"]["max_score"] == 4.1500006


def test_bytes_that_are_not_utf_8_come_out_as_they_were():
    answer = b'{"hits":{"max_score":%s,"hits":[{"_score":%s,"_id":"%s"},{"_score":%s,"_id":"%s"}]}}'
    body = answer % (b"2.0", b"2.0", b"\xff", b"1.0", b"\xc3\xbc")
    expected = answer % (b"0.5", b"0.5", b"\xc3\xbc", b"0.2689414", b"\xff")
    assert (
        merge(make_plan(), FirstStage.parse(body), [-1.0, 0.0]).encode("utf-8", "surrogateescape") == expected
    )


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        pytest.param([0.1, 0.9, 0.5], "bca", id="best first"),
        pytest.param([0.5, 0.9, 0.5], "bac", id="a tie keeps first-stage order"),
        pytest.param([1, 2, 3], "cba", id="integers"),
        pytest.param([-0.0, 0.0, 0.0], "abc", id="zeros"),
        pytest.param([100.0, 200.0, 300.0], "cba", id="order where probabilities are all 1"),
        pytest.param([-1e300, -1e200, -1e308], "bac", id="order where probabilities are all smallest"),
    ],
)
def test_hits_are_ordered_by_the_models_score(scores, order):
    merged = merge(make_plan(), make_answer(3.0, 2.0, 1.0), scores)
    assert "".join(hit for hit, _ in read_hits(merged)) == order


@pytest.mark.parametrize(
    ("logit", "written"),
    [
        (0.0, "0.5"),
        (2.0, "0.8807971"),
        (-2.0, "0.1192029"),
        (-12.0, "6.144175e-06"),
        (20.0, "1.0"),
        (1e308, "1.0"),
        (-30.0, "9.357623e-14"),
        (-1e308, "1.0e-30"),
    ],
)
def test_a_score_is_written_as_a_probability_with_a_fraction(logit, written):
    merged = merge(make_plan(), make_answer(3.0, 2.0), [logit, logit])
    assert merged.count(f'"_score":{written}') == 2
    assert f'"max_score":{written}' in merged


@pytest.mark.parametrize(
    "scores", [[], [1.0], [1.0] * 3, [1.0, math.nan], [math.inf, 1.0], [1.0, -math.inf]], ids=str
)
def test_scores_that_do_not_fit_the_window_are_refused(scores):
    with pytest.raises(ValueError, match="expected 2 finite scores"):
        merge(make_plan(), make_answer(3.0, 2.0), scores)


def test_no_hits_keep_max_score_null():
    first_stage = make_answer()
    assert merge(make_plan(), first_stage, []) == restore(make_plan(), first_stage) == first_stage.text


def test_max_score_is_the_windows_best_on_every_page():
    merged = merge(make_plan(page_from=2, page_size=1), make_answer(3.0, 2.0, 1.0), [0.0, 3.0, 1.0])
    assert json.loads(merged)["hits"]["max_score"] == 0.9525741
    assert read_hits(merged) == [("a", 0.5)]


def test_the_tail_keeps_its_order_below_the_window():
    """Hits behind the window keep the proportions of their first-stage scores."""
    merged = merge(make_plan(window=2), make_answer(9.0, 8.0, 8.0, 4.0, 0.0), [0.0, 1.0])
    assert read_hits(merged) == [("b", 0.7310586), ("a", 0.5), ("c", 0.4995), ("d", 0.24975), ("e", 1e-37)]


@pytest.mark.parametrize("scores", [(0.0,) * 4, (1e-45, 1e-45, 1e-45, 1e-45), (3e38, 3e38, 3e38, 1e-38)])
def test_extreme_first_stage_scores_leave_the_tail_below_the_window(scores):
    hits = read_hits(merge(make_plan(window=2), make_answer(*scores), [-1e5, 0.0]))
    assert [hit for hit, _ in hits] == ["b", "a", "c", "d"]
    assert 0.5 > hits[1][1] > hits[2][1] >= hits[3][1] > 0


def make_hits(*hits, **answer):
    whole = {
        "hits": {"max_score": 2.0, "hits": [{"_id": str(i), **hit} for i, hit in enumerate(hits)]},
        **answer,
    }
    return FirstStage.parse(json.dumps(whole, separators=(",", ":")))


@pytest.mark.parametrize("is_rescored", [True, False])
@pytest.mark.parametrize(
    ("fields", "left"),
    [
        pytest.param({"title": ["a"]}, None, id="only what we added"),
        pytest.param({"title": ["a"], "price": [1]}, {"price": [1]}, id="ours first"),
        pytest.param({"price": [1], "title": ["a"]}, {"price": [1]}, id="ours last"),
        pytest.param(
            {"x": [1], "title": ["a"], "y": [1], "maker": [{"name": "b"}]}, {"x": [1], "y": [1]}, id="two"
        ),
        pytest.param({"price": [1]}, {"price": [1]}, id="none of ours"),
    ],
)
def test_fields_that_were_only_fetched_are_taken_out_again(fields, left, is_rescored):
    """Byte for byte what the cluster writes without them, also when they are the first or last of the hit."""
    plan = make.make_plan(added_fields=("title", "maker.name"))
    kept = {} if left is None else {"fields": left}
    for before, after in (({"_score": 2.0}, {"sort": [1]}), ({}, {"_score": 2.0}), ({"_score": 2.0}, {})):
        first_stage = make_hits({**before, "fields": fields, **after}, {"_score": 1.0})
        text = merge(plan, first_stage, [0.0, -1.0]) if is_rescored else restore(plan, first_stage)
        expected = make_hits({**before, **kept, **after}, {"_score": 1.0}).text
        if is_rescored:
            expected = expected.replace("2.0", "0.5").replace("1.0", "0.2689414")
        assert text == expected


@pytest.mark.parametrize(
    ("hit", "fields"),
    [
        pytest.param({}, {}, id="no fields"),
        pytest.param({"fields": {"a": [1]}}, {"a": [1]}, id="fields"),
        pytest.param({"fields": {"title": [1]}}, {}, id="only ours"),
        pytest.param({"fields": {}}, {}, id="empty fields"),
    ],
)
def test_the_previous_score_is_kept_as_it_was_written(hit, fields):
    policy = make.make_policy(keep_previous_score=True)
    plan = make.make_plan(policy=policy, added_fields=("title",))
    first_stage = make_hits({"_score": 4.1500006, **hit}, {"_score": 1.0})
    text = merge(plan, first_stage, [0.0, -1.0])
    assert '"_rerank.previous_score":[4.1500006]' in text
    assert json.loads(text)["hits"]["hits"][0]["fields"] == {**fields, "_rerank.previous_score": [4.1500006]}
    assert "previous_score" not in restore(plan, first_stage)


def test_fields_of_another_shape_keep_it_and_take_no_previous_score():
    plan = make.make_plan(policy=make.make_policy(keep_previous_score=True))
    text = merge(plan, make_hits({"_score": 2.0, "fields": [1]}, {"_score": 1.0}), [0.0, -1.0])
    assert text.count('"fields"') == 2  # one a hit
    assert json.loads(text)["hits"]["hits"][0]["fields"] == [1]


def test_an_explanation_tells_both_scores():
    policy = make.make_policy(window=2)
    first_stage = make_hits(*({"_score": 3.0 - i, "_explanation": {"value": 3.0 - i}} for i in range(3)))
    hits = json.loads(merge(make.make_plan(policy=policy), first_stage, [0.0, 1.0]))["hits"]["hits"]
    assert hits[0]["_explanation"] == {
        "value": hits[0]["_score"],
        "description": "rank after reranking: [1] with score: [0.7310586], model [m] on [title]: 0.7310586, "
        "score_mode [replace]",
        "details": [{"value": 2.0}],
    }
    assert "behind the window" in hits[2]["_explanation"]["description"]


@pytest.mark.parametrize(
    ("answer", "ext"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"ext": {}}, {}, id="empty"),
        pytest.param({"ext": {"a": {"b": 1}}}, {"a": {"b": 1}}, id="beside the cluster's"),
        pytest.param({"ext": {"a": 1, "b": 2}, "z": 1}, {"a": 1, "b": 2}, id="in the middle"),
    ],
)
def test_a_note_stands_in_the_answers_ext(answer, ext):
    first_stage = make_hits({"_score": 2.0}, {"_score": 1.0}, **answer)
    told = json.loads(restore(make_plan(), first_stage, {"status": "skipped"}))
    assert told.pop("ext") == {**ext, "rerank": {"status": "skipped"}}
    assert told == {name: value for name, value in json.loads(first_stage.text).items() if name != "ext"}


def test_a_page_that_min_score_empties_has_no_max_score():
    plan = make_plan(min_score=0.99)
    merged = json.loads(merge(plan, make_answer(3.0, 2.0), [0.0, 1.0]))
    assert merged["hits"] == {"max_score": None, "hits": []}


def test_a_hit_that_holds_nothing_but_what_was_added_is_left_empty():
    first_stage = FirstStage.parse('{"hits":{"hits":[{"fields":{"title":["a"]}},{}]}}')
    plan = make.make_plan(added_fields=("title",))
    assert restore(plan, first_stage) == '{"hits":{"hits":[{},{}]}}'


def test_a_name_that_stands_twice_in_an_answer_does_not_spoil_it():
    hit = '{"_score":1.0,"fields":{"x":[1],"title":["a"],"x":[2]},"_score":%s}'
    first_stage = FirstStage.parse(f'{{"hits":{{"hits":[{hit % "3.0"},{hit % "2.0"}]}}}}')
    plan = make.make_plan(added_fields=("title",), policy=make.make_policy(keep_previous_score=True))
    merged = json.loads(merge(plan, first_stage, [0.0, 1.0]))["hits"]["hits"]
    assert [hit["fields"] for hit in merged] == [
        {"x": [2], "_rerank.previous_score": [previous]} for previous in (2.0, 3.0)
    ]
