"""Judgments are read from each format, and what is wrong is named by file and line."""

import gzip
import json

import pytest

from relevance.collection import find_beir, read_documents, read_queries
from relevance.errors import BadChoice, BadFile
from relevance.judgments import JudgedQuery, read_judgments, tell_format, with_texts

WORKBENCH = {
    "name": "list",
    "judgmentRatings": [
        {
            "query": "red dress",
            "ratings": [{"docId": "a", "rating": "3.000"}, {"docId": "b", "rating": "0.000"}],
        },
        {"query": "blue jeans", "ratings": [{"docId": "a", "rating": 1}]},
    ],
}
WORKBENCH_ANSWER = {"took": 1, "hits": {"hits": [{"_id": "1", "_source": WORKBENCH}]}}
DRESS_AND_JEANS = [
    JudgedQuery("red dress", "red dress", {"a": 3, "b": 0}),
    JudgedQuery("blue jeans", "blue jeans", {"a": 1}),
]


def write(folder, name, content):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        pytest.param(
            "qrels.txt",
            "q1 0 d1 2\nq1 0 d2 0\n\nq2 Q0 d1 -2\n",
            [JudgedQuery("q1", "", {"d1": 2, "d2": 0}), JudgedQuery("q2", "", {"d1": 0})],
            id="TREC, spam is not relevant",
        ),
        pytest.param(
            "test.tsv",
            "query-id\tcorpus-id\tscore\nq1\td 1\t1\n",
            [JudgedQuery("q1", "", {"d 1": 1})],
            id="BEIR with a header",
        ),
        pytest.param("test.tsv", "q1\td1\t1\n", [JudgedQuery("q1", "", {"d1": 1})], id="BEIR without"),
        pytest.param(
            "case.csv",
            'query,docid,rating\n"dress, red",a,3\n"dress, red",b,0\nnobody rated this\n',
            [JudgedQuery("dress, red", "dress, red", {"a": 3, "b": 0})],
            id="Quepid, with a query that is not rated",
        ),
        pytest.param(
            "case.csv",
            "\ufeffRating,Query,DocID,more\n3,dress,a,x\n",
            [JudgedQuery("dress", "dress", {"a": 3})],
            id="Quepid by its columns' names, from a spreadsheet",
        ),
        pytest.param("list.json", json.dumps(WORKBENCH), DRESS_AND_JEANS, id="workbench"),
        pytest.param(
            "list.json", json.dumps(WORKBENCH_ANSWER, indent=1), DRESS_AND_JEANS, id="workbench's answer"
        ),
        pytest.param(
            "ours.jsonl",
            '{"id": 7, "query": "dress", "grades": {"a": 2}}\n{"query": "jeans", "grades": {"a": 1}}\n',
            [JudgedQuery("7", "dress", {"a": 2}), JudgedQuery("jeans", "jeans", {"a": 1})],
            id="ours, the text is the id where there is none",
        ),
        pytest.param(
            "q.txt.gz", gzip.compress(b"q1 0 d1 1\n"), [JudgedQuery("q1", "", {"d1": 1})], id="gzip"
        ),
        pytest.param("q.txt", "q1 0 d1 1\nq1 0 d1 1\n", [JudgedQuery("q1", "", {"d1": 1})], id="said twice"),
    ],
)
def test_judgments_are_read(tmp_path, name, content, wanted):
    assert read_judgments(write(tmp_path, name, content)) == wanted


