"""Knows what an operator may set: the process by flags and environment, its policies by ``rerank.toml``."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from gateway.cluster_settings import ClusterSettings, name_flag
from gateway.errors import ConfigurationError
from search_plugin import Experiment, Policy
from worker.contract import split_alias
from worker.contract.address import check_redis_url
from worker.contract.logs import LogFormat, LogLevel
from worker.contract.traces import TracesEndpoint, TracesRatio

ENV_PREFIX = "RERANK_GATEWAY_"
_SERVICE_LINK = re.compile(r"(SERVICE_(HOST|PORT)|PORT_\d+_)\w*=.*|PORT=\w+://.*")
"""What Kubernetes puts into the environment for a service that is called rerank-gateway."""


Options = TypeVar("Options", bound=BaseSettings)
Table = TypeVar("Table", Policy, Experiment)


def _check_bind(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise ValueError("expected host:port")
    return value


def _port(bind: str) -> str:
    return bind.rpartition(":")[2]


def _split_keys(keys: SecretStr) -> list[str]:
    return [key.strip() for key in keys.get_secret_value().split(",") if key.strip()]


class GatewaySettings(ClusterSettings, BaseSettings):
    """Put a reranking gateway in front of an Elasticsearch or OpenSearch cluster.

    Clients change only the address. Each flag is also an environment variable: --cluster-url is
    RERANK_GATEWAY_CLUSTER_URL; or, best for secrets, a file of that name in /run/secrets or in systemd's
    $CREDENTIALS_DIRECTORY.
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
    tls_cert: Path | None = Field(
        None,
        description="PEM file of the certificate that clients are shown, with those between it and its "
        "authority; clients then come by https only. Read for each connection: it may be renewed.",
    )
    tls_key: Path | None = Field(
        None, description="PEM file of its key, without password; not needed if the certificate's holds it."
    )
    publish_address: Annotated[str, AfterValidator(_check_bind)] | None = Field(
        None,
        description="Where clients find the gateway, host:port: told to those that sniff, which would leave "
        "the gateway for the nodes' own addresses.",
    )
    rerank_bind: Annotated[str, AfterValidator(_check_bind)] | None = Field(
        None,
        description="Where the rerank APIs (/v1/rerank and others) are reached without a search path, "
        "host:port; they stand under /_rerank on --bind too.",
    )
    rerank_max_documents: PositiveInt = Field(
        1000, description="Texts that one request to a rerank API may have."
    )
    rerank_body_limit_bytes: PositiveInt = Field(
        16 * 1024 * 1024, description="How long the body of such a request may be."
    )
    rerank_deadline_ms: PositiveInt = Field(
        30_000, description="How long such a request may wait for its scores, in milliseconds."
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys for the rerank APIs, separated by commas; a client sends one as Authorization: "
        "Bearer KEY. Without any, everybody is let in.",
    )
    management_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys for jobs and pages, separated by commas; a client sends one as Authorization: "
        "Bearer KEY or X-Rerank-Key: KEY. Without any, only clients on this machine itself are let in.",
    )
    jobs_folder: Path | None = Field(
        None,
        description="Where bulk jobs keep their input and results, for all gateways that are to run them; "
        "without it there are no jobs.",
    )
    jobs_secret: SecretStr = Field(
        SecretStr(""),
        description="Any text, with which a submitter's credentials for the cluster are encrypted for as "
        "long as the job needs them.",
    )
    jobs_at_once: PositiveInt = Field(2, description="Bulk jobs that run at the same time.")
    jobs_retention_days: PositiveFloat = Field(
        7.0, description="How long a job that has ended is kept with its results, in days."
    )
    job_runner: bool = Field(
        True, description="Run jobs in a process beside this one; else `python -m gateway run-jobs` does."
    )
    events_folder: Path | None = Field(
        None,
        description="Where what experiments show and what users do is kept too, as UBI's queries and events, "
        "a line each in a file a day: query texts and ids of sessions are in it.",
    )
    events_life_s: PositiveInt = Field(
        3600, description="Seconds for which the clicks on an answer count for the experiment that it was of."
    )
    events_per_s: PositiveFloat = Field(
        50.0, description="Requests with events that one address may send a second, on average over ten."
    )
    events_origins: str = Field(
        "",
        description="Whose pages may send events, https://shop.example, separated by commas; * for all. "
        "Without any, pages may from where the gateway itself is reached, and applications from everywhere.",
    )
    redis_url: Annotated[str, AfterValidator(check_redis_url)] = Field(
        "redis://127.0.0.1:6379/0",
        description="The Redis through which jobs reach the workers: redis://, rediss://, or Sentinels that "
        "know it, sentinel://host,host,host?master_name=….",
    )
    flower_url: Annotated[str, StringConstraints(pattern="^https?://")] | None = Field(
        None, description="Where people find Flower, http(s)://…: the overview page links to it."
    )
    queue_compress_above: int = Field(
        0, ge=0, description="Jobs of more characters are compressed on their way to Redis; 0: none is."
    )
    config: Path = Field(
        Path("rerank.toml"),
        description="The file that declares models and policies, the same for the workers.",
    )
    search_body_limit_bytes: PositiveInt = Field(
        1024 * 1024,
        description="A search with a larger body, in bytes, is passed through unread, not reranked.",
    )
    threads: PositiveInt = Field(
        32, description="Requests that one process serves at a time; more wait their turn."
    )
    workers: PositiveInt = Field(1, description="Processes; one uses one processor core.")
    log_format: LogFormat = Field(
        "text", description="How log lines look: for people, or a JSON object each."
    )
    log_level: LogLevel = Field("INFO", description="Least severe messages to log.")
    slow_log_ms: NonNegativeInt = Field(
        0,
        description="Searches and rerank requests that take so many milliseconds or more are logged, with "
        "what took them so long and without their texts; 0: none is.",
    )
    traces_endpoint: TracesEndpoint = ""
    traces_ratio: TracesRatio = 1.0

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("--tls-key needs --tls-cert")
        return self

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        if self.rerank_port is not None and self.rerank_port == _port(self.bind):
            raise ValueError("--rerank-bind needs another port than --bind")
        return self

    @property
    def keys(self) -> list[str]:
        """Those of ``api_keys``."""
        return _split_keys(self.api_keys)

    @property
    def managers(self) -> list[str]:
        """Those of ``management_keys``."""
        return _split_keys(self.management_keys)

    @property
    def origins(self) -> list[str]:
        """Those of ``events_origins``."""
        return [origin.strip() for origin in self.events_origins.split(",") if origin.strip()]

    @property
    def host(self) -> str:
        """Of the address that it is bound to."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def rerank_port(self) -> str | None:
        """The port by which a request to the rerank APIs' own listener is told from others."""
        return _port(self.rerank_bind) if self.rerank_bind else None


