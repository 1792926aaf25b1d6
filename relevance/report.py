"""Writes an evaluation down: for a terminal, as Markdown, JSON, a table of queries, and a plot."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from relevance.errors import MissingLibrary
from relevance.evaluation import Evaluation, System
from relevance.files import FilePath, to_json, write_lines
from relevance.measures import needs_extra
from relevance.runs import write_run

REGRESSIONS = 5
_NO_VALUE = ""


def to_text(evaluation: Evaluation, regressions: int = REGRESSIONS) -> str:
    """For a terminal: the table, warnings, and what got worse."""
    rows = _make_table(evaluation)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([_tell_head(evaluation), "", *table, *_tell_rest(evaluation, regressions)])


def to_markdown(evaluation: Evaluation, regressions: int = REGRESSIONS) -> str:
    """The same as a page."""
    head, *rows = _make_table(evaluation)
    table = [head, ["---"] * len(head), *rows]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
    rest = [
        f"* {line.strip()}" if line.startswith("  ") else line for line in _tell_rest(evaluation, regressions)
    ]
    return "\n".join(["# Evaluation", "", _tell_head(evaluation), "", *lines, *rest])


def to_object(evaluation: Evaluation) -> dict[str, Any]:
    """All figures, for machines."""
    return {
        "measures": list(evaluation.measures),
        "queries": len(evaluation.queries),
        "systems": [_to_object(evaluation, system) for system in evaluation.systems],
        "warnings": evaluation.find_warnings(),
        "per_query": [
            dict(zip(_query_columns(evaluation), row, strict=True)) for row in _query_rows(evaluation)
        ],
    }


def write_report(evaluation: Evaluation, folder: FilePath, *, plot: bool = True) -> list[Path]:
    """Write ``report.md``, ``report.json``, ``queries.tsv``, a run a ranking, and ``plot.png``.

    Raises:
        BadFile: one can't be written.
        MissingLibrary: there is to be a plot, and matplotlib is not installed; all else is written.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    written = [root / name for name in ("report.md", "report.json", "queries.tsv")]
    write_lines(written[0], [to_markdown(evaluation)])
    write_lines(written[1], [to_json(to_object(evaluation))])
    rows: list[list[str | float]] = [[*_query_columns(evaluation)], *_query_rows(evaluation)]
    write_lines(written[2], ("\t".join(map(_to_cell, row)) for row in rows))
    for system in evaluation.systems:
        path = root / f"{_to_file_name(system.name)}.run"
        write_run(path, system.run, system.name)
        written.append(path)
    if plot:
        written.append(draw(evaluation, root / "plot.png"))
    return written


def draw(evaluation: Evaluation, path: Path) -> Path:
    """Draw each ranking's difference from the first stage: the mean with its interval, and query by query.

    Raises:
        MissingLibrary: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # takes a second
    except ImportError as error:
        raise MissingLibrary(needs_extra("matplotlib")) from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    means, by_query = figure.subplots(1, 2)
    first = evaluation.first_stage.values[evaluation.deciding]
    for place, system in enumerate(evaluation.systems[1:]):
        found = evaluation.comparisons[system.name]
        interval = [[found.difference - found.low], [found.high - found.difference]]
        means.errorbar(found.difference, place, xerr=interval, fmt="o", capsize=4)
        differences = sorted(
            (after - before for after, before in zip(system.values[evaluation.deciding], first, strict=True)),
            reverse=True,
        )
        by_query.plot(differences, drawstyle="steps-mid", label=system.name)
    names = [system.name for system in evaluation.systems[1:]]
    means.set_yticks(range(len(names)), names)
    means.invert_yaxis()
    means.axvline(0, color="grey", linewidth=0.8)
    means.set_title(f"{evaluation.deciding}: difference from {evaluation.first_stage.name} (95 %)")
    by_query.axhline(0, color="grey", linewidth=0.8)
    by_query.set_title(f"query by query, of {len(evaluation.queries)}")
    if names:
        by_query.legend()
    figure.savefig(path)
    return path


def _tell_head(evaluation: Evaluation) -> str:
    count, first = len(evaluation.queries), evaluation.first_stage.name
    return f"{count} judged queries. {evaluation.deciding} decides; differences are from {first}."


def _make_table(evaluation: Evaluation) -> list[list[str]]:
    is_timed = any(system.latencies_ms for system in evaluation.systems)
    times = ["ms a query (median)", "ms (95 %)"] if is_timed else []
    table = [
        ["ranking", *evaluation.measures, "difference (95 % CI)", "p", "p (Holm)", "won/lost/same", *times]
    ]
    for system in evaluation.systems:
        name = f"{system.name} (control)" if system.kind == "control" else system.name
        means = [f"{value:.3f}" for value in system.means.values()]
        against = _tell_comparison(evaluation, system)
        table.append([name, *means, *against, *(_tell_times(system) if is_timed else [])])
    return table


def _tell_comparison(evaluation: Evaluation, system: System) -> list[str]:
    found = evaluation.comparisons.get(system.name)
    if found is None:
        return [_NO_VALUE] * 4
    return [
        f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})",
        _tell_p(found.p_value),
        _tell_p(evaluation.adjusted[system.name]),
        f"{found.wins}/{found.losses}/{found.ties}",
    ]


def _tell_p(p_value: float) -> str:
    return "<0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def _tell_times(system: System) -> list[str]:
    if not system.latencies_ms:
        return [_NO_VALUE] * 2
    return [f"{statistics.median(system.latencies_ms):.1f}", f"{_take_p95(system.latencies_ms):.1f}"]


def _take_p95(values: Sequence[float]) -> float:
    return sorted(values)[max(-(-95 * len(values) // 100) - 1, 0)]


def _tell_rest(evaluation: Evaluation, most: int) -> Iterator[str]:
    if warnings := evaluation.find_warnings():
        yield from ("", "WARNINGS", "", *(f"  {warning}" for warning in warnings))
    for system in evaluation.systems:
        worst = evaluation.find_regressions(system, most) if system.kind == "model" else []
        if worst:
            yield from ("", f"Worst regressions of {system.name} ({evaluation.deciding})", "")
            for one in worst:
                yield f"  {one.before:.3f} → {one.after:.3f}  {one.query.text or one.query.id}"


def _to_object(evaluation: Evaluation, system: System) -> dict[str, Any]:
    told: dict[str, Any] = {"name": system.name, "kind": system.kind, "means": system.means}
    if found := evaluation.comparisons.get(system.name):
        told["against_first_stage"] = {**vars(found), "p_value_holm": evaluation.adjusted[system.name]}
    if system.latencies_ms:
        told["latency_ms"] = {
            "median": statistics.median(system.latencies_ms),
            "p95": _take_p95(system.latencies_ms),
            "queries": len(system.latencies_ms),
        }
    return told


def _query_columns(evaluation: Evaluation) -> list[str]:
    figures = [f"{system.name} {name}" for system in evaluation.systems for name in evaluation.measures]
    return ["id", "query", *figures]


def _query_rows(evaluation: Evaluation) -> Iterator[list[str | float]]:
    for place, query in enumerate(evaluation.queries):
        figures = [
            system.values[name][place] for system in evaluation.systems for name in evaluation.measures
        ]
        yield [query.id, query.text, *figures]


def _to_cell(value: str | float) -> str:
    return " ".join(value.split()) if isinstance(value, str) else f"{value:.6g}"


def _to_file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)
