"""Short ways to what the tests of this package are about."""

from search_plugin import Plan, Policy, Rewrite, Rules, SearchRequest, match_route, place_hits, plan_search
from search_plugin import merge as merge_placed


def make_policy(**options):
    return Policy(**{"name": "p", "indices": ("*",), "model": "m", "passage_fields": ("title",), **options})


def make_plan(page_from=0, page_size=10, *, policy=None, query_text="red wine", **options):
    as_it_came = Rewrite("/_search")
    return Plan(policy or make_policy(), query_text, page_from, page_size, as_it_came, as_it_came, **options)


def plan_request(body, target, headers=None, policies=(), method="POST", **rules):
    """The decision for a search as it comes over HTTP."""
    route = match_route(method, target)
    request = SearchRequest(route.indices, target, headers or {}, body)
    return plan_search(request, Rules(policies, **{"models": frozenset({"small", "big"}), **rules}))


def merge(plan, first_stage, logits, note=None):
    return merge_placed(plan, first_stage, place_hits(plan, first_stage, logits), note)
