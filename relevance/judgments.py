"""Judgments: which documents are relevant to a query, read from the formats that people keep them in."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from relevance.errors import BadChoice, BadFile
from relevance.files import FilePath, naming, read_document, read_lines, read_objects, read_text, to_json


@dataclass(frozen=True)
class JudgedQuery:
    """What a person typed, and how relevant documents are to it.

    Attributes:
        id: by which runs know the query.
        text: empty where a file has only ids, see `with_texts`.
        grades: by document id; 0 is not relevant, higher is better. What is not listed is not judged.
    """

    id: str
    text: str
    grades: Mapping[str, int]

    def find_relevant(self, least: int = 1) -> list[str]:
        """The documents with this grade or a higher one, in the order of the file."""
        return [document for document, grade in self.grades.items() if grade >= least]

    def to_line(self) -> str:
        """As it stands in a JSONL file of ours."""
        return to_json({"id": self.id, "query": self.text, "grades": dict(self.grades)})


@dataclass(frozen=True)
class Entry:
    """One judgment as a file has it; ``place`` tells where."""

    place: int | str
    query: str
    document: str
    grade: object
    text: str = ""


@dataclass(frozen=True)
class Format:
    """A form in which judgments are kept."""

    about: str
    read: Callable[[FilePath], Iterator[Entry]]
    suffixes: tuple[str, ...] = ()


def read_judgments(path: FilePath, form: str | None = None, cuts: Sequence[float] = ()) -> list[JudgedQuery]:
    """The judged queries of a file, in its order.

    Args:
        form: one of `FORMATS`; None is what the file's name tells.
        cuts: makes grades of ratings that are not whole numbers: as many as the rating reaches.

    Raises:
        BadFile: a line is malformed, a grade is none, two judgments of a document disagree, or there are
            none; the message names file and line.
        BadChoice: no such format.
    """
    name = form or tell_format(path)
    if name not in FORMATS:
        raise BadChoice(f"format: {name!r} is none of {', '.join(FORMATS)}")
    found: dict[str, _Collected] = {}
    for entry in FORMATS[name].read(path):
        with naming(path, entry.place):
            found.setdefault(entry.query, _Collected(entry.text)).add(entry, read_grade(entry.grade, cuts))
    if not found:
        raise BadFile(f"{path}: no judgments in it (read as {name}: {FORMATS[name].about})")
    return [JudgedQuery(id, one.text, one.grades) for id, one in found.items()]


def tell_format(path: FilePath) -> str:
    """The format that a file's name tells; TREC's qrels where it tells none."""
    suffix = Path(str(path).removesuffix(".gz")).suffix.lower()
    return next((name for name, form in FORMATS.items() if suffix in form.suffixes), "trec")


def read_grade(value: object, cuts: Sequence[float] = ()) -> int:
    """A grade of what a file says; below 0, as TREC has for spam, counts as 0.

    Raises:
        ValueError: it is no number, or a fraction and there are no cuts.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"grade: expected a number, found {value!r:.40}") from None
    if not math.isfinite(number):
        raise ValueError(f"grade: expected a number, found {value!r:.40}")
    if cuts:
        return sum(number >= cut for cut in cuts)
    if number != int(number):
        raise ValueError(f"grade: {value} is no whole number; cuts, such as 0.5,1,2, make grades of it")
    return max(int(number), 0)


def with_texts(queries: Iterable[JudgedQuery], texts: Mapping[str, str]) -> list[JudgedQuery]:
    """The same queries with the texts that a file of queries has for their ids.

    Raises:
        BadFile: a query has no text, neither there nor of its own.
    """
    completed = [replace(query, text=texts.get(query.id, query.text)) for query in queries]
    missing = [query.id for query in completed if not query.text]
    if missing:
        raise BadFile(f"no text for {len(missing)} judged queries, the first: {missing[0]!r}")
    return completed


@dataclass
class _Collected:
    text: str
    grades: dict[str, int] = field(default_factory=dict)
    places: dict[str, int | str] = field(default_factory=dict)

    def add(self, entry: Entry, grade: int) -> None:
        if entry.text != self.text:
            raise ValueError(f"query {entry.query!r}: another text than before: {entry.text!r:.60}")
        known = self.grades.setdefault(entry.document, grade)
        place = self.places.setdefault(entry.document, entry.place)
        if known != grade:
            raise ValueError(
                f"query {entry.query!r}, document {entry.document!r}: grade {grade} here, {known} in {place}"
            )


