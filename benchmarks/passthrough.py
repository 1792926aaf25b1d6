"""What the gateway adds to requests that it only passes on: ``python -m benchmarks.passthrough``.

The cluster is an nginx that answers fixed bytes at once, so that what is measured is the way and
not the engine. The three ways (direct, through nginx, through the gateway) take turns, wrk asks; each process
has one worker. Needs nginx and wrk on the PATH or in /usr/sbin.
"""

import argparse
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from benchmarks.report import Row, append_report
from demo import settings
from tests.conftest import find_free_port

MB = 1_000_000
HUGE_BYTES = 128 * MB
SMALL = '{"_index":"idx","_id":"1","_version":1,"found":true,"_source":{"title":"a title","body":"a body"}}'

NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1000s; client_max_body_size 0;
  client_body_temp_path {folder}/{name}.body; proxy_temp_path {folder}/{name}.proxy;
  fastcgi_temp_path {folder}/{name}.f; uwsgi_temp_path {folder}/{name}.u; scgi_temp_path {folder}/{name}.s;
  default_type application/json; {http}
  server {{ listen 127.0.0.1:{port}; {server} }}
}}
"""
CLUSTER = """
location /idx/_doc {{ add_header X-elastic-product Elasticsearch; return 200 '{small}'; }}
location /_bulk {{
  client_body_buffer_size 16m; proxy_pass_request_body off; proxy_set_header Content-Length "";
  proxy_pass http://127.0.0.1:{port}/idx/_doc; }}  # `return` alone would not read the body
location / {{ root {folder}; }}
"""
PROXY_HTTP = "upstream cluster {{ server 127.0.0.1:{cluster}; keepalive 64; }}"
PROXY_SERVER = """location / {
  proxy_pass http://cluster; proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_request_buffering off; }"""
BULK_SCRIPT = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-ndjson"
wrk.body = string.rep("x", 10000000)"""


@dataclass(frozen=True)
class Load:
    """One kind of request, asked for by so many connections at once."""

    title: str
    target: str
    connections: int
    seconds: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """How the cluster is reached; ``process`` is what stands between, None for nothing."""

    name: str
    port: int
    process: psutil.Process | None

    @property
    def cpu_s(self) -> float:
        """Of the process and its workers, so far."""
        if self.process is None:
            return 0.0
        times = [process.cpu_times() for process in (self.process, *self.process.children())]
        return sum(spent.user + spent.system for spent in times)


@dataclass(frozen=True)
class Round:
    p50_ms: float
    p99_ms: float
    per_s: float
    cpu_ms: float  # of the process between, a request


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passthrough", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="of each turn (default: %(default)s)")
    arguments = parser.parse_args()
    tools = {tool: shutil.which(tool) or shutil.which(tool, path="/usr/sbin") for tool in ("nginx", "wrk")}
    if missing := [tool for tool, path in tools.items() if path is None]:
        print(f"benchmarks: not on this machine: {', '.join(missing)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        ways = start(Path(folder), running)
        rows = [*measure_loads(Path(folder), ways, arguments), *measure_memory(ways[-1])]
    print(append_report("passing requests on", rows))
    return 0


def start(folder: Path, running: ExitStack) -> list[Way]:
    """Cluster, nginx and gateway as processes."""
    folder.chmod(0o755)  # started by root, nginx serves as nobody
    (folder / "idx").mkdir()
    (folder / "idx" / "_search").write_bytes(b"x" * MB)
    with (folder / "huge").open("wb") as file:
        file.truncate(HUGE_BYTES)
    (folder / "bulk.lua").write_text(BULK_SCRIPT)
    (folder / "rerank.toml").write_text("")
    cluster, proxy, gateway = (find_free_port() for _ in range(3))
    served = CLUSTER.format(small=SMALL, folder=folder, port=cluster)
    running.enter_context(run_nginx(folder, "cluster", cluster, "", served))
    http = PROXY_HTTP.format(cluster=cluster)
    nginx = running.enter_context(run_nginx(folder, "proxy", proxy, http, PROXY_SERVER))
    flags = ["--bind", f"127.0.0.1:{gateway}", "--cluster-url", f"http://127.0.0.1:{cluster}"]
    command = [sys.executable, "-m", "gateway", *flags, "--config", str(folder / "rerank.toml")]
    ours = running.enter_context(run(command, gateway))
    return [Way("direct", cluster, None), Way("nginx", proxy, nginx), Way("gateway", gateway, ours)]


@contextmanager
def run_nginx(folder: Path, name: str, port: int, http: str, server: str) -> Iterator[psutil.Process]:
    path = folder / f"{name}.conf"
    path.write_text(NGINX.format(folder=folder, name=name, port=port, http=http, server=server))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    with run([nginx, "-p", str(folder), "-c", str(path)], port) as process:
        yield process


@contextmanager
def run(command: list[str], port: int) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, cwd=settings.ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"does not start: {' '.join(command)}")
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure_loads(folder: Path, ways: list[Way], arguments: argparse.Namespace) -> Iterator[Row]:
    bulk = ("-s", str(folder / "bulk.lua"))
    kinds: list[tuple[str, str, int, tuple[str, ...]]] = [
        ("document by id", "/idx/_doc/1", 1, ()),
        ("search, 1 MB", "/idx/_search", 1, ()),
        ("bulk, 10 MB", "/_bulk", 3, bulk),
    ]
    for title, target, turns, flags in kinds:
        for connections in (1, 8, 64):
            load = Load(title, target, connections, arguments.seconds * turns, flags)
            rounds: dict[str, list[Round]] = {way.name: [] for way in ways}
            for number in range(arguments.rounds):
                for way in ways[number % 3 :] + ways[: number % 3]:
                    rounds[way.name].append(ask(load, way))
            yield from write_rows(load, rounds)


def ask(load: Load, way: Way) -> Round:
    """One turn of wrk."""
    threads_and_time = [
        "-t",
        "1",
        "-c",
        str(load.connections),
        "-d",
        str(load.seconds),
        "--latency",
        "--timeout",
        "60",
    ]
    url = f"http://127.0.0.1:{way.port}{load.target}"
    before = way.cpu_s
    wrk = subprocess.run(
        ["wrk", *threads_and_time, *load.flags, url], capture_output=True, text=True, check=True
    )
    cpu_s = way.cpu_s - before
    if "Non-2xx" in wrk.stdout or "Socket errors" in wrk.stdout:
        raise RuntimeError(wrk.stdout)
    requests = int(re.search(r"(\d+) requests in", wrk.stdout)[1])
    p50, p99 = (
        to_ms(*re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", wrk.stdout).groups()) for share in (50, 99)
    )
    per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", wrk.stdout)[1])
    return Round(p50, p99, per_s, cpu_s * 1000 / max(requests, 1))


def write_rows(load: Load, rounds: dict[str, list[Round]]) -> Iterator[Row]:
    """Medians over the rounds."""
    middle = {
        name: Round(*(statistics.median(vars(one)[field.name] for one in found) for field in fields(Round)))
        for name, found in rounds.items()
    }
    for name, found in middle.items():
        added = "" if name == "direct" else f", {found.p50_ms - middle['direct'].p50_ms:.2f} ms added"
        cpu = "" if name == "direct" else f", {found.cpu_ms:.2f} ms of processor a request"
        many = "connection" if load.connections == 1 else "connections"
        yield (
            f"{load.title}, {load.connections} {many}, {name}: p50 / p99",
            f"{found.p50_ms:.2f} / {found.p99_ms:.2f} ms{added}; {found.per_s:,.0f} requests/s{cpu}",
        )


def measure_memory(way: Way) -> Iterator[Row]:
    """The gateway's memory while something large passes in one request."""
    rest = "HTTP/1.1\r\nHost: g\r\nConnection: close\r\n"
    bulk = f"POST /_bulk {rest}Content-Length: {HUGE_BYTES}\r\n\r\n".encode()
    answer = f"GET /huge {rest}\r\n".encode()
    steps: dict[str, Callable[[], int]] = {
        "bulk": lambda: exchange(way.port, bulk, HUGE_BYTES),
        "answer": lambda: exchange(way.port, answer, 0),
    }
    for name, step in steps.items():
        before, peak, received = watch_memory(way, step)
        if name == "answer" and received < HUGE_BYTES:
            raise RuntimeError(f"only {received} bytes of the answer came")
        figure = f"{before / MB:.0f} MB before, {peak / MB:.0f} MB at most"
        yield f"{name} of {HUGE_BYTES // MB} MB: the gateway's resident memory", figure


def watch_memory(way: Way, step: Callable[[], int]) -> tuple[int, int, int]:
    """Resident bytes before and at most, and what the step returns."""
    processes = [way.process, *way.process.children()]
    before = peak = sum(process.memory_info().rss for process in processes)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, sum(process.memory_info().rss for process in processes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    received = step()
    done.set()
    watcher.join()
    return before, peak, received


def exchange(port: int, head: bytes, body_bytes: int) -> int:
    """Send, and count what comes back."""
    piece, received = b"x" * MB, 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head)
        for _ in range(body_bytes // MB):
            connection.sendall(piece)
        while answered := connection.recv(MB):
            received += len(answered)
    return received


def to_ms(value: str, unit: str) -> float:
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
