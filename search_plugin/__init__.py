"""Decides which searches are reranked and merges the scores into the answer: pure functions, no I/O."""

from search_plugin.errors import SearchPluginError, UnreadableAnswer
from search_plugin.first_stage import FirstStage, Hit
from search_plugin.merge import merge, restore
from search_plugin.passages import read_passages
from search_plugin.plan import Plan, SearchRequest, plan_search
from search_plugin.policy import Policy, find_policy
from search_plugin.routes import Route, RouteKind, match_route
from search_plugin.skip import Reason, Skip

__all__ = [
    "FirstStage",
    "Hit",
    "Plan",
    "Policy",
    "Reason",
    "Route",
    "RouteKind",
    "SearchPluginError",
    "SearchRequest",
    "Skip",
    "UnreadableAnswer",
    "find_policy",
    "match_route",
    "merge",
    "plan_search",
    "read_passages",
    "restore",
]
