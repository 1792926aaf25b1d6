"""The options that commands of this and of other packages share: judgments, negatives and reports."""

import argparse
import re
import sys
from collections.abc import Sequence

from relevance.collection import read_queries
from relevance.errors import BadChoice, BadFile, MissingLibrary
from relevance.evaluation import Evaluation
from relevance.files import to_json
from relevance.judgments import FORMATS, JudgedQuery, read_judgments, with_texts
from relevance.measures import DEFAULT_MEASURES
from relevance.negatives import NegativeRules
from relevance.report import REGRESSIONS, to_object, to_text, write_report


def build_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A command's parser, without options."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_judgment_options(parser: argparse.ArgumentParser, name: str = "--judgments") -> None:
    """Which judgments, and in which format; ``name`` may be that of an argument without dashes.

    `read_judged` refuses their absence: a command may know another source.
    """
    listed = "; ".join(f"{name}: {form.about}" for name, form in FORMATS.items())
    add = parser.add_argument
    add(name, help="file of judgments", metavar="FILE")
    add("--format", choices=FORMATS, help=f"{listed} (default: as the file's name ends)")
    add(
        "--queries",
        help='texts of queries that the judgments only name: {"_id", "text"} a line, or id<TAB>text',
    )
    add(
        "--cut",
        help="ratings from which on grades are 1, 2, …, such as 0.5,1,2; for ratings that are fractions",
    )


def read_judged(given: argparse.Namespace, *, needs_texts: bool = True) -> list[JudgedQuery]:
    """The judged queries that the options name.

    Raises:
        BadFile, BadChoice: see `relevance.judgments`; or a text is missing where they are needed.
    """
    if not given.judgments:
        raise BadChoice("--judgments: is needed")
    queries = read_judgments(given.judgments, given.format, read_cuts(given.cut))
    texts = read_queries(given.queries) if given.queries else {}
    return with_texts(queries, texts) if needs_texts or given.queries else queries


def keep_relevant(queries: Sequence[JudgedQuery]) -> list[JudgedQuery]:
    """Those that a ranking can do well at: the others are told on stderr.

    Raises:
        BadFile: none is left.
    """
    kept = [query for query in queries if query.find_relevant()]
    if not kept:
        raise BadFile("the judgments know no relevant document for any query")
    if len(kept) < len(queries):
        print(f"{len(queries) - len(kept)} queries without a relevant document are left out", file=sys.stderr)
    return kept


def read_cuts(text: str | None) -> tuple[float, ...]:
    """Cuts as they are typed, ascending.

    Raises:
        BadChoice: they are not.
    """
    try:
        cuts = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        cuts = (0.0, 0.0)
    if list(cuts) != sorted(set(cuts)):
        raise BadChoice(f"--cut: expected ascending numbers such as 0.5,1,2, found {text!r}")
    return cuts


def add_rule_options(parser: argparse.ArgumentParser) -> None:
    """Which negatives."""
    rules = NegativeRules()
    add = parser.add_argument
    add("--ranks", default=f"{rules.first}-{rules.last}", help="where negatives are taken from (%(default)s)")
    add("--negatives", type=int, default=rules.count, help="how many a query gets (%(default)s)")
    add("--grade", type=int, default=rules.least_grade, help="least grade of what is relevant (%(default)s)")
    add("--seed", type=int, default=rules.seed, help="draws other negatives (%(default)s)")


def read_rules(given: argparse.Namespace, margin: float = 0.0) -> NegativeRules:
    """The rules that the options say.

    Raises:
        BadChoice: they can't be followed.
    """
    found = re.fullmatch(r"(\d+)-(\d+)", given.ranks)
    if not found:
        raise BadChoice(f"--ranks: expected for example 5-100, found {given.ranks!r}")
    return NegativeRules(int(found[1]), int(found[2]), given.negatives, given.grade, margin, given.seed)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """What is measured, and where it is written."""
    add = parser.add_argument
    add(
        "--measures",
        default=",".join(DEFAULT_MEASURES),
        help="separated by commas, the first decides (%(default)s)",
    )
    add("--train", help="judgments that a model was trained on: adds the control of popular documents")
    add("--regressions", type=int, default=REGRESSIONS, help="worst queries that are shown (%(default)s)")
    add("--output", help="folder for report.md, report.json, queries.tsv, plot.png and the runs")
    add("--json", action="store_true", help="print one JSON object instead of tables")


def read_measures(given: argparse.Namespace) -> list[str]:
    """Those that the options name; the comma inside brackets belongs to one."""
    return [name.strip() for name in re.split(r",(?![^(]*\))", given.measures) if name.strip()]


def finish(evaluation: Evaluation, given: argparse.Namespace) -> None:
    """Add the control of popular documents, print the report and write it.

    Raises:
        RelevanceError: something can't be read or written.
    """
    if given.train:
        evaluation.add_popularity(read_judgments(given.train, cuts=read_cuts(given.cut)))
    told = to_json(to_object(evaluation)) if given.json else to_text(evaluation, given.regressions)
    print(told, flush=True)
    if given.output:
        try:
            written = write_report(evaluation, given.output)
        except MissingLibrary as error:
            print(f"no plot: {error}", file=sys.stderr)
        else:
            print(f"written: {', '.join(map(str, written))}", file=sys.stderr)
