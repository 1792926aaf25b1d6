"""Knows what an operator can set: options in flags and environment, models in a file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from worker.contract import DeclaredAlias, ModelAlias, split_alias
from worker.contract.address import check_redis_url
from worker.contract.logs import LogFormat, LogLevel
from worker.contract.traces import TracesEndpoint, TracesRatio
from worker.errors import ConfigError

ENV_PREFIX = "RERANK_WORKER_"
_SERVICE_LINK = re.compile(r"(SERVICE_(HOST|PORT)|PORT_\d+_)\w*=.*|PORT=\w+://.*")
"""What Kubernetes puts into the environment for a service that is called rerank-worker."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")  # owner/name
_FOLDER_FILES = {"path": ("config.json", "adapter_config.json"), "peft_path": ("adapter_config.json",)}


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _each_once(aliases: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(aliases))


class WorkerSettings(BaseSettings):
    """Scores jobs from Redis with the cross-encoders that rerank.toml declares.

    Every option can also be set in the environment: --redis-url is RERANK_WORKER_REDIS_URL.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        cli_prog_name="python -m worker",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
    )

    redis_url: Annotated[str, AfterValidator(check_redis_url)] = Field(
        "redis://localhost:6379/0",
        description="Redis that holds the queues and takes the replies: redis://, rediss://, or Sentinels "
        "that know it, sentinel://host,host,host?master_name=….",
    )
    config: Path = Field(
        Path("rerank.toml"),
        description="File that declares the models, one [models.<alias>] table each.",
    )
    models: Annotated[
        tuple[ModelAlias, ...], NoDecode, BeforeValidator(_split_commas), AfterValidator(_each_once)
    ] = Field(
        (),
        description="Aliases of the models to load, separated by commas, each with its pinned versions, or "
        "one version (docs@v2); none means all declared ones.",
    )
    watch_s: float = Field(
        5,
        ge=0,
        description="Seconds between looks at the file and the models' folders: what has changed is loaded, "
        "and exchanged while jobs run; 0: only at the start.",
    )
    concurrency: int = Field(
        64, ge=1, le=1024, description="Jobs that may wait for their scores at once, one thread each."
    )
    pass_ms: int = Field(
        100,
        ge=1,
        description="Milliseconds that a forward pass should take: so long newcomers wait at most.",
    )
    cache_ttl_s: int = Field(
        3600, ge=0, description="Seconds for which a query's scores are kept in Redis; 0 keeps none."
    )
    cache_queries: int = Field(
        20_000, ge=1, description="Queries whose scores are kept at most, some 4 kB each for 100 passages."
    )
    pass_limit_s: int = Field(
        120, ge=1, description="Seconds after which a forward pass is taken for hanging: the worker ends."
    )
    silence_limit_s: int = Field(
        60,
        ge=5,
        description="Seconds after which a worker ends that looks for no jobs while Redis can be reached.",
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Where Prometheus finds this worker's figures; 0: nowhere."
    )
    visibility_timeout_s: int = Field(
        60,
        ge=1,
        description="Seconds after which the job of a dead worker goes to another; more than a job takes.",
    )
    log_format: LogFormat = Field(
        "text", description="How log lines look: for people, or a JSON object each."
    )
    log_level: LogLevel = Field(
        "INFO", description="Least severe messages to log; only DEBUG may quote queries and passages."
    )
    traces_endpoint: TracesEndpoint = ""
    traces_ratio: TracesRatio = 1.0


class ModelSettings(BaseModel):
    """One ``[models.<alias>]`` table; what is left out keeps the default of ``FlagAutoReranker``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field("", description="Model folder (relative to the file) or the name on the hub.")
    versions: str | None = Field(
        None, min_length=1, description="Instead: a folder of versions, of which the live one is served."
    )
    pinned: tuple[DeclaredAlias, ...] = Field(
        (), description="Versions that are served beside the live one; those that the file names always are."
    )
    model_class: (
        Literal[
            "encoder-only-base", "decoder-only-base", "decoder-only-layerwise", "decoder-only-lightweight"
        ]
        | None
    ) = Field(None, description="Family, where the model's files don't tell.")
    peft_path: str | None = Field(
        None, min_length=1, description="LoRA adapter folder, or its name on the hub."
    )
    revision: str | None = Field(
        None, min_length=1, description="Branch, tag or commit of a model on the hub."
    )
    use_fp16: bool | None = Field(None, description="Compute in half precision (GPU only).")
    use_bf16: bool | None = Field(None, description="Compute in bfloat16.")
    attn_implementation: str | None = Field(
        None, description='transformers\' attention, for example "flash_attention_2"; default its choice.'
    )
    devices: str | list[str] | None = Field(
        None, description='For example "cuda:0", or several; default all GPUs.'
    )
    max_length: int | None = Field(
        None, ge=16, description="Tokens a pair may have; passages are cut to fit."
    )
    query_max_length: int | None = Field(None, ge=1, description="Tokens a query may have before it is cut.")
    passage_max_length: int | None = Field(
        None, ge=1, description="Tokens a passage may have before it is cut."
    )
    batch_size: int | None = Field(None, ge=1, description="Pairs per batch inside one forward pass.")
    query_instruction_for_rerank: str | None = Field(None, description="Put before each query.")
    query_instruction_format: str | None = Field(None, description="Joins instruction and query: {}{}.")
    passage_instruction_for_rerank: str | None = Field(None, description="Put before each passage.")
    passage_instruction_format: str | None = Field(None, description="Joins instruction and passage: {}{}.")
    prompt: str | None = Field(None, description="Language models: question that follows query and passage.")
    separator: str | None = Field(
        None, description="Decoder-only models: between query, passage and prompt; default a new line."
    )
    answers: list[str] | None = Field(
        None, description='Decoder-only models: whose logit scores, and whose is taken off; default ["Yes"].'
    )
    cutoff_layers: int | None = Field(None, ge=1, description="Layered models: the layer that scores.")
    compress_layers: list[int] | None = Field(
        None, description="Lightweight models: layers to compress before."
    )
    compress_ratio: int | None = Field(None, ge=1, description="Lightweight models: tokens that become one.")

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if bool(self.path) == bool(self.versions):
            raise ValueError("path: expected a folder or a hub name, or `versions` instead")
        if self.versions and (self.peft_path or self.revision):
            raise ValueError("versions: excludes peft_path and revision; a version may be an adapter")
        if self.pinned and not self.versions:
            raise ValueError("pinned: needs versions")
        return self


