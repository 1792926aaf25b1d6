"""``python -m worker.monitor``: Flower, to look at workers and their jobs, and only to look.

``app`` is for Celery's own commands (``celery -A worker.monitor status``), with the broker's address in
``CELERY_BROKER_URL``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Annotated, Self

from celery import Celery
from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from worker.contract.address import RedisAddress, check_redis_url

_COLUMNS = "name,uuid,state,received,started,runtime,worker"


class MonitorSettings(BaseSettings):
    """Shows workers and jobs in a browser, by Flower; nothing can be changed there.

    Each flag is also an environment variable, --redis-url RERANK_MONITOR_REDIS_URL, or a file of that name in
    /run/secrets or systemd's $CREDENTIALS_DIRECTORY.
    """

    model_config = SettingsConfigDict(
        env_prefix="RERANK_MONITOR_",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        cli_prog_name="python -m worker.monitor",
        cli_kebab_case=True,
        cli_exit_on_error=False,
    )

    redis_url: Annotated[str, AfterValidator(check_redis_url)] = Field(
        "redis://localhost:6379/0", description="Redis that holds the queues, as for the workers."
    )
    bind: Annotated[str, StringConstraints(pattern=r"^.+:\d{1,5}$")] = Field(
        "127.0.0.1:5555", description="Where browsers reach it, host:port."
    )
    user: Annotated[str, StringConstraints(pattern="^[^:]*$")] = Field(
        "operator", description="Who has to log in, where there is a password."
    )
    password: SecretStr = Field(
        SecretStr(""),
        description="With which password; needed unless --bind is a loopback address. Better by environment "
        "or file than as a flag.",
    )
    url_prefix: str = Field("", description="Path under which a proxy shows it, for example workers.")
    max_tasks: PositiveInt = Field(
        5000, description="Jobs that are remembered, some kilobytes each; older ones go."
    )

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        if not self.password.get_secret_value() and not _is_loopback(self.bind):
            raise ValueError(f"--bind {self.bind} lets others in: --password is needed")
        return self


def main(argv: Sequence[str]) -> int:
    """Serve until stopped; 2 and one line on stderr where a setting is wrong or Flower is not installed."""
    try:
        settings = MonitorSettings(_cli_parse_args=list(argv), _secrets_dir=_find_secrets())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        option = "".join(f"--{name}: ".replace("_", "-") for name in first["loc"])
        return _refuse(f"{option}{first['msg']}")
    except (SettingsError, OSError) as error:
        return _refuse(str(error))
    if find_spec("flower") is None:
        return _refuse("Flower is not installed: pip install flower")
    code = make_app(settings.redis_url).start(["flower", *make_flags(settings)])
    return int(code or 0)


def make_app(redis_url: str) -> Celery:
    """Celery as it is to see the workers' queues."""
    made = Celery("monitor", set_as_current=False)
    made.conf.update(RedisAddress.from_url(redis_url).configure_celery())
    return made


def make_flags(settings: MonitorSettings) -> list[str]:
    """Flower's; they stay in this process, where no list of processes shows them."""
    address, _, port = settings.bind.rpartition(":")
    flags = {
        "address": address.strip("[]"),
        "port": port,
        "read_only": "true",
        "max_tasks": str(settings.max_tasks),
        "tasks_columns": _COLUMNS,  # no arguments, no results: there is nothing to be seen in them
        "url_prefix": settings.url_prefix.strip("/"),
    }
    if password := settings.password.get_secret_value():
        flags["basic_auth"] = f"{settings.user}:{password}"
    return [f"--{name}={value}" for name, value in flags.items() if value]


def _is_loopback(bind: str) -> bool:
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _find_secrets() -> list[str]:
    folders = ("/run/secrets", os.environ.get("CREDENTIALS_DIRECTORY", ""))
    return [folder for folder in folders if os.path.isdir(folder)]


def _refuse(problem: str) -> int:
    print(f"monitor: {problem}", file=sys.stderr)
    return 2


app = make_app(os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0"))

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
