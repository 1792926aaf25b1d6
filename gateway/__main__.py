"""``python -m gateway``: the gateway as a process, and commands that help with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from shutil import rmtree
from tempfile import mkdtemp

from gateway.cluster import open_cluster
from gateway.errors import ConfigurationError
from gateway.settings import read_config, read_settings
from gateway.tls import check_cert
from worker.contract.logs import configure_logging

COMMANDS: Mapping[str, str] = {
    "jobs": "gateway.commands.jobs",
    "run-jobs": "gateway.commands.run_jobs",
    "experiments": "gateway.commands.experiments",
    "register": "gateway.commands.register",
    "unregister": "gateway.commands.unregister",
    "doctor": "gateway.commands.doctor",
    "evaluate": "gateway.commands.evaluate",
    "mine": "gateway.commands.mine",
}
"""Where each command is, imported only to run it; what begins with no command's name serves."""


def main(argv: Sequence[str]) -> int:
    """Run the command named first, or serve."""
    named = argv[0] if argv and not argv[0].startswith("-") else None
    if named is None:
        return serve_until_stopped(argv)
    if named not in COMMANDS:
        print(f"gateway: {named}: no such command; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    run: Callable[..., int] = import_module(COMMANDS[named]).main
    return run(argv[1:], prog=f"python -m gateway {named}")


def serve_until_stopped(argv: Sequence[str]) -> int:
    """Serve; 2 and one line on stderr if the settings or the policies are wrong."""
    try:
        settings = read_settings(argv)
        # here and not only in the server's processes: a mistake stops the start
        read_config(settings.config)
        open_cluster(settings, idle_connections=1).close()
        if settings.tls_cert:
            check_cert(settings.tls_cert, settings.tls_key)
        configure_logging(settings.log_format, settings.log_level)
    except ConfigurationError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    with shared_figures(), ExitStack() as beside:
        from gateway.jobs.process import runner_beside
        from gateway.wsgi import serve

        if settings.jobs_folder and settings.job_runner:
            beside.enter_context(runner_beside(argv))
        serve(settings)
    return 0


@contextmanager
def shared_figures() -> Iterator[None]:
    """A folder where processes share what Prometheus is told; its library must be imported inside."""
    folder, owner = mkdtemp(prefix="rerank-gateway-"), os.getpid()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        if os.getpid() == owner:  # the processes that were forked meanwhile come here too
            rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
