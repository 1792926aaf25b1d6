"""``python -m gateway``: the gateway as a process."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gateway.cluster import open_cluster
from gateway.errors import ConfigurationError
from gateway.settings import read_config, read_settings
from gateway.tls import check_cert
from gateway.wsgi import serve


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
    serve(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
