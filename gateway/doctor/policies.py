"""Knows how to tell whether policies fit the indices that are there: patterns, fields, ``_source``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from gateway.doctor.cluster import ask
from gateway.doctor.finding import Finding, hint, ok, problem
from gateway.doctor.surroundings import Surroundings
from search_plugin import Policy, find_policy

TEXTS = {"text", "match_only_text", "annotated_text", "search_as_you_type", "semantic_text", "pattern_text"}
TEXTS |= {"keyword", "constant_keyword", "counted_keyword", "wildcard", "version", "flattened", "flat_object"}
"""The types of fields whose values are texts."""

_PARENTS = frozenset({"object", "nested"})
_UNMAPPED = "unmapped"
_FROM_MAPPED = frozenset({"_source", "fields"})


def check_config(around: Surroundings) -> Iterator[Finding]:
    """``rerank.toml``: readable, with policies each of which may apply."""
    config, path = around.config, around.settings.config
    if around.config_error:
        yield problem("config.file", around.config_error, "see docs/policies.md")
        return
    if not config.policies:
        yield hint(
            "config.file", f"{path}: no policies", "only searches that ask for it could be reranked: add one"
        )
        return
    yield ok("config.file", f"{path}: {len(config.policies)} policies, {len(config.models)} models")
    for policy in config.policies:
        first = find_policy(policy.indices, config.policies)
        if first and first is not policy:
            what = f"policy {policy.name}: {first.name} comes before it and covers all its indices"
            yield hint("config.order", what, "put the narrower policy first")


def check_policies(around: Surroundings) -> Iterator[Finding]:
    """Each policy against the mappings of the indices that its patterns match now."""
    for policy in around.config.policies:
        yield from _check_policy(around, policy)


def _check_policy(around: Surroundings, policy: Policy) -> Iterator[Finding]:
    indices = ",".join(quote(pattern, safe="*") for pattern in policy.indices)
    lenient = {"ignore_unavailable": "true", "allow_no_indices": "true"}
    asked = sorted(set(policy.fields) | {parent for field in policy.fields for parent in _parents(field)})
    query = {"fields": ",".join(asked) or "_id", "include_unmapped": "true", **lenient}
    status, caps = ask(around.cluster, f"/{indices}/_field_caps?{urlencode(query)}")
    if status != 200:
        what = f"policy {policy.name}: the cluster does not tell of its indices: {status}"
        mend = "give credentials that may see mappings (view_index_metadata): --cluster-username"
        yield hint("policies.indices", what, mend)
        return
    found = caps.get("indices", [])
    named = f"policy {policy.name} ({', '.join(policy.indices)})"
    if not found:
        yield hint(
            "policies.indices", f"{named} matches no index now", "is the pattern right? aliases count too"
        )
        return
    yield ok("policies.indices", f"{named} matches {_name_some(found)}")
    query = {"filter_path": "*.mappings._source,*.mappings.dynamic", **lenient}
    _, mappings = ask(around.cluster, f"/{indices}/_mapping?{urlencode(query)}")
    roots = {name: told.get("mappings", {}) for name, told in (mappings or {}).items()}
    if "_source" in policy.passage_sources:
        yield judge_source(policy, roots)
    may_be_hidden = any(_is_off(root.get("dynamic")) for root in roots.values())
    for field in policy.fields:
        yield judge_field(policy, field, caps.get("fields", {}), found, may_be_hidden=may_be_hidden)


def judge_source(policy: Policy, roots: Mapping[str, Any]) -> Finding:
    """Is there a ``_source`` to read passages from?

    Args:
        roots: by index, the part of its mapping that is told of the whole.
    """
    sources = {name: root.get("_source", {}) for name, root in roots.items()}
    without = [name for name, source in sources.items() if _is_off(source.get("enabled"))]
    if without:
        what = f"policy {policy.name}: {_name_some(without)} keeps no _source to read (no_source)"
        return problem("policies.source", what, "index anew with _source enabled, or take the index out")
    partly = [name for name, source in sources.items() if source.get("excludes") or source.get("includes")]
    if partly:
        what = f"policy {policy.name}: {_name_some(partly)} keeps only a part of _source"
        return hint("policies.source", what, "make sure that the passage fields are kept")
    return ok("policies.source", f"policy {policy.name}: _source is kept")


def judge_field(
    policy: Policy, field: str, caps: Mapping[str, Any], indices: Sequence[str], *, may_be_hidden: bool
) -> Finding:
    """Is it there, and is it a text?

    Args:
        caps: what the cluster tells of fields: name → type → details.
        may_be_hidden: documents may hold more than is mapped.
    """
    subject, named = "policies.field", f"policy {policy.name}, field {field}"
    types = dict(caps.get(field, {}))
    missing = types.pop(_UNMAPPED, {}).get("indices", indices)
    if not types:
        what = f"{named} is in no mapping of {_name_some(indices)}"
        if may_be_hidden:
            return hint(subject, f"{what}, which do not map all fields", "make sure that documents have it")
        return problem(subject, what, "correct passage_fields or passage_template")
    leaf_parents = [
        parent for parent in _parents(field) if set(caps.get(parent, {})) - _PARENTS - {_UNMAPPED}
    ]
    if leaf_parents and _FROM_MAPPED.issuperset(policy.passage_sources):
        what = f"{named} is another way to index {leaf_parents[-1]}, and stands in no _source"
        return problem(subject, what, f"name {leaf_parents[-1]}")
    odd = sorted(set(types) - TEXTS - _PARENTS)
    if odd:
        return hint(subject, f"{named} is of type {', '.join(odd)}", "a model reads texts; is this one?")
    if _UNMAPPED in caps.get(field, {}):
        what = f"{named} is not in {_name_some(missing)}"
        return hint(subject, what, "hits of these are read without it")
    return ok(subject, f"{named} is of type {', '.join(sorted(types))}")


def _parents(field: str) -> list[str]:
    """``a.b.c`` → ``a``, ``a.b``."""
    keys = field.split(".")
    return [".".join(keys[:count]) for count in range(1, len(keys))]


def _is_off(value: object) -> bool:
    return str(value).lower() in ("false", "false_allow_templates", "runtime")


def _name_some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more