def _read_trec(path: FilePath) -> Iterator[Entry]:
    for number, line in read_lines(path):
        with naming(path, number):
            columns = line.split()
            if len(columns) != 4:
                raise ValueError(f"expected query 0 document grade, found {len(columns)} columns")
        yield Entry(number, columns[0], columns[2], columns[3])


def _read_beir(path: FilePath) -> Iterator[Entry]:
    for number, line in read_lines(path):
        columns = line.split("\t")
        if number == 1 and columns[-1].strip() == "score":
            continue
        with naming(path, number):
            if len(columns) != 3 or not all(column.strip() for column in columns):
                raise ValueError("expected query-id<TAB>corpus-id<TAB>score")
        yield Entry(number, columns[0].strip(), columns[1].strip(), columns[2].strip())


_QUEPID_COLUMNS = ("query", "docid", "rating")


def _read_quepid(path: FilePath) -> Iterator[Entry]:
    numbers: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in read_lines(path):
            numbers.append(number)
            yield f"{line}\n"

    rows = csv.reader(lines())
    header = [name.strip().lower() for name in next(rows, [])]
    with naming(path, 1):
        if not set(_QUEPID_COLUMNS) <= set(header):
            raise ValueError(f"expected the columns {', '.join(_QUEPID_COLUMNS)}, found {', '.join(header)}")
    places = [header.index(name) for name in _QUEPID_COLUMNS]
    for row in rows:
        query, document, rating = (row[place].strip() if place < len(row) else "" for place in places)
        if not document and not rating:  # Quepid writes queries that nobody has rated like this
            continue
        with naming(path, numbers[-1]):
            if not query or not document:
                raise ValueError("expected a query and a document")
        yield Entry(numbers[-1], query, document, rating, query)


def _read_workbench(path: FilePath) -> Iterator[Entry]:
    found = read_document(path)
    with naming(path):
        lists = list(_find_rating_lists(found))
        if not lists:
            raise ValueError('expected a judgment list with "judgmentRatings", or the answer that holds it')
        for ratings in lists:
            for number, of_query in enumerate(_expect_list(ratings, "judgmentRatings")):
                yield from _read_ratings(of_query, f"judgmentRatings[{number}]")


def _find_rating_lists(found: Any) -> Iterator[Any]:
    if isinstance(found, dict):
        hits = found.get("hits", {}).get("hits") if isinstance(found.get("hits"), dict) else None
        for part in hits if isinstance(hits, list) else [{"_source": found}]:
            source = part.get("_source") if isinstance(part, dict) else None
            if isinstance(source, dict) and "judgmentRatings" in source:
                yield source["judgmentRatings"]


def _read_ratings(of_query: Any, place: str) -> Iterator[Entry]:
    if not isinstance(of_query, dict):
        raise ValueError(f"{place}: expected an object with query and ratings")
    try:
        query = read_text(of_query, "query")
        for number, rating in enumerate(_expect_list(of_query.get("ratings"), "ratings")):
            where = f"{place}.ratings[{number}]"
            fields = rating if isinstance(rating, dict) else {}
            yield Entry(where, query, read_text(fields, "docId"), fields.get("rating"), query)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _expect_list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name}: expected a list, found {type(value).__name__}")
    return value


def _read_ours(path: FilePath) -> Iterator[Entry]:
    for number, fields in read_objects(path):
        with naming(path, number):
            text = read_text(fields, "query")
            id = read_text(fields, "id") if "id" in fields else text
            grades = fields.get("grades")
            if not isinstance(grades, dict) or not grades:
                raise ValueError('grades: expected {"document": grade, …}')
        for document, grade in grades.items():
            yield Entry(number, id, document, grade, text)


FORMATS: Mapping[str, Format] = {
    "jsonl": Format(
        '{"id", "query", "grades": {"document": grade}} a line', _read_ours, (".jsonl", ".ndjson")
    ),
    "trec": Format("TREC's qrels: query 0 document grade", _read_trec),
    "beir": Format("BEIR's qrels: query-id, corpus-id and score, by tabs", _read_beir, (".tsv",)),
    "quepid": Format("Quepid's CSV: query,docid,rating", _read_quepid, (".csv",)),
    "workbench": Format(
        "a judgment list of OpenSearch's Search Relevance Workbench, or the API's answer with it",
        _read_workbench,
        (".json",),
    ),
}
"""By the name that a command line gives them."""
