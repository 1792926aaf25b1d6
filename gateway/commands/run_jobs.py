"""``python -m gateway run-jobs``: runs bulk jobs, for gateways that have no runner beside them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from gateway.errors import ConfigurationError
from gateway.jobs.process import run_jobs
from gateway.settings import read_settings


def main(argv: Sequence[str], prog: str) -> int:
    """Run jobs until stopped; the options are the gateway's own."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        run_jobs(read_settings(argv))
    except ConfigurationError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    return 0
