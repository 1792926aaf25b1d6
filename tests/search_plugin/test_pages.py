"""What holds for every search, page and score: plan, a simulated cluster's answer, merge or restore."""

import json
from dataclasses import dataclass

from hypothesis import assume, given
from hypothesis import strategies as st

from search_plugin import FirstStage, Plan, restore
from search_plugin.rewrite import read_parameters
from tests.search_plugin.make import make_policy, merge, plan_request

BODY = json.dumps({"query": {"match": {"title": "red wine"}}, "size": 3}).encode()


@dataclass(frozen=True)
class SimulatedCluster:
    """Answers a search as the engines do: the target's page overrules the body's, text is printed once.

    Attributes:
        hits: how each hit is written, with ``%s`` for its score, in first-stage order.
        scores: how each hit's score is written.
        pretty: print as under ``?pretty``.
    """

    hits: list[str]
    scores: list[str]
    pretty: bool

    def search(self, target, body):
        page = json.loads(body) | read_parameters(target)
        start, size = int(page.get("from", 0)), int(page.get("size", 10))
        written = [hit % score for hit, score in zip(self.hits, self.scores, strict=True)][
            start : start + size
        ]
        opening, comma, closing = ("[\n      ", ",\n      ", "\n    ]") if self.pretty else ("[", ",", "]")
        array = opening + comma.join(written) + closing if written else "[ ]" if self.pretty else "[]"
        max_score = self.scores[0] if self.scores else "null"
        hits = f'{{"total":{len(self.hits)},"max_score":{max_score},"hits":{array}}}'
        return f'{{"took":1,"hits":{hits},"x":{{"hits":1}}}}'.encode("utf-8", "surrogateescape")


def write_hit(identity, source, blank):
    source = json.dumps(source, ensure_ascii=False).replace("%", "%%")
    return f'{{{blank}"_id":{blank}"{identity}","_score":{blank}%s,"_source":{source},"price":1.0E-5{blank}}}'


SOURCES = st.dictionaries(
    st.sampled_from(["title", "_score", "hits"]),
    st.text('aß🍷"\\%{}\n\udcff', max_size=5) | st.floats(0, 9),
    max_size=2,
)
LOGITS = st.floats(-1e6, 1e6) | st.floats(-12, 12) | st.integers(-2, 2)


@st.composite
def searches(draw):
    """A cluster, a policy and a logit for each hit; few different scores, so that ties are common."""
    sources = draw(st.lists(SOURCES, max_size=12))
    count = len(sources)
    blank = draw(st.sampled_from(["", " ", "\n  "]))
    scores = draw(st.lists(st.sampled_from([12.5, 3.0, 1.0, 1e-05, 0.0]), min_size=count, max_size=count))
    cluster = SimulatedCluster(
        hits=[write_hit(identity, source, blank) for identity, source in enumerate(sources)],
        scores=[str(score) for score in sorted(scores, reverse=True)],
        pretty=draw(st.booleans()),
    )
    policy = make_policy(window=draw(st.integers(1, 12)))
    return cluster, policy, draw(st.lists(LOGITS, min_size=count, max_size=count))


def plan_page(policy, page_from, page_size):
    target = f"/wine/_search?from={page_from}&size={page_size}"
    return target, plan_request(BODY, target, policies=[policy])


def rescore_page(search, page_from, page_size):
    """What the client gets: the hits' text, and max_score."""
    cluster, policy, logits = search
    target, plan = plan_page(policy, page_from, page_size)
    if not isinstance(plan, Plan):  # behind the window the cluster's own page is the answer
        first_stage = FirstStage.parse(cluster.search(target, BODY))
    else:
        enlarged = FirstStage.parse(cluster.search(plan.enlarged.target, BODY))
        scored = min(policy.window, len(enlarged.hits))
        first_stage = FirstStage.parse(merge(plan, enlarged, logits[:scored]))
    return first_stage


def without_score(first_stage, hit):
    score = hit.scan()["_score"]
    return first_stage.text[hit.start : score.start] + "%s" + first_stage.text[score.end : hit.end]


def unscored_hits(cluster):
    return [hit.replace("%%", "%") for hit in cluster.hits]


@given(searches())
def test_no_hit_is_lost_doubled_or_changed(search):
    """The window is permuted, the tail stays, and of a hit's bytes only the score differs."""
    cluster, policy, _ = search
    merged = rescore_page(search, 0, 20)
    hits = [without_score(merged, hit) for hit in merged.hits]
    assert sorted(hits[: policy.window]) == sorted(unscored_hits(cluster)[: policy.window])
    assert hits[policy.window :] == unscored_hits(cluster)[policy.window :]


@given(searches())
def test_scores_are_positive_and_fall_with_the_rank(search):
    cluster, policy, logits = search
    assume(cluster.hits)
    merged = rescore_page(search, 0, 20)
    scores = [hit.first_stage_score for hit in merged.hits]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
    assert merged.max_score.value == scores[0]
    order = [int(json.loads(merged.text[hit.start : hit.end])["_id"]) for hit in merged.hits]
    window = range(len(order))[: policy.window]
    assert order[: policy.window] == sorted(window, key=lambda i: -logits[i])
    if len(scores) > policy.window:
        assert scores[policy.window] < scores[policy.window - 1]


@given(searches(), st.integers(1, 7))
def test_pages_of_any_size_make_up_one_list(search, size):
    """Page by page a client sees what is on one big page, up to the window with the same scores."""
    cluster, policy, _ = search
    whole = rescore_page(search, 0, 20)
    pages = [rescore_page(search, page_from, size) for page_from in range(0, 20, size)]
    hits = [without_score(page, hit) for page in pages for hit in page.hits]
    assert hits == [without_score(whole, hit) for hit in whole.hits]
    rescored = [page.text[hit.start : hit.end] for page in pages for hit in page.hits][: policy.window]
    assert rescored == [whole.text[hit.start : hit.end] for hit in whole.hits][: policy.window]
    rescored_pages = [
        page for page_from, page in zip(range(0, 20, size), pages, strict=True) if page_from < policy.window
    ]
    assert len({page.max_score.value for page in rescored_pages if cluster.hits}) <= 1


@given(searches(), st.integers(0, 14), st.integers(1, 14))
def test_a_restored_page_is_the_clusters_own(search, page_from, page_size):
    """Byte for byte what the client would have had without us."""
    cluster, policy, _ = search
    target, plan = plan_page(policy, page_from, page_size)
    assume(isinstance(plan, Plan))
    restored = restore(plan, FirstStage.parse(cluster.search(plan.enlarged.target, BODY)))
    assert restored.encode("utf-8", "surrogateescape") == cluster.search(target, BODY)
