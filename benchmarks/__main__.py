"""Starts the product as the demo does, measures it, prints a table and appends it to docs/benchmarks.md."""

import datetime
import os
import sys
from collections.abc import Sequence

from benchmarks.measures import Row, measure_pairs, measure_pass_through, measure_plugin, measure_search
from benchmarks.timing import describe_machine
from demo import settings
from demo.errors import DemoError
from demo.judged import read_judgments
from demo.processes import Plan
from demo.run import run
from demo.story import prepare

REPORT = settings.ROOT / "docs" / "benchmarks.md"
STATE = settings.ROOT / "var" / "benchmarks"


def main() -> int:
    try:
        return run(measure, STATE, settings.ADAPTER, check=True, verbose=False)
    except DemoError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def measure(plan: Plan) -> None:
    """All figures, printed and appended to the report."""
    prepare(plan)
    queries = [query.text for query in read_judgments(settings.TEST_QUERIES)]
    print("Measuring ...", flush=True)
    rows = [
        *measure_pass_through(plan.cluster_url, plan.gateway_url),
        *measure_search(plan.gateway_url, queries),
        *measure_pairs(plan.cluster_url, queries),
        *measure_plugin(plan.cluster_url, queries[0]),
    ]
    report = write_report(rows)
    print(report)
    with REPORT.open("a", encoding="utf-8") as file:
        file.write("\n" + report)


def write_report(rows: Sequence[Row]) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        f"## {today}",
        "",
        f"{describe_machine()}; load averages {load}.",
        "",
        "| what | figure |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| {what} | {figure} |" for what, figure in rows)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
