"""Knows how to find what a cluster has already of what `gateway.registration` makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.registration.bodies import Body, mark, name_objects
from gateway.registration.talk import CannotRegister, Talk

TRUSTED = "plugins.ml_commons.trusted_connector_endpoints_regex"
PRIVATE = "plugins.ml_commons.connector.private_ip_enabled"
RECORD = "cluster.metadata.rerank_sidecar"
"""OpenSearch keeps such a setting for whoever notes something; it is written with those that it is about."""

DEFAULT_PIPELINE = "index.search.default_pipeline"


@dataclass(frozen=True)
class Thing:
    """An object of ml-commons."""

    id: str
    body: Body


@dataclass(frozen=True)
class Record:
    """What was set for our sake, by all registrations together.

    Attributes:
        before: the persistent values that ours took the place of, None for none, by setting.
        endpoints: patterns that were added to `TRUSTED`.
        trusted: `digest` of those that were in force before the first of them.
    """

    before: Mapping[str, Any] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    trusted: str = ""

    @classmethod
    def read(cls, noted: str | None) -> Record:
        """From the setting `RECORD`."""
        told = json.loads(noted or "{}")
        return cls(told.get("before", {}), tuple(told.get("endpoints", ())), told.get("trusted", ""))

    def write(self) -> str | None:
        """For the setting `RECORD`; None where nothing of ours is set any more."""
        return json.dumps(asdict(self)) if self.before else None


def digest(patterns: Sequence[str]) -> str:
    """To see whether a list is still, or again, what it was."""
    return hashlib.sha256(json.dumps(list(patterns)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Present:
    """What there is.

    Attributes:
        settings: the persistent ones; ``overruling``, the transient ones, count more, ``defaults`` less.
        connector, group, model: ours.
        pipeline: of the wanted name, whoever made it.
        defaults_of: the default search pipeline of each index that was asked about, empty for none.
        other_urls: what all other connectors call.
    """

    settings: Mapping[str, Any]
    overruling: Mapping[str, Any]
    defaults: Mapping[str, Any]
    connector: Thing | None = None
    group: Thing | None = None
    model: Thing | None = None
    pipeline: Body | None = None
    defaults_of: Mapping[str, str] = field(default_factory=dict)
    other_urls: Sequence[str] = ()

    def effective(self, setting: str) -> Any:
        """What is in force."""
        for source in (self.overruling, self.settings, self.defaults):
            if setting in source:
                return source[setting]
        return None

    @property
    def record(self) -> Record:
        """What earlier registrations noted."""
        return Record.read(self.settings.get(RECORD))


def look(talk: Talk, pipeline: str, indices: str | None) -> Present:
    """Ask the cluster; changes nothing.

    Args:
        indices: whose default search pipeline is asked for.

    Raises:
        CannotRegister: it lacks a plugin, or refuses to tell.
    """
    connectors = list(_find(talk, "connectors"))
    _check_processor(talk)
    ours = [thing for thing in connectors if _is_ours(thing, pipeline)]
    settings = talk.ask("GET", "/_cluster/settings?flat_settings=true&include_defaults=true")
    by_name = {"term": {"name.keyword": name_objects(pipeline)}}
    found = talk.ask("GET", f"/_search/pipeline/{pipeline}", may_lack=True) or {}
    return Present(
        settings=settings["persistent"],
        overruling=settings["transient"],
        defaults={name: settings["defaults"].get(name) for name in (TRUSTED, PRIVATE)},
        connector=next(iter(ours), None),
        group=_first_of_ours(_find(talk, "model_groups", by_name), pipeline),
        model=_first_of_ours(_find(talk, "models", by_name), pipeline),
        pipeline=found.get(pipeline),
        defaults_of=_find_defaults(talk, indices) if indices else {},
        other_urls=[
            action["url"]
            for thing in connectors
            if thing not in ours
            for action in thing.body.get("actions", ())
            if "url" in action
        ],
    )


def _find(talk: Talk, kind: str, query: Body | None = None) -> Iterator[Thing]:
    asked = {"query": query or {"match_all": {}}, "size": 10_000}
    answer = talk.ask("POST", f"/_plugins/_ml/{kind}/_search", asked)
    for hit in answer["hits"]["hits"]:
        yield Thing(hit["_id"], hit["_source"])


def _first_of_ours(things: Iterator[Thing], pipeline: str) -> Thing | None:
    return next((thing for thing in things if _is_ours(thing, pipeline)), None)


def _is_ours(thing: Thing, pipeline: str) -> bool:
    described = str(thing.body.get("description", ""))
    return thing.body.get("name") == name_objects(pipeline) and described.startswith(mark(pipeline))


def _check_processor(talk: Talk) -> None:
    nodes = talk.ask(
        "GET", "/_nodes/search_pipelines?filter_path=nodes.*.search_pipelines.response_processors"
    )
    for node in nodes.get("nodes", {}).values():
        kinds = {processor["type"] for processor in node["search_pipelines"]["response_processors"]}
        if "rerank" not in kinds:
            raise CannotRegister(
                "a node of this OpenSearch has no search processor 'rerank': "
                "it lacks the plugin opensearch-neural-search"
            )


def _find_defaults(talk: Talk, indices: str) -> dict[str, str]:
    # the uuid, so that indices without the other one are told too
    path = f"/{indices}/_settings/index.uuid,{DEFAULT_PIPELINE}?flat_settings=true&expand_wildcards=all"
    told = {
        index: found["settings"].get(DEFAULT_PIPELINE, "") for index, found in talk.ask("GET", path).items()
    }
    return {index: "" if pipeline == "_none" else pipeline for index, pipeline in told.items()}
