"""Reads judged queries: `query<TAB>id=grade id=grade`, a line each; knows nothing of searching."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.corpus import Document
from demo.errors import JudgmentsError

GRADES = (1, 2, 3)


@dataclass(frozen=True)
class JudgedQuery:
    """What a person typed, and how good each relevant document is: 3 exactly that, 2 good, 1 helpful."""

    text: str
    grades: Mapping[str, int]


def read_judgments(path: Path) -> list[JudgedQuery]:
    """The queries in the file's order.

    Raises:
        JudgmentsError: a line is malformed; the message names file and line.
    """
    queries: list[JudgedQuery] = []
    seen: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            query = parse_line(line)
        except ValueError as error:
            raise JudgmentsError(f"{path}:{number}: {error}") from error
        if query.text in seen:
            raise JudgmentsError(f"{path}:{number}: the query is there twice")
        seen.add(query.text)
        queries.append(query)
    return queries


def parse_line(line: str) -> JudgedQuery:
    text, tab, judgments = line.partition("\t")
    if not (text.strip() and tab):
        raise ValueError("expected query<TAB>id=grade id=grade")
    grades: dict[str, int] = {}
    for judgment in judgments.split():
        id, _, grade = judgment.rpartition("=")
        if not id or grade not in map(str, GRADES):
            raise ValueError(f"{judgment}: expected id=grade, grade one of {GRADES}")
        if id in grades:
            raise ValueError(f"{id}: judged twice")
        grades[id] = int(grade)
    if not grades:
        raise ValueError("no document is judged")
    return JudgedQuery(text.strip(), grades)


def resolve(queries: Iterable[JudgedQuery], corpus: Iterable[Document]) -> list[JudgedQuery]:
    """The same queries with the ids that this interpreter's corpus uses.

    A judged document that this interpreter does not have is left out, and a query that has no other too.
    """
    ids: dict[str, str] = {}
    for document in corpus:
        ids |= {document.id: document.id, **dict.fromkeys(document.also, document.id)}
    resolved = []
    for query in queries:
        grades: dict[str, int] = {}
        for id, grade in query.grades.items():
            if id in ids:
                grades[ids[id]] = max(grade, grades.get(ids[id], 0))
        if grades:
            resolved.append(JudgedQuery(query.text, grades))
    return resolved
