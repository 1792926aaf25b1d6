"""Knows what the cluster's objects that call us look like; values in, JSON out."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import SecretStr

from gateway.registration.options import RegisterSettings

Body = dict[str, Any]
"""JSON; a SecretStr in it is shown as asterisks and sent as it is."""

_SCRIPT = r"""
String ask = '{"model":%s,"query":"' + params.query_text + '","documents":["'
    + String.join('","', params.text_docs) + '"]}';
return '{"parameters":{"ask":"'
    + ask.replace('$', '\\u0024').replace('\\', '\\\\').replace('"', '\\"') + '"}}';
"""
"""Painless that writes the whole body, as one parameter.

ml-commons has escaped the texts for JSON when the script sees them. Its ready-made function with a template
of several parameters fails on a query that is a JSON object or array itself, and puts parameters in the place
of ``${parameters.x}`` wherever it stands, in queries and documents too. So ``$`` is escaped, and the whole
body is one text.
"""


def name_objects(pipeline: str) -> str:
    """How connector, model and model group of a pipeline are called."""
    return f"rerank-sidecar {pipeline}"


def mark(pipeline: str) -> str:
    """How the description of everything of ours begins.

    ml-commons allows letters, digits, blanks and ``.,!?():@-_'/"``.
    """
    return f"Made by rerank-sidecar for the search pipeline {pipeline}."


def describe_connector(pipeline: str, key: SecretStr, salt: str) -> str:
    """Also tells the key from others, since nobody can read it back; what is told cannot be turned around."""
    if not key.get_secret_value():
        return f"{mark(pipeline)} No key."
    digest = hashlib.pbkdf2_hmac("sha256", key.get_secret_value().encode(), salt.encode(), 200_000, 16)
    return f"{mark(pipeline)} Key {salt}-{digest.hex()}."


def read_salt(description: str) -> str:
    """What `describe_connector` was given; empty where there is none."""
    return description.rpartition(" Key ")[2].partition("-")[0] if " Key " in description else ""


def make_connector(wanted: RegisterSettings, salt: str) -> Body:
    """How the cluster calls ``/v1/rerank``."""
    has_key = bool(wanted.api_key.get_secret_value())
    model = json.dumps(wanted.model).replace("\\", "\\\\").replace("'", "\\'")
    return {
        "name": name_objects(wanted.pipeline),
        "description": describe_connector(wanted.pipeline, wanted.api_key, salt),
        "version": "1",
        "protocol": "http",
        # ml-commons wants some credential, used or not
        "credential": {"api_key": wanted.api_key} if has_key else {"none": "none"},
        "client_config": {
            "connection_timeout": wanted.timeout_s,
            "read_timeout": wanted.timeout_s,
        },
        "actions": [
            {
                "action_type": "PREDICT",
                "method": "POST",
                "url": wanted.rerank_url,
                "headers": {"Authorization": "Bearer ${credential.api_key}"} if has_key else {},
                "request_body": "${parameters.ask}",
                "pre_process_function": _SCRIPT % model,
                "post_process_function": "connector.post_process.cohere.rerank",
            }
        ],
    }


def make_group(pipeline: str) -> Body:
    """The group that a model belongs to."""
    return {"name": name_objects(pipeline), "description": mark(pipeline)}


def make_model(pipeline: str, group_id: str, connector_id: str) -> Body:
    """The model behind the connector."""
    return {
        "name": name_objects(pipeline),
        "description": mark(pipeline),
        "function_name": "remote",
        "model_group_id": group_id,
        "connector_id": connector_id,
    }


def make_pipeline(wanted: RegisterSettings, model_id: str) -> Body:
    """The search pipeline that asks the model."""
    rerank = {
        "ml_opensearch": {"model_id": model_id},
        "context": {"document_fields": wanted.fields},
        "ignore_failure": wanted.ignore_failure,
    }
    return {"description": mark(wanted.pipeline), "response_processors": [{"rerank": rerank}]}


def make_search(wanted: RegisterSettings) -> tuple[str, Body]:
    """A search to try: path and body."""
    by_name = "" if wanted.index else f"?search_pipeline={wanted.pipeline}"
    return f"/{wanted.index or 'INDEX'}/_search{by_name}", {
        "query": {"multi_match": {"query": "TEXT", "fields": wanted.fields}},
        "ext": {"rerank": {"query_context": {"query_text": "TEXT"}}},
    }


def make_inference(wanted: RegisterSettings) -> tuple[str, Body]:
    """Elasticsearch's counterpart: path and body of an inference endpoint of the service ``custom``."""
    service: Body = {
        "url": wanted.rerank_url,
        "headers": {"Content-Type": "application/json"},
        "request": f'{{"model":{json.dumps(wanted.model)},"query":${{query}},"documents":${{input}},'
        '"return_documents":true}',
        "response": {
            "json_parser": {
                "reranked_index": "$.results[*].index",
                "relevance_score": "$.results[*].relevance_score",
                "document_text": "$.results[*].document.text",
            }
        },
    }
    if wanted.api_key.get_secret_value():
        service["headers"]["Authorization"] = "Bearer ${api_key}"
        service["secret_parameters"] = {"api_key": wanted.api_key}
    return f"/_inference/rerank/{wanted.pipeline}", {"service": "custom", "service_settings": service}


def make_retriever(wanted: RegisterSettings) -> tuple[str, Body]:
    """Elasticsearch's search with it: path and body."""
    field = wanted.fields[0]
    return f"/{wanted.index or 'INDEX'}/_search", {
        "retriever": {
            "text_similarity_reranker": {
                "retriever": {"standard": {"query": {"match": {field: "TEXT"}}}},
                "field": field,
                "inference_id": wanted.pipeline,
                "inference_text": "TEXT",
                "rank_window_size": 50,
            }
        }
    }