def read_settings(argv: Sequence[str]) -> GatewaySettings:
    """Those of the gateway itself, as `read_options` reads them."""
    return read_options(GatewaySettings, argv)


def read_options(kind: type[Options], argv: Sequence[str], *related: type[BaseSettings]) -> Options:
    """Flags, then environment, then files of secrets, then defaults.

    Args:
        related: whose variables may be in the environment too; the gateway's always may.

    Raises:
        ConfigurationError: an option is unknown or wrong; one line that names it.
        SystemExit: ``--help`` was asked for, and is printed.
    """
    kinds: tuple[type[BaseSettings], ...] = (GatewaySettings, kind, *related)
    known = {name for one in kinds for name in one.model_fields}
    for name, value in sorted(os.environ.items()):
        option = name.removeprefix(ENV_PREFIX)
        is_known = option.lower() in known or _SERVICE_LINK.fullmatch(f"{option}={value}")
        if option != name and not is_known:
            raise ConfigurationError(f"{name}: no such option")
    try:
        return kind(_cli_parse_args=list(argv), _secrets_dir=_find_secrets())
    except (SettingsError, OSError) as error:  # a file of secrets that cannot be read
        raise ConfigurationError(str(error)) from error
    except ValidationError as error:
        place, problem = _first_problem(error)
        option = f"{name_flag(place)} ({ENV_PREFIX}{place.upper()}): " if place else ""
        raise ConfigurationError(f"{option}{problem}") from error


