"""Knows the rerank APIs as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from gateway.direct.answers import VERSION
from gateway.direct.asks import BODIES, Kind

_REFERENCE = "#/components/schemas/{model}"

_INTEGER, _NUMBER, _STRING = {"type": "integer"}, {"type": "number"}, {"type": "string"}


def _object(**members: object) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members)}


def _list_of(item: object) -> dict[str, Any]:
    return {"type": "array", "items": item}


_HEAD: Mapping[str, object] = {
    "id": _STRING,
    "object": {"const": "list"},
    "model": _STRING,
    "created": _INTEGER,
    "usage": _object(prompt_tokens=_INTEGER, total_tokens=_INTEGER),
}
_RANKED = _object(
    **_HEAD,
    results=_list_of(_object(index=_INTEGER, relevance_score=_NUMBER)),
    meta={"type": "object"},
)
_ANSWERS: Mapping[Kind, dict[str, Any]] = {
    "rerank": _RANKED,
    "infinity": _RANKED,
    "tei": _list_of(_object(index=_INTEGER, score=_NUMBER)),
    "score": _object(
        **_HEAD, data=_list_of(_object(index=_INTEGER, object={"const": "score"}, score=_NUMBER))
    ),
}
_ERROR = _object(
    error=_object(message=_STRING, type=_STRING, param={"type": ["string", "null"]}, code=_INTEGER),
    message=_STRING,
    detail=_STRING,
)
_TEI_ERROR = _object(error=_STRING, error_type=_STRING)

_STATUSES: Mapping[str, str] = {
    "400": "The body is not a JSON object, or there is nothing to score.",
    "401": "A key is needed.",
    "404": "The model is not declared.",
    "413": "The body is too long.",
    "422": "A member is wrong; the message names it.",
    "424": "Scoring failed (where the answer is an array).",
    "429": "More waits than can be scored in time.",
    "503": "No worker serves the model, or scoring failed.",
    "504": "The scores were not there in time.",
}


def make_openapi(paths: Mapping[str, Kind]) -> dict[str, Any]:
    """The document.

    Args:
        paths: what each path answers.
    """
    _, schemas = models_json_schema(
        [(body, "validation") for body in BODIES.values()], ref_template=_REFERENCE
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rerank sidecar",
            "version": VERSION,
            "description": "Scores of texts for a query, in the rerank APIs that tools already speak.",
        },
        "servers": [{"url": "."}],
        "paths": {path: {"post": _describe(path, kind)} for path, kind in paths.items()},
        "components": {
            "schemas": _allow_nulls(schemas["$defs"]) | {"Error": _ERROR, "TeiError": _TEI_ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _allow_nulls(schemas: dict[str, Any]) -> dict[str, Any]:
    """Where a member may be left out, it may be null too."""
    for schema in schemas.values():
        for name, member in schema["properties"].items():
            if name not in schema.get("required", ()):
                schema["properties"][name] = {"anyOf": [member, {"type": "null"}]}
    return schemas


def _describe(path: str, kind: Kind) -> dict[str, Any]:
    bodies, found, error = [_name(kind)], [_ANSWERS[kind]], ["TeiError" if kind == "tei" else "Error"]
    if path == "/rerank":  # both dialects
        bodies, found, error = (
            ["RerankBody", "TeiBody"],
            [_ANSWERS["rerank"], _ANSWERS["tei"]],
            ["Error", "TeiError"],
        )
    return {
        "operationId": path.strip("/").replace("/", "_"),
        "security": [{}, {"key": []}],
        "requestBody": {"required": True, "content": _json(_any_of([_refer(name) for name in bodies]))},
        "responses": {
            "200": {
                "description": "Scores, best first (score: in the texts' order).",
                "content": _json(_any_of(found)),
            },
            **{
                status: {"description": text, "content": _json(_any_of([_refer(name) for name in error]))}
                for status, text in _STATUSES.items()
            },
        },
    }


def _name(kind: Kind) -> str:
    return BODIES[kind].__name__


def _refer(name: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(model=name)}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
