"""Starts the product as the demo does, measures it, prints a table and appends it to docs/benchmarks.md."""

import sys

from benchmarks.measures import measure_pairs, measure_pass_through, measure_plugin, measure_search
from benchmarks.report import append_report
from demo import settings
from demo.errors import DemoError
from demo.judged import read_judgments
from demo.processes import Plan
from demo.run import run
from demo.story import prepare

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
    print(append_report("the product", rows))


if __name__ == "__main__":
    sys.exit(main())