class RerankFile(BaseModel):
    """rerank.toml as far as a worker reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[DeclaredAlias, ModelSettings] = Field(min_length=1)
    policies: list[Any] = Field([], description="The gateway's; only which versions they name matters here.")
    experiments: list[Any] = Field([], description="The gateway's too.")

    @property
    def pinned(self) -> Iterator[str]:
        """The versions that are to be served beside the live ones, as ``alias@version``."""
        for alias, model in self.models.items():
            yield from (f"{alias}@{version}" for version in model.pinned)
        for table in (*self.policies, *self.experiments):
            if isinstance(table, dict):
                arms = table.get("arms")
                named = [table.get("model"), *(arms if isinstance(arms, list) else ())]
                yield from (name for name in named if isinstance(name, str) and split_alias(name)[1])


def read_settings(argv: Sequence[str]) -> WorkerSettings:
    """Flags, then environment, then defaults.

    Raises:
        ConfigError: an option is unknown or wrong.
        SystemExit: ``--help`` was asked for, and is printed.
    """
    for name, value in sorted(os.environ.items()):
        option = name.removeprefix(ENV_PREFIX)
        is_known = option.lower() in WorkerSettings.model_fields or _SERVICE_LINK.fullmatch(
            f"{option}={value}"
        )
        if option != name and not is_known:
            raise ConfigError(f"{name}: no such option")
    try:
        return WorkerSettings(_cli_parse_args=list(argv))
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    except ValidationError as error:
        field, problem = _first_problem(error)
        option = field.partition(".")[0]
        raise ConfigError(f"{_flag(option)} ({ENV_PREFIX}{option.upper()}): {problem}") from error


def read_models(settings: WorkerSettings) -> dict[str, ModelSettings]:
    """The models to serve by alias, their folders made absolute, in the order asked for or declared.

    Raises:
        ConfigError: the file can't be read or is wrong, an alias isn't declared, or a folder isn't a model's.
    """
    file = _read_file(settings.config)
    pinned = tuple(file.pinned)
    wanted = []
    for asked in settings.models or tuple(file.models):
        wanted += [asked, *(name for name in pinned if split_alias(name)[0] == asked)]
    return {alias: _locate(_find(alias, file, settings), alias, settings.config) for alias in wanted}


def _find(alias: str, file: RerankFile, settings: WorkerSettings) -> ModelSettings:
    declared, version = split_alias(alias)
    if declared not in file.models:
        known = ", ".join(file.models)
        raise ConfigError(f"{_flag('models')}: {settings.config} declares no {declared!r}, only {known}")
    model = file.models[declared]
    if version and not model.versions:
        raise ConfigError(f"{settings.config}: {alias}: models.{declared} has no versions to name one of")
    return model


def _read_file(config: Path) -> RerankFile:
    try:
        return RerankFile.model_validate(tomllib.loads(config.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{_flag('config')}: can't read {config}: {error.strerror}") from error
    except ValidationError as error:
        field, problem = _first_problem(error)
        raise ConfigError(f"{config}: {field}: {problem}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{config}: {error}") from error


def _locate(model: ModelSettings, alias: str, config: Path) -> ModelSettings:
    """The same settings with folders absolute; names on the hub stay as they are."""
    if model.versions:
        return model.model_copy(update=_locate_version(model.versions, alias, config))
    found = {}
    for option, files in _FOLDER_FILES.items():
        name = getattr(model, option)
        if not name:
            continue
        folder = config.absolute().parent / Path(name).expanduser()
        if _HUB_NAME.fullmatch(name) and not folder.exists():
            continue
        if not any((folder / file).is_file() for file in files):
            problem = f"has no {' or '.join(files)}" if folder.is_dir() else "is no folder"
            raise ConfigError(f"{config}: models.{alias}.{option}: {folder} {problem}")
        found[option] = str(folder)
    return model.model_copy(update=found)


def _locate_version(versions: str, alias: str, config: Path) -> Mapping[str, object]:
    """The live version's folder, or that of the one which the alias names, in the place of its like."""
    from rerankers import BadVersion, Versions  # here, since torch takes seconds that --help should not

    declared, version = split_alias(alias)
    there = Versions(config.absolute().parent / Path(versions).expanduser())
    try:
        name = version or there.live
        if name is None:
            raise BadVersion(f"{there.folder}: no version is live; python -m rerankers versions promote one")
        return {"path": str(there.locate(name)), "versions": None, "pinned": ()}
    except BadVersion as error:
        raise ConfigError(f"{config}: models.{declared}.versions: {error}") from error


def _first_problem(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"]


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
