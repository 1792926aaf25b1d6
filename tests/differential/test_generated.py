"""Thousands of ways to write a search: reranked by a model that keeps the order, only the scores change."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.differential.normal import find_difference
from tests.differential.searches import requests

pytestmark = pytest.mark.system

# the same searches each time, however long one takes
PATIENT = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def test_search_answers_as_the_cluster_does_but_for_the_scores(peers):
    n_searches = n_applied = 0

    @settings(PATIENT, max_examples=400)
    @given(request=requests)
    def compare(request):
        nonlocal n_searches, n_applied
        direct, through = peers.cluster.exchange(request), peers.gateways["identity"].exchange(request)
        n_searches += 1
        n_applied += through.header("x-rerank-status") == "applied"
        difference = find_difference(request, direct, through)
        assert not difference, difference

    compare()
    assert n_applied > n_searches / 4  # else the comparison is of nothing with nothing