def _find_secrets() -> list[str]:
    """Where Docker and systemd put them."""
    folders = ("/run/secrets", os.environ.get("CREDENTIALS_DIRECTORY", ""))
    return [folder for folder in folders if os.path.isdir(folder)]


@dataclass(frozen=True, slots=True)
class Config:
    """What ``rerank.toml`` says, as far as the gateway is concerned.

    Attributes:
        policies: in the file's order.
        models: the aliases that are declared, in the file's order, and behind them the pinned versions.
        experiments: in the file's order.
    """

    policies: tuple[Policy, ...]
    models: tuple[str, ...]
    experiments: tuple[Experiment, ...] = ()

    @property
    def default_model(self) -> str:
        """The one that is meant where none is named; empty where none is declared."""
        return next(iter(self.models), "")


def read_config(path: Path) -> Config:
    """Read ``rerank.toml``.

    Of the models only the names and pinned versions matter here; all else is for the workers to read.

    Raises:
        ConfigurationError: one line that names the file and the place in it.
    """
    tables = _read_toml(path)
    for key in tables:
        if key not in ("models", "policies", "experiments"):
            expected = "[models.<alias>], [[policies]], [[experiments]]"
            raise ConfigurationError(f"{path}: {key}: unknown; expected {expected}")
    models = tables.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(model, dict) for model in models.values()):
        raise ConfigurationError(f"{path}: models: expected tables, [models.<alias>]")
    policies = tuple(_read_tables(path, tables, "policies", Policy))
    experiments = tuple(_read_tables(path, tables, "experiments", Experiment))
    _check_together(path, policies, models)
    _check_experiments(path, experiments, policies, models)
    named = [policy.model for policy in policies]
    named += [model for experiment in experiments for model in experiment.models]
    known = dict.fromkeys([*models, *_read_pinned(path, models), *named])
    return Config(policies, tuple(known), experiments)


def _read_pinned(path: Path, models: dict[str, Any]) -> Iterator[str]:
    for alias, table in models.items():
        versions = table.get("pinned", [])
        if not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
            raise ConfigurationError(f"{path}: models.{alias}.pinned: expected a list of versions")
        yield from (f"{alias}@{version}" for version in versions)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigurationError(f"{path}: not TOML: {error}") from error


def _read_tables(path: Path, tables: dict[str, Any], key: str, kind: type[Table]) -> Iterator[Table]:
    found = tables.get(key, [])
    if not isinstance(found, list):
        raise ConfigurationError(f"{path}: {key}: expected tables, [[{key}]]")
    for number, table in enumerate(found, start=1):
        try:
            yield kind.model_validate(table)
        except ValidationError as error:
            name = table.get("name") if isinstance(table, dict) else None
            place, problem = _first_problem(error)
            what = f"{kind.__name__.lower()} {name or number!r}"
            raise ConfigurationError(f"{path}: {what}: {place}: {problem}") from error


def _check_together(path: Path, policies: Sequence[Policy], models: dict[str, Any]) -> None:
    names = [policy.name for policy in policies]
    for policy in policies:
        _check_model(f"{path}: policy {policy.name!r}: model", policy.model, models)
        if names.count(policy.name) > 1:
            raise ConfigurationError(f"{path}: policy {policy.name!r}: name: not unique")


def _check_experiments(
    path: Path, experiments: Sequence[Experiment], policies: Sequence[Policy], models: dict[str, Any]
) -> None:
    names = [experiment.name for experiment in experiments]
    for experiment in experiments:
        place = f"{path}: experiment {experiment.name!r}"
        if experiment.policy not in [policy.name for policy in policies]:
            raise ConfigurationError(f"{place}: policy: there is none of the name {experiment.policy!r}")
        for model in experiment.models:
            _check_model(f"{place}: arms", model, models)
        if names.count(experiment.name) > 1:
            raise ConfigurationError(f"{place}: name: not unique")


def _check_model(place: str, model: str, models: dict[str, Any]) -> None:
    """A declared alias, or a version of one that has versions."""
    alias, version = split_alias(model)
    if alias not in models:
        raise ConfigurationError(f"{place}: no [models.{alias}]")
    if version and "versions" not in models[alias]:
        raise ConfigurationError(f"{place}: {model}: [models.{alias}] has no versions to name one of")


def _first_problem(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"]
