"""Knows what an operator may set about the cluster: its nodes, TLS and credentials."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PositiveFloat,
    SecretStr,
    StringConstraints,
    model_validator,
)


def _check_cluster_url(value: str) -> str:
    urls = [_check_node_url(url.strip()) for url in value.split(",")]
    if len({urlsplit(url).scheme for url in urls}) > 1:
        raise ValueError("expected http or https for all nodes")
    if len(set(urls)) < len(urls):
        raise ValueError("expected each node once")
    return ",".join(urls)


def _check_node_url(value: str) -> str:
    parts = urlsplit(value)
    has_host = bool(parts.hostname) and parts.port != 0  # `port` raises ValueError where it is no number
    is_bare = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in ("http", "https") or not has_host or not is_bare:
        raise ValueError("expected http(s)://host:port, without path or credentials")
    return value.rstrip("/")


def _check_fingerprint(value: str) -> str:
    digits = value.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError("expected SHA-256: 64 hexadecimal digits, with or without colons")
    return digits


def _check_api_key(value: SecretStr) -> SecretStr:
    if not re.fullmatch("[A-Za-z0-9+/=_-]+", value.get_secret_value()):
        raise ValueError("expected the encoded form, base64 of id:api_key")
    return value


class ClusterSettings(BaseModel):
    """The options that begin with ``--cluster-``."""

    cluster_url: Annotated[str, AfterValidator(_check_cluster_url)] = Field(
        "http://127.0.0.1:9200",
        description="The cluster behind the gateway, http(s)://host:port; several nodes separated by commas.",
    )
    connect_timeout_s: PositiveFloat = Field(
        5.0, description="How long a new connection to the cluster may take, in seconds."
    )
    cluster_ca: Path | None = Field(
        None,
        description="PEM file of the certificate authorities to trust, instead of this machine's or those "
        "that SSL_CERT_FILE names.",
    )
    cluster_fingerprint: Annotated[str, AfterValidator(_check_fingerprint)] | None = Field(
        None,
        description="SHA-256 of the cluster's certificate or of an authority above it, as Elasticsearch "
        "prints it at its first start; only what leads to it is trusted, whatever host it names.",
    )
    cluster_client_cert: Path | None = Field(
        None, description="PEM file of the certificate that the gateway shows to the cluster."
    )
    cluster_client_key: Path | None = Field(
        None, description="PEM file of its key, without password; not needed if the certificate's holds it."
    )
    cluster_username: Annotated[str, StringConstraints(pattern="^[^:]+$")] | None = Field(
        None,
        description="Who the gateway is where a request names nobody. Whoever reaches the gateway then has "
        "this user's rights.",
    )
    cluster_password: SecretStr | None = Field(
        None, description="That user's password; better by environment or file than on the command line."
    )
    cluster_api_key: Annotated[SecretStr, AfterValidator(_check_api_key)] | None = Field(
        None, description="An API key instead, in its encoded form; the same holds for it."
    )
    cluster_aws_region: str | None = Field(
        None,
        description="Sign every request for AWS in this region, with the credentials of the gateway's "
        "environment instead of the caller's. Needs the extra rerank-sidecar[aws].",
    )
    cluster_aws_service: Literal["es", "aoss"] = Field(
        "es", description="What is signed for: es, a domain; aoss, a collection of OpenSearch Serverless."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given = {name for name in ClusterSettings.model_fields if getattr(self, name) is not None}
        for option, other in _NEEDED:
            if option in given and other not in given:
                raise ValueError(f"{name_flag(option)} needs {name_flag(other)}")
        for option, other in _EXCLUDED:
            if {option, other} <= given:
                raise ValueError(f"{name_flag(option)} excludes {name_flag(other)}")
        for option in sorted(given & _TLS):
            if self.cluster_url.startswith("http:"):
                raise ValueError(f"{name_flag(option)} needs https:// in --cluster-url")
        if "cluster_aws_region" in given and "," in self.cluster_url:
            raise ValueError("--cluster-aws-region needs a single node in --cluster-url")
        return self


_TLS = {"cluster_ca", "cluster_fingerprint", "cluster_client_cert"}
_NEEDED = (
    ("cluster_client_key", "cluster_client_cert"),
    ("cluster_username", "cluster_password"),
    ("cluster_password", "cluster_username"),
)
_EXCLUDED = (
    ("cluster_fingerprint", "cluster_ca"),
    ("cluster_api_key", "cluster_username"),
    ("cluster_aws_region", "cluster_username"),
    ("cluster_aws_region", "cluster_api_key"),
)


def name_flag(option: str) -> str:
    """As it is written on the command line."""
    return f"--{option.replace('_', '-')}"
