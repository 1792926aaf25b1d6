"""Knows what an operator may set: the process by flags and environment, its policies by ``rerank.toml``."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, RedisDsn, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from gateway.errors import ConfigurationError
from search_plugin import Policy

ENV_PREFIX = "RERANK_GATEWAY_"
_SERVICE_LINK = re.compile(r"(SERVICE_(HOST|PORT)|PORT_\d+_)\w*=.*|PORT=\w+://.*")
"""What Kubernetes puts into the environment for a service that is called rerank-gateway."""


def _check_bind(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise ValueError("expected host:port")
    return value


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


class GatewaySettings(BaseSettings):
    """Put a reranking gateway in front of an Elasticsearch or OpenSearch cluster.

    Clients change only the address. Each flag is also an environment variable: --cluster-url is
    RERANK_GATEWAY_CLUSTER_URL. A cluster with a private certificate authority: set SSL_CERT_FILE.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        cli_prog_name="python -m gateway",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
    )

    bind: Annotated[str, AfterValidator(_check_bind)] = Field(
        "127.0.0.1:9201", description="Where clients reach the gateway, host:port."
    )
    cluster_url: Annotated[str, AfterValidator(_check_cluster_url)] = Field(
        "http://127.0.0.1:9200",
        description="The cluster behind the gateway, http(s)://host:port; several nodes separated by commas.",
    )
    redis_url: RedisDsn = Field(
        RedisDsn("redis://127.0.0.1:6379/0"),
        description="The Redis through which jobs reach the workers, as redis:// or rediss://.",
    )
    config: Path = Field(
        Path("rerank.toml"),
        description="The file that declares models and policies, the same for the workers.",
    )
    search_body_limit_bytes: PositiveInt = Field(
        1024 * 1024,
        description="A search with a larger body, in bytes, is passed through unread, not reranked.",
    )
    connect_timeout_s: PositiveFloat = Field(
        5.0, description="How long a new connection to the cluster may take, in seconds."
    )
    threads: PositiveInt = Field(
        32, description="Requests that one process serves at a time; more wait their turn."
    )
    workers: PositiveInt = Field(1, description="Processes; one uses one processor core.")


def read_settings(argv: Sequence[str]) -> GatewaySettings:
    """Flags, then environment, then defaults.

    Raises:
        ConfigurationError: an option is unknown or wrong; one line that names it.
        SystemExit: ``--help`` was asked for, and is printed.
    """
    for name, value in sorted(os.environ.items()):
        option = name.removeprefix(ENV_PREFIX)
        is_known = option.lower() in GatewaySettings.model_fields or _SERVICE_LINK.fullmatch(
            f"{option}={value}"
        )
        if option != name and not is_known:
            raise ConfigurationError(f"{name}: no such option")
    try:
        return GatewaySettings(_cli_parse_args=list(argv))
    except SettingsError as error:
        raise ConfigurationError(str(error)) from error
    except ValidationError as error:
        place, problem = _first_problem(error)
        flag = f"--{place.replace('_', '-')}"
        raise ConfigurationError(f"{flag} ({ENV_PREFIX}{place.upper()}): {problem}") from error


@dataclass(frozen=True, slots=True)
class Config:
    """What ``rerank.toml`` says, as far as the gateway is concerned.

    Attributes:
        policies: in the file's order.
        models: the aliases that are declared.
    """

    policies: tuple[Policy, ...]
    models: frozenset[str]


def read_config(path: Path) -> Config:
    """Read ``rerank.toml``.

    Of the models only the names matter here; what their tables say is for the workers to read.

    Raises:
        ConfigurationError: one line that names the file and the place in it.
    """
    tables = _read_toml(path)
    for key in tables:
        if key not in ("models", "policies"):
            raise ConfigurationError(f"{path}: {key}: unknown; expected [models.<alias>] and [[policies]]")
    models = tables.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(model, dict) for model in models.values()):
        raise ConfigurationError(f"{path}: models: expected tables, [models.<alias>]")
    found = tables.get("policies", [])
    if not isinstance(found, list):
        raise ConfigurationError(f"{path}: policies: expected tables, [[policies]]")
    policies = tuple(_read_policy(path, number, table) for number, table in enumerate(found, start=1))
    _check_together(path, policies, models)
    return Config(policies, frozenset(models))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigurationError(f"{path}: not TOML: {error}") from error


def _read_policy(path: Path, number: int, table: object) -> Policy:
    try:
        return Policy.model_validate(table)
    except ValidationError as error:
        name = table.get("name") if isinstance(table, dict) else None
        place, problem = _first_problem(error)
        raise ConfigurationError(f"{path}: policy {name or number!r}: {place}: {problem}") from error


def _check_together(path: Path, policies: Sequence[Policy], models: dict[str, Any]) -> None:
    names = [policy.name for policy in policies]
    for policy in policies:
        if policy.model not in models:
            raise ConfigurationError(f"{path}: policy {policy.name!r}: model: no [models.{policy.model}]")
        if names.count(policy.name) > 1:
            raise ConfigurationError(f"{path}: policy {policy.name!r}: name: not unique")


def _first_problem(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"]
