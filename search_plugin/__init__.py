"""Decides which searches are reranked and merges the scores into the answer: pure functions, no I/O."""

from search_plugin.ask import HEADER_PREFIX
from search_plugin.blend import Placed, place_hits
from search_plugin.errors import BadAsk, SearchPluginError, UnreadableAnswer
from search_plugin.experiment import FIRST_STAGE_ARM, POLICY_ARM, Experiment
from search_plugin.filter_path import filter_answer
from search_plugin.first_stage import FirstStage, Hit
from search_plugin.merge import merge, restore
from search_plugin.msearch import Item, Responses, join_items, split_items
from search_plugin.note import make_note
from search_plugin.passages import Passages, combine_scores, read_passages, read_texts
from search_plugin.plan import Engine, Plan, Rules, SearchRequest, make_scan_plan, plan_search, strip_target
from search_plugin.policy import Policy, find_policy
from search_plugin.raw_json import apply_edits, scan_document, scan_object, split_object
from search_plugin.rewrite import Rewrite, ask_for_all, edit_body, read_filter_path, read_parameters
from search_plugin.routes import Route, RouteKind, match_route, read_indices
from search_plugin.skip import Reason, Skip
from search_plugin.ticket import MARK as TICKET_MARK
from search_plugin.ticket import read_ticket, write_ticket
from search_plugin.trial import (
    Difference,
    Drafted,
    Trial,
    compare_orders,
    enter,
    find_experiments,
    interleave,
    name_object,
    read_unit,
)

__all__ = [
    "FIRST_STAGE_ARM",
    "HEADER_PREFIX",
    "POLICY_ARM",
    "TICKET_MARK",
    "BadAsk",
    "Difference",
    "Drafted",
    "Engine",
    "Experiment",
    "FirstStage",
    "Hit",
    "Item",
    "Passages",
    "Placed",
    "Plan",
    "Policy",
    "Reason",
    "Responses",
    "Rewrite",
    "Route",
    "RouteKind",
    "Rules",
    "SearchPluginError",
    "SearchRequest",
    "Skip",
    "Trial",
    "UnreadableAnswer",
    "apply_edits",
    "ask_for_all",
    "combine_scores",
    "compare_orders",
    "edit_body",
    "enter",
    "filter_answer",
    "find_experiments",
    "find_policy",
    "interleave",
    "join_items",
    "make_note",
    "make_scan_plan",
    "match_route",
    "merge",
    "name_object",
    "place_hits",
    "plan_search",
    "read_filter_path",
    "read_indices",
    "read_parameters",
    "read_passages",
    "read_texts",
    "read_ticket",
    "read_unit",
    "restore",
    "scan_document",
    "scan_object",
    "split_items",
    "split_object",
    "strip_target",
    "write_ticket",
]
