import re

import pytest
import Stemmer

from demo import settings
from demo.corpus import Document
from demo.errors import JudgmentsError
from demo.judged import JudgedQuery, read_judgments, resolve

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a an and are as at be by can do does for from get have how i in into is it its me my of on or out
        python so that the their them then there they this to up use using want was way what when where which
        with without you your""",
    )
)
NEAR = 0.75


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("no tab", "expected query<TAB>", id="no tab"),
        pytest.param("\tabs=3", "expected query<TAB>", id="no query"),
        pytest.param("query\t", "no document", id="no judgment"),
        pytest.param("query\tabs", "abs: expected id=grade", id="no grade"),
        pytest.param("query\tabs=4", "abs=4: expected id=grade", id="unknown grade"),
        pytest.param("query\tabs=3 abs=2", "abs: judged twice", id="document twice"),
        pytest.param("first\tabs=3", "there twice", id="query twice"),
        pytest.param("", "expected query<TAB>", id="empty line"),
    ],
)
def test_a_malformed_line_is_named_with_file_and_line(tmp_path, line, problem):
    path = tmp_path / "judged.tsv"
    path.write_text(f"first\tabs=3\n{line}\n")
    with pytest.raises(JudgmentsError, match=problem) as caught:
        read_judgments(path)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_queries_come_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "judged.tsv"
    path.write_text("b\tabs=3 math.fabs=1\na\ttopic:with=2\n")
    assert read_judgments(path) == [
        JudgedQuery("b", {"abs": 3, "math.fabs": 1}),
        JudgedQuery("a", {"topic:with": 2}),
    ]


def test_judged_names_become_the_ids_of_this_interpreter():
    """An alias is resolved to its document's id, the better grade counts, what does not exist is left out."""
    corpus = [Document("OSError", "exception", "OSError", "text", "builtins", also=("IOError",))]
    queries = [JudgedQuery("a", {"IOError": 3, "OSError": 1, "gone": 2}), JudgedQuery("b", {"gone": 3})]
    assert resolve(queries, corpus) == [JudgedQuery("a", {"OSError": 3})]


@pytest.mark.parametrize(
    ("path", "share"),
    [
        pytest.param(settings.TEST_QUERIES, 0.0, id="test"),
        pytest.param(settings.TRAIN_QUERIES, 0.005, id="train, where a few need another platform or version"),
    ],
)
def test_judged_documents_exist(corpus, path, share):
    known = {name for document in corpus for name in (document.id, *document.also)}
    judged = {id for query in read_judgments(path) for id in query.grades}
    missing = judged - known
    assert len(missing) <= share * len(judged), missing


def test_no_training_query_is_a_near_copy_of_a_test_query():
    """Or the figures would measure memory."""
    test = [(query.text, content_words(query.text)) for query in read_judgments(settings.TEST_QUERIES)]
    train = [(query.text, content_words(query.text)) for query in read_judgments(settings.TRAIN_QUERIES)]
    near = [
        (asked, trained)
        for asked, asked_words in test
        for trained, trained_words in train
        if asked_words == trained_words or likeness(asked_words, trained_words) >= NEAR
    ]
    assert near == []


def content_words(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    content = [word for word in words if word not in STOP_WORDS] or words
    return frozenset(Stemmer.Stemmer("english").stemWords(content))


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