def test_what_is_written_is_read_again(tmp_path):
    lines = "\n".join(query.to_line() for query in DRESS_AND_JEANS)
    assert read_judgments(write(tmp_path, "j.jsonl", lines)) == DRESS_AND_JEANS


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        pytest.param("q.txt", "q1 0 d1 1\nq1 0 d1\n", "q.txt:2: expected query 0 document", id="columns"),
        pytest.param("q.txt", "q1 0 d1 good\n", "q.txt:1: grade: expected a number, found", id="a word"),
        pytest.param("q.txt", "q1 0 d1 nan\n", "q.txt:1: grade: expected a number", id="not a number"),
        pytest.param("q.txt", "q1 0 d1 0.5\n", "q.txt:1: grade: 0.5 is no whole number", id="a fraction"),
        pytest.param(
            "q.txt",
            "q1 0 d1 1\nq2 0 d1 1\nq1 0 d1 2\n",
            "q.txt:3: query 'q1', document 'd1': grade 2 here, 1 in 1",
            id="disagreement",
        ),
        pytest.param("q.txt", "\n \n", "q.txt: no judgments in it (read as trec", id="empty"),
        pytest.param("q.txt", b"q1 0 d1 1\nq\xff 0 d1 1\n", "q.txt:2: not UTF-8: byte 1", id="not UTF-8"),
        pytest.param("q.txt.gz", b"q1 0 d1 1\n", "q.txt.gz: can't be read", id="not gzip"),
        pytest.param("q.txt.gz", gzip.compress(b"q1 0 d1 1\n")[:-9], "can't be read", id="gzip cut short"),
        pytest.param("q.tsv", "q1\td1\n", "q.tsv:1: expected query-id<TAB>corpus-id<TAB>score", id="BEIR"),
        pytest.param("q.csv", "query,rating\nx,1\n", "q.csv:1: expected the columns query", id="no column"),
        pytest.param("q.csv", "query,docid,rating\nx,,1\n", "q.csv:2: expected a query and", id="no doc"),
        pytest.param("q.csv", "query,docid,rating\nx,a,\n", "q.csv:2: grade: expected", id="no rating"),
        pytest.param("q.json", "[1]", "q.json: expected a judgment list with", id="no list"),
        pytest.param("q.json", "{", "q.json: not JSON", id="no JSON"),
        pytest.param(
            "q.json",
            '{"judgmentRatings": [{"query": "x", "ratings": [{"rating": 1}]}]}',
            "q.json: judgmentRatings[0]: docId: expected a text, found nothing",
            id="no document in the workbench's",
        ),
        pytest.param(
            "q.json",
            '{"judgmentRatings": [{"query": "x", "ratings": [{"docId": "a", "rating": "0.7"}]}]}',
            "q.json:judgmentRatings[0].ratings[0]: grade: 0.7 is no whole number",
            id="COEC without cuts",
        ),
        pytest.param("q.jsonl", '{"query": "x"}', 'q.jsonl:1: grades: expected {"document"', id="no grades"),
        pytest.param("q.jsonl", '{"query": "", "grades": {"a": 1}}', "q.jsonl:1: query:", id="no text"),
        pytest.param("q.jsonl", '{"query": "x", "grades": {"a": true}}', "expected a number", id="a truth"),
        pytest.param("q.jsonl", "[]", "q.jsonl:1: expected a JSON object, found list", id="no object"),
        pytest.param(
            "q.jsonl",
            '{"id": "1", "query": "x", "grades": {"a": 1}}\n{"id": "1", "query": "y", "grades": {"b": 1}}',
            "q.jsonl:2: query '1': another text than before: 'y'",
            id="one id, two texts",
        ),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path, name, content, told):
    with pytest.raises(BadFile) as caught:
        read_judgments(write(tmp_path, name, content))
    assert told in str(caught.value)


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(BadFile, match=r"nowhere\.txt: can't be read: No such file"):
        read_judgments(tmp_path / "nowhere.txt")
    with pytest.raises(BadChoice, match="'word' is none of jsonl, trec"):
        read_judgments(tmp_path / "x", "word")


def test_cuts_make_grades_of_ratings(tmp_path):
    file = write(tmp_path, "q.txt", "q 0 a 0.2\nq 0 b 0.5\nq 0 c 1.7\nq 0 d 9\n")
    assert read_judgments(file, cuts=(0.5, 1, 2))[0].grades == {"a": 0, "b": 1, "c": 2, "d": 3}


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.CSV", "quepid"), ("a.jsonl.gz", "jsonl"), ("a.qrels", "trec"), ("a", "trec"), ("a.tsv", "beir")],
)
def test_a_files_name_tells_its_format(name, form):
    assert tell_format(name) == form


def test_texts_come_from_the_queries_own_file(tmp_path):
    queries = [JudgedQuery("q1", "", {"d": 1}), JudgedQuery("q2", "", {"d": 1})]
    texts = read_queries(write(tmp_path, "q.tsv", "q1\tred dress\nq2\tjeans\n"))
    assert [query.text for query in with_texts(queries, texts)] == ["red dress", "jeans"]
    assert texts == read_queries(
        write(tmp_path, "q.jsonl", '{"_id": "q1", "text": "red dress"}\n{"id": "q2", "query": "jeans"}\n')
    )
    with pytest.raises(BadFile, match="no text for 1 judged queries, the first: 'q2'"):
        with_texts(queries, {"q1": "x"})


@pytest.mark.parametrize(
    ("read", "content", "told"),
    [
        pytest.param(read_queries, "q1 red\n", ":1: expected id<TAB>text", id="no tab"),
        pytest.param(read_queries, "q1\ta\nq1\ta\n", ":2: id 'q1' is there twice", id="a query twice"),
        pytest.param(read_documents, '{"text": "a"}\n', ":1: _id: expected a text", id="no id"),
        pytest.param(read_documents, '{"_id": "a"}\n{"_id": "a"}', ":2: id 'a' is there", id="a document"),
    ],
)
def test_collections_name_the_line_too(tmp_path, read, content, told):
    with pytest.raises(BadFile) as caught:
        read(write(tmp_path, "file", content))
    assert told in str(caught.value)


def test_documents_are_title_and_text(tmp_path):
    file = write(
        tmp_path,
        "corpus.jsonl",
        '{"_id": "a", "title": "T", "text": "x"}\n'
        '{"_id": "b", "title": "", "text": "y"}\n'
        '{"id": "c", "body": "z"}\n',
    )
    assert read_documents(file) == {"a": "T\nx", "b": "y", "c": "z"}
    assert read_documents(file, {"b"}) == {"b": "y"}


def test_a_folder_of_beir_is_found(tmp_path):
    (tmp_path / "qrels").mkdir()
    for name in ("corpus.jsonl.gz", "queries.jsonl", "qrels/dev.tsv"):
        write(tmp_path, name, b"")
    found = find_beir(tmp_path, "dev")
    assert (found.documents.name, found.judgments.name) == ("corpus.jsonl.gz", "dev.tsv")
    with pytest.raises(BadFile, match=r"qrels/test\.tsv: is missing"):
        find_beir(tmp_path)
