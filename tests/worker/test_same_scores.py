"""A pair's score does not depend on what else is computed with it, or when."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankers import FlagAutoReranker
from worker.batching import Batcher
from worker.contract import ScoreJob, read_score, write_score
from worker.resident import ResidentModel

TOLERANCE = 1e-4

words = st.sampled_from(["how", "to", "delete", "a", "folder", "and", "files", "sort", "list", "by", "key"])
texts = st.lists(words, min_size=1, max_size=40).map(" ".join)  # up to and beyond what the model reads
jobs = st.builds(
    ScoreJob,
    id=st.uuids().map(lambda uuid: uuid.hex),
    model=st.just("tiny"),
    policy=st.sampled_from(["", "shop", "manual"]),
    query_text=st.sampled_from(["how to delete", "sort a list", "parse"]),  # few: equal pairs occur
    passages=st.lists(texts, min_size=1, max_size=12).map(tuple),
    deadline=st.floats(3e9, 4e9),
    bulk=st.booleans(),
)


@pytest.fixture(scope="module")
def reranker(reranker_folder):
    return FlagAutoReranker.from_finetuned(str(reranker_folder), max_length=64, devices="cpu")


@pytest.mark.parametrize("pass_s", [1e-9, 0.02, 10], ids=["a pair a pass", "some", "all at once"])
def test_scores_are_the_same_alone_and_merged_with_any_others(reranker, pass_s):
    @functools.cache
    def score_alone(query, passage):
        return reranker.compute_score([(query, passage)])[0]

    batcher = Batcher(lambda: ResidentModel("tiny", reranker, "1", 0), pass_s=pass_s)

    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(st.lists(jobs, min_size=1, max_size=8))
    def compare(mix):
        futures = [batcher.submit(job) for job in mix]
        for job, future in zip(mix, futures, strict=True):
            alone = [score_alone(job.query_text, passage) for passage in job.passages]
            assert future.result(30).scores == pytest.approx(alone, abs=TOLERANCE)

    compare()
    batcher.close()


@given(st.floats(allow_nan=False))
def test_scores_come_out_of_the_cache_as_they_went_in(score):
    assert read_score(write_score(score)) == score
