"""``python -m gateway``: the gateway as a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shutil import rmtree
from tempfile import mkdtemp

from gateway.cluster import open_cluster
from gateway.errors import ConfigurationError
from gateway.settings import read_config, read_settings
from gateway.tls import check_cert


def main(argv: Sequence[str]) -> int:
    """Serve until stopped; 2 and one line on stderr if the settings or the policies are wrong."""
    try:
        settings = read_settings(argv)
        # here and not only in the server's processes: a mistake stops the start
        read_config(settings.config)
        open_cluster(settings, idle_connections=1).close()
        if settings.tls_cert:
            check_cert(settings.tls_cert, settings.tls_key)
    except ConfigurationError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    with shared_figures():
        from gateway.wsgi import serve

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
