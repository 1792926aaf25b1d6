"""The texts of queries and documents in files, BEIR's folders among them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from relevance.errors import BadFile
from relevance.files import FilePath, naming, read_lines, read_objects, read_text

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class BeirFolder:
    """The files of a collection in BEIR's layout."""

    documents: Path
    queries: Path
    judgments: Path


def find_beir(folder: FilePath, split: str = "test") -> BeirFolder:
    """The files of a folder.

    Raises:
        BadFile: one of them is missing.
    """
    root = Path(folder)
    found = [_find(root / name) for name in ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv")]
    return BeirFolder(*found)


def _find(path: Path) -> Path:
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise BadFile(f"{path}: is missing (a folder in BEIR's layout has it)")


def read_queries(path: FilePath) -> dict[str, str]:
    """Texts by id: ``{"_id", "text"}`` a line, or an id, a tab and the text.

    Raises:
        BadFile: a line is malformed, or an id is there twice.
    """
    texts: dict[str, str] = {}
    if _is_json(path):
        for number, fields in read_objects(path):
            with naming(path, number):
                _add(texts, read_text(fields, "_id", "id"), read_text(fields, "text", "query"))
        return texts
    for number, line in read_lines(path):
        with naming(path, number):
            id, tab, text = line.partition("\t")
            if not (id.strip() and tab and text.strip()):
                raise ValueError("expected id<TAB>text")
            _add(texts, id.strip(), text.strip())
    return texts


def read_documents(path: FilePath, wanted: Collection[str] | None = None) -> dict[str, str]:
    """Passages by id, of ``{"_id", "title", "text"}`` a line: the title, if any, and the text below it.

    Args:
        wanted: ids; None is all. Others are not kept, however large the file is.

    Raises:
        BadFile: a line is malformed, or an id is there twice.
    """
    passages: dict[str, str] = {}
    for number, fields in read_objects(path):
        with naming(path, number):
            id = read_text(fields, "_id", "id")
            if wanted is None or id in wanted:
                _add(passages, id, _join(fields.get("title"), fields.get("text", fields.get("body"))))
    return passages


def _is_json(path: FilePath) -> bool:
    return Path(str(path).removesuffix(".gz")).suffix in _JSON_SUFFIXES


def _add(texts: dict[str, str], id: str, text: str) -> None:
    if id in texts:
        raise ValueError(f"id {id!r} is there twice")
    texts[id] = text


def _join(title: object, text: object) -> str:
    parts = [part for part in (title, text) if isinstance(part, str) and part.strip()]
    return "\n".join(parts)
