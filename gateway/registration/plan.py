"""Decides which requests make what is wanted of what is there, and which take it back; sends nothing.

`PARTS` is the order: made from the first to the last, taken back from the last to the first.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.registration.bodies import (
    Body,
    describe_connector,
    make_connector,
    make_group,
    make_model,
    make_pipeline,
    mark,
    read_salt,
)
from gateway.registration.options import RegisterSettings, Word
from gateway.registration.present import DEFAULT_PIPELINE, PRIVATE, RECORD, TRUSTED, Present, Thing, digest
from gateway.registration.talk import CannotRegister

CONNECTOR, GROUP, MODEL = "<connector_id>", "<model_group_id>", "<model_id>"
"""Stand in paths and bodies for what only the cluster's answers tell."""

_ML = "/_plugins/_ml"
_NOT_DEPLOYED = ("REGISTERED", "UNDEPLOYED", "DEPLOY_FAILED")


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        gives: the stand-in for the answer's member of that name.
    """

    method: str
    path: str
    body: Body | None = None
    gives: str | None = None


@dataclass(frozen=True)
class Step:
    """What is to be done about one part.

    Attributes:
        calls: none where it is as it should be.
        needs: words that --allow lacks for them.
    """

    part: str
    calls: tuple[Call, ...] = ()
    needs: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What is to be there.

    Attributes:
        is_private: the rerank API's address is one; None if that cannot be seen from here.
    """

    options: RegisterSettings
    is_private: bool | None
    salt: str = field(default_factory=lambda: secrets.token_hex(4))


Calls = Iterable[Call]


@dataclass(frozen=True)
class Part:
    """How one part is made and taken back."""

    name: str
    make: Callable[[Wanted, Present], Calls]
    undo: Callable[[str, Present], Calls]


def plan_register(wanted: Wanted, present: Present) -> list[Step]:
    """What makes it so.

    Raises:
        CannotRegister: something of others is in the way.
    """
    steps = [
        Step(part.name, tuple(part.make(wanted, present)))
        for part in PARTS
        if wanted.options.index or part.name != _DEFAULT
    ]
    lacking = tuple(word for word in _find_needs(wanted, present) if word not in wanted.options.allowed)
    return [replace(step, needs=lacking) if step.part == _SETTINGS else step for step in steps]


def plan_unregister(pipeline: str, present: Present) -> list[Step]:
    """What takes back all that was made for a pipeline."""
    return [Step(part.name, tuple(part.undo(pipeline, present))) for part in reversed(PARTS)]


# --- cluster settings


def _find_needs(wanted: Wanted, present: Present) -> dict[Word, tuple[str, Any]]:
    """What has to be loosened: the setting and its value."""
    url = wanted.options.rerank_url
    needs: dict[Word, tuple[str, Any]] = {}
    trusted = present.effective(TRUSTED) or []
    if not any(_matches(pattern, url) for pattern in trusted):
        kept = _find_kept(present)  # not the one that we moved away from
        rest = [pattern for pattern in trusted if pattern in kept or pattern not in present.record.endpoints]
        needs["trusted-endpoint"] = TRUSTED, [*rest, _make_endpoint(url)]
    is_asked = "private-address" in wanted.options.allowed
    is_private = is_asked if wanted.is_private is None else wanted.is_private
    if is_private and present.effective(PRIVATE) != "true":
        needs["private-address"] = PRIVATE, "true"
    return needs


def _loosen(wanted: Wanted, present: Present) -> Calls:
    made = dict(_find_needs(wanted, present).values())
    if not made:
        return
    for setting in made:
        if setting in present.overruling:
            raise CannotRegister(
                f"{setting} is set as a transient setting, which overrules ours; change that one"
            )
    record = present.record
    before = {setting: present.settings.get(setting) for setting in made}
    noted = replace(record, before={**before, **record.before})
    if TRUSTED in made:
        endpoint = _make_endpoint(wanted.options.rerank_url)
        noted = replace(
            noted,
            endpoints=(*_find_kept(present), endpoint),
            trusted=record.trusted if record.endpoints else digest(present.effective(TRUSTED) or ()),
        )
    yield _put_settings({**made, RECORD: noted.write()})


def _tighten(_pipeline: str, present: Present) -> Calls:
    """Each setting goes back once no other connector needs it."""
    record, back = present.record, dict[str, Any]()
    kept = _find_kept(present)
    if kept != record.endpoints:
        now = present.settings.get(TRUSTED) or []
        rest = [pattern for pattern in now if pattern in kept or pattern not in record.endpoints]
        back[TRUSTED] = record.before[TRUSTED] if digest(rest) == record.trusted else rest
    if PRIVATE in record.before and not present.other_urls:
        # what somebody has set since stays
        back[PRIVATE] = (
            record.before[PRIVATE]
            if present.settings.get(PRIVATE) == "true"
            else present.settings.get(PRIVATE)
        )
    if back:
        undone = set(back) - ({TRUSTED} if kept else set())
        before = {setting: value for setting, value in record.before.items() if setting not in undone}
        yield _put_settings({**back, RECORD: replace(record, before=before, endpoints=kept).write()})


def _find_kept(present: Present) -> tuple[str, ...]:
    """Our endpoints that other connectors need."""
    urls = present.other_urls
    return tuple(one for one in present.record.endpoints if any(_matches(one, url) for url in urls))


def _put_settings(settings: Body) -> Call:
    return Call("PUT", "/_cluster/settings", {"persistent": settings})


def _make_endpoint(url: str) -> str:
    return f"^{re.escape(url)}$"


