"""``python -m relevance clicks``: a click log in, judgments out."""

from collections.abc import Sequence

from relevance.clicks import (
    CUTS,
    LEAST_VIEWS,
    MAX_POSITION,
    SMOOTHING,
    ClickModel,
    fit_clicks,
    judge_by_clicks,
)
from relevance.errors import BadFile
from relevance.files import write_lines
from relevance.options import build_parser, read_cuts
from relevance.ubi import CLICKS, PAGE_SIZE, ClickLog, read_log

EXAMPLE = """\
The log is what OpenSearch's User Behavior Insights keeps: a JSON document of ubi_events a line, and those of
ubi_queries, exported by any tool. Each person counts once for a query and document.

example:
  python -m relevance clicks events.ndjson --queries queries.ndjson --output judgments.jsonl"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m relevance clicks") -> int:
    """Read a log, fit the model, write judgments; see ``--help``."""
    parser = build_parser(prog, "Make judgments of clicks, without the bias of positions.", EXAMPLE)
    add = parser.add_argument
    add("events", help="ubi_events, a JSON document a line")
    add("--queries", help="ubi_queries; without them events need user_query")
    add("--output", required=True, help="JSONL file of judgments")
    add("--ratings", help="file for what they are made of: query, document, views, clicks, lift, by tabs")
    add("--click", default=",".join(CLICKS), help="actions that count as a click (%(default)s)")
    add(
        "--page",
        type=int,
        default=PAGE_SIZE,
        help="hits that count as shown where no impressions were logged (%(default)s)",
    )
    add(
        "--positions",
        type=int,
        default=MAX_POSITION,
        help="what stands further down is left out (%(default)s)",
    )
    add("--views", type=int, default=LEAST_VIEWS, help="least views of what is judged (%(default)s)")
    add(
        "--smoothing",
        type=float,
        default=SMOOTHING,
        help="views of an average document added to each (%(default)s)",
    )
    add(
        "--cut",
        default=",".join(f"{cut:g}" for cut in CUTS),
        help="lifts over an average document from which on grades are 1, 2, … (%(default)s)",
    )
    given = parser.parse_args(arguments)
    cuts = read_cuts(given.cut)
    log = read_log(given.events, given.queries, clicks=given.click.split(","), page_size=given.page)
    model = fit_clicks(log.views, max_position=given.positions, smoothing=given.smoothing)
    queries = judge_by_clicks(model, log.texts, cuts=cuts, least_views=given.views)
    if given.ratings:
        write_lines(given.ratings, _list_ratings(model, log))
    print(_tell(model, log))
    if not queries:
        raise BadFile(
            f"{given.events}: no document reaches grade 1 with {given.views} views or more (--views, --cut)"
        )
    write_lines(given.output, (query.to_line() for query in queries))
    print(f"{len(queries)} queries, {sum(len(query.grades) for query in queries)} judgments")
    return 0


def _tell(model: ClickModel, log: ClickLog) -> str:
    looks = "  ".join(f"{position}: {look:.2f}" for position, look in model.propensities.items())
    lines = [f"{len(log.views)} views, {sum(view.is_clicked for view in log.views)} clicked"]
    lines += [f"left out: {count} {reason}" for reason, count in log.left_out.most_common()]
    return "\n".join([*lines, f"how often people look, by position: {looks}"])


def _list_ratings(model: ClickModel, log: ClickLog) -> list[str]:
    rows = [
        (" ".join(log.texts[one.query].split()), one.document, one.n_views, one.n_clicks, f"{one.lift:.4g}")
        for one in model.ratings
    ]
    return ["\t".join(map(str, row)) for row in [("query", "document", "views", "clicks", "lift"), *rows]]
