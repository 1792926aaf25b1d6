"""``python -m gateway doctor``: what is wrong around a gateway, and how to mend it."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from gateway.commands.options import build_parser, read_both
from gateway.doctor import Finding, Level, examine, open_surroundings
from gateway.errors import ConfigurationError

_ABOUT = """\
Look at the cluster, Redis, the workers, rerank.toml and the mappings as a gateway with these options
would find them. Takes the gateway's own options and environment, listed below. Exit status: 0 without
problems, 1 with some, 2 where an option is wrong.
"""


def main(argv: Sequence[str], prog: str) -> int:
    """Print the findings; see `_ABOUT`."""
    parser = build_parser(prog, _ABOUT)
    parser.add_argument("--json", action="store_true", help="one JSON object, for machines")
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # what fails is told as a finding
    try:
        own, settings = read_both(parser, argv)
        with open_surroundings(settings) as around:
            findings = examine(around)
    except ConfigurationError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    print(_to_json(findings) if own.json else _to_text(findings))
    return 1 if any(finding.level is Level.PROBLEM for finding in findings) else 0


def _to_json(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    told = [asdict(finding) for finding in findings]
    return json.dumps({**{level: counts[level] for level in Level}, "findings": told}, indent=2)


def _to_text(findings: Sequence[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:8} {finding.subject:22} {finding.what}")
        if finding.mend:
            lines.append(f"{'':31} → {finding.mend}")
    counts = Counter(finding.level for finding in findings)
    lines.append(", ".join(f"{counts[level]} {level}" for level in Level))
    return "\n".join(lines)