def _matches(pattern: str, url: str) -> bool:
    try:
        return re.fullmatch(pattern, url) is not None
    except re.error:  # one that only Java understands
        return False


# --- connector, model group, model


def _connect(wanted: Wanted, present: Present) -> Calls:
    found = present.connector
    if found is None:
        yield Call(
            "POST", f"{_ML}/connectors/_create", make_connector(wanted.options, wanted.salt), CONNECTOR
        )
        return
    described = str(found.body["description"])
    is_same_key = described == describe_connector(
        wanted.options.pipeline, wanted.options.api_key, read_salt(described)
    )
    body = make_connector(wanted.options, read_salt(described) if is_same_key else wanted.salt)
    if not _is_like(found.body, {name: body[name] for name in ("description", "client_config", "actions")}):
        yield Call("PUT", f"{_ML}/connectors/{found.id}", body)


def _disconnect(_pipeline: str, present: Present) -> Calls:
    if present.connector:
        yield Call("DELETE", f"{_ML}/connectors/{present.connector.id}")


def _make_group(wanted: Wanted, present: Present) -> Calls:
    if not present.group:
        yield Call("POST", f"{_ML}/model_groups/_register", make_group(wanted.options.pipeline), GROUP)


def _delete_group(_pipeline: str, present: Present) -> Calls:
    if present.group:
        yield Call("DELETE", f"{_ML}/model_groups/{present.group.id}")


def _register_model(wanted: Wanted, present: Present) -> Calls:
    connector_id = _name(present.connector, CONNECTOR)
    body = make_model(wanted.options.pipeline, _name(present.group, GROUP), connector_id)
    if not present.model:
        yield Call("POST", f"{_ML}/models/_register", body, MODEL)
    elif present.model.body.get("connector_id") != connector_id:
        yield Call("PUT", f"{_ML}/models/{present.model.id}", {"connector_id": connector_id})


def _delete_model(_pipeline: str, present: Present) -> Calls:
    if present.model:
        yield Call("DELETE", f"{_ML}/models/{present.model.id}")


# --- deployment: it holds on to the settings and the connector that were there when it was made


def _undeploy_old(wanted: Wanted, present: Present) -> Calls:
    if _is_deployed(present) and _is_stale(wanted, present):
        yield from _undeploy(wanted.options.pipeline, present)


def _deploy(wanted: Wanted, present: Present) -> Calls:
    if not _is_deployed(present) or _is_stale(wanted, present):
        yield Call("POST", f"{_ML}/models/{_name(present.model, MODEL)}/_deploy")


def _undeploy(_pipeline: str, present: Present) -> Calls:
    if present.model and _is_deployed(present):
        yield Call("POST", f"{_ML}/models/{present.model.id}/_undeploy")


def _is_deployed(present: Present) -> bool:
    return present.model is not None and present.model.body.get("model_state") not in _NOT_DEPLOYED


def _is_stale(wanted: Wanted, present: Present) -> bool:
    return any([*make(wanted, present)] for make in (_loosen, _connect, _register_model))


# --- search pipeline


def _put_pipeline(wanted: Wanted, present: Present) -> Calls:
    pipeline, found = wanted.options.pipeline, present.pipeline
    if found and not _is_our_pipeline(pipeline, present):
        raise CannotRegister(
            f"--pipeline: there is a search pipeline {pipeline} that is not ours; choose another name"
        )
    body = make_pipeline(wanted.options, _name(present.model, MODEL))
    if found != body:
        yield Call("PUT", f"/_search/pipeline/{pipeline}", body)


def _delete_pipeline(pipeline: str, present: Present) -> Calls:
    if _is_our_pipeline(pipeline, present):
        yield Call("DELETE", f"/_search/pipeline/{pipeline}")


def _make_default(wanted: Wanted, present: Present) -> Calls:
    if wanted.options.index is None:
        return
    pipeline = wanted.options.pipeline
    for index, default in present.defaults_of.items():
        if default not in ("", pipeline):
            raise CannotRegister(f"--index: {index} has the default search pipeline {default} already")
    if any(default != pipeline for default in present.defaults_of.values()):
        yield Call("PUT", f"/{wanted.options.index}/_settings", {DEFAULT_PIPELINE: pipeline})


def _end_default(pipeline: str, present: Present) -> Calls:
    """Of whatever index: without the pipeline each search there would fail."""
    if _is_our_pipeline(pipeline, present):
        for index, default in present.defaults_of.items():
            if default == pipeline:
                yield Call("PUT", f"/{index}/_settings", {DEFAULT_PIPELINE: None})


def _is_our_pipeline(pipeline: str, present: Present) -> bool:
    return present.pipeline is not None and present.pipeline.get("description") == mark(pipeline)


def _name(thing: Thing | None, stand_in: str) -> str:
    return thing.id if thing else stand_in


def _is_like(found: Any, wanted: Any) -> bool:
    """Has ``found`` all that is wanted? It may have more."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_is_like(found.get(name), wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_is_like, found, wanted))
    return bool(found == wanted)


def _keep(_pipeline: str, _present: Present) -> Calls:
    return ()


_SETTINGS, _DEFAULT = "cluster settings", "default of the index"

PARTS = (
    Part(_SETTINGS, _loosen, _tighten),
    Part("deployment", _undeploy_old, _keep),
    Part("connector", _connect, _disconnect),
    Part("model group", _make_group, _delete_group),
    Part("model", _register_model, _delete_model),
    Part("deployment", _deploy, _undeploy),
    Part("search pipeline", _put_pipeline, _delete_pipeline),
    Part(_DEFAULT, _make_default, _end_default),
)
