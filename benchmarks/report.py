"""Knows how figures are written down: a table with day and machine, appended to docs/benchmarks.md."""

import datetime
import os
from collections.abc import Sequence

from benchmarks.timing import describe_machine
from demo import settings

REPORT = settings.ROOT / "docs" / "benchmarks.md"

Row = tuple[str, str]
"""What was measured, and the figure."""


def append_report(title: str, rows: Sequence[Row]) -> str:
    """The table, which is also in the report now."""
    table = write_table(title, rows)
    with REPORT.open("a", encoding="utf-8") as file:
        file.write("\n" + table)
    return table


def write_table(title: str, rows: Sequence[Row]) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        f"## {today}, {title}",
        "",
        f"{describe_machine()}; load averages {load}.",
        "",
        "| what | figure |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| {what} | {figure} |" for what, figure in rows)]) + "\n"
