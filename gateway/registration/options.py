"""Knows what may be asked of ``register`` and ``unregister``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveInt, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.cluster_settings import ClusterSettings
from gateway.settings import GatewaySettings

Word = Literal["trusted-endpoint", "private-address"]
"""A protection of the cluster's that may be loosened, as --allow names it."""


def _check_url(value: str) -> str:
    parts = urlsplit(value)
    has_host = bool(parts.hostname) and parts.port != 0  # `port` raises ValueError where it is no number
    if (
        parts.scheme not in ("http", "https")
        or not has_host
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ValueError("expected http(s)://host:port, or with the path under which the rerank APIs stand")
    return value.rstrip("/").removesuffix("/v1/rerank")


def _check_key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]*", value.get_secret_value()):
        raise ValueError("expected printable ASCII without blanks")
    return value


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _check_fields(value: str) -> str:
    if not _split(value):
        raise ValueError("expected names of fields, separated by commas")
    return value


def _check_words(value: str) -> str:
    for word in _split(value):
        if word not in get_args(Word):
            raise ValueError(f"{word}: expected {' or '.join(get_args(Word))}")
    return value


_CONFIG = SettingsConfigDict(**{**GatewaySettings.model_config, "cli_implicit_flags": True})


class UnregisterSettings(ClusterSettings, BaseSettings):
    """Take back what `register` made for one search pipeline, and nothing else.

    Without --apply nothing is changed: each request is shown. The cluster is named by the gateway's own
    options and variables.
    """

    model_config = SettingsConfigDict(**{**_CONFIG, "cli_prog_name": "python -m gateway unregister"})

    pipeline: Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9._-]{0,99}$")] = Field(
        "rerank-sidecar", description="The search pipeline; what is made for it bears its name."
    )
    apply: bool = Field(False, description="Do it; without this, each request is only shown.")


class RegisterSettings(UnregisterSettings):
    """Let OpenSearch's own `rerank` search pipeline ask our rerank API for scores.

    Without --apply nothing is changed: each request is shown, secrets hidden. A second run changes only what
    differs. The cluster is named by the gateway's own options and variables. For Elasticsearch, the requests
    that do the same are shown.
    """

    model_config = SettingsConfigDict(**{**_CONFIG, "cli_prog_name": "python -m gateway register"})

    url: Annotated[str, AfterValidator(_check_url)] = Field(
        description="The rerank APIs as the cluster's nodes reach them: what --rerank-bind listens on, or "
        "the gateway's address and /_rerank."
    )
    api_key: Annotated[SecretStr, AfterValidator(_check_key)] = Field(
        SecretStr(""), description="One of the gateway's --api-keys; better by environment or file."
    )
    model: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(
        description="The alias in rerank.toml."
    )
    document_fields: Annotated[str, AfterValidator(_check_fields)] = Field(
        description="The fields of a hit that the model reads, separated by commas."
    )
    index: Annotated[str, StringConstraints(pattern=r"^[^\s/?#%*,_][^\s/?#%*,]*$")] | None = Field(
        None, description="Make the pipeline this index's default, for searches that name none."
    )
    ignore_failure: bool = Field(
        True, description="A search that cannot be reranked gets the cluster's own order; else an error."
    )
    timeout_s: PositiveInt = Field(10, description="How long the cluster waits for scores, in seconds.")
    allow: Annotated[str, AfterValidator(_check_words)] = Field(
        "",
        description="Protections of the cluster that may be loosened where that is needed, separated by "
        "commas: trusted-endpoint (it may call this one address), private-address (connectors may call "
        "private addresses, all of them).",
    )

    @property
    def rerank_url(self) -> str:
        """What the cluster calls."""
        return f"{self.url}/v1/rerank"

    @property
    def fields(self) -> list[str]:
        """Those of ``document_fields``."""
        return _split(self.document_fields)

    @property
    def allowed(self) -> frozenset[str]:
        """The words of ``allow``."""
        return frozenset(_split(self.allow))
