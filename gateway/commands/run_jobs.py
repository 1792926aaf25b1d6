"""``python -m gateway run-jobs``: runs bulk jobs, for gateways that have no runner beside them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gateway.errors import ConfigurationError
from gateway.jobs.process import run_jobs
from gateway.settings import read_settings
from worker.contract.logs import configure_logging


def main(argv: Sequence[str], prog: str) -> int:
    """Run jobs until stopped; the options are the gateway's own."""
    try:
        settings = read_settings(argv)
        configure_logging(settings.log_format, settings.log_level)
        run_jobs(settings)
    except ConfigurationError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    return 0
