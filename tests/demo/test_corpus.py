import json
import subprocess
import sys

import pytest

from demo.corpus import MAX_BODY_CHARS, clean, read_corpus


def test_the_same_interpreter_gives_the_same_corpus(corpus):
    """Figures and fingerprints depend on it."""
    assert read_corpus() == corpus


def test_the_command_writes_one_json_object_a_line(corpus):
    """`python -m demo corpus` is how others read the corpus."""
    child = subprocess.run([sys.executable, "-m", "demo", "corpus"], capture_output=True, check=True)
    lines = [json.loads(line) for line in child.stdout.decode().splitlines()]
    assert [line["id"] for line in lines] == [document.id for document in corpus]
    assert set(lines[0]) >= {"id", "kind", "title", "body", "module"}


def test_ids_and_texts_are_unique_and_none_is_empty(corpus):
    """One document a thing, whatever its other names."""
    assert len({document.id for document in corpus}) == len(corpus)
    assert len({document.body for document in corpus}) == len(corpus)
    assert all(document.body.strip() == document.body != "" for document in corpus)
    assert all(document.title for document in corpus)
    assert max(len(document.body) for document in corpus) <= MAX_BODY_CHARS


def test_no_title_holds_an_address_of_this_process(corpus):
    """A default such as <function copy2 at 0x7f…> would change with every run."""
    assert not [document.title for document in corpus if " at 0x" in document.title]


@pytest.mark.parametrize(
    ("id", "kind", "in_title"),
    [
        pytest.param("shutil.rmtree", "function", "(path, ignore_errors=False", id="function"),
        pytest.param("str.casefold", "method", "(self, /)", id="method of a built-in type"),
        pytest.param("open", "function", "(file, mode='r'", id="built-in with its home elsewhere"),
        pytest.param("argparse.ArgumentParser.add_argument", "method", "", id="from a private base class"),
        pytest.param("pathlib.Path.exists", "method", "(self", id="package in some versions"),
        pytest.param("asyncio.locks.Barrier.n_waiting", "attribute", "", id="property"),
        pytest.param("KeyError", "exception", "", id="exception"),
        pytest.param("OSError", "exception", "", id="true name, not IOError"),
        pytest.param("io.StringIO", "class", "", id="class of a private module"),
        pytest.param("functools.reduce", "function", "", id="function of a private module"),
        pytest.param("os.path.join", "function", "", id="module with two names"),
        pytest.param("json", "module", "json", id="module"),
        pytest.param("topic:with", "topic", 'The "with" statement', id="topic"),
    ],
)
def test_well_known_things_are_found_by_their_name(corpus, id, kind, in_title):
    found = {document.id: document for document in corpus}[id]
    assert (found.kind, in_title in found.title) == (kind, True)


def test_other_names_of_a_thing_are_kept_beside_it(corpus):
    """Judgments may use any of them."""
    also = {document.id: document.also for document in corpus}
    assert "IOError" in also["OSError"]


@pytest.mark.parametrize("module", ["antigravity", "idlelib", "turtle", "tkinter", "test"])
def test_what_opens_windows_or_is_no_documentation_is_left_out(corpus, module):
    assert not [document.id for document in corpus if document.id.split(".")[0] == module]


def test_reading_leaves_the_caller_clean():
    """Hundreds of modules are imported for it, in another process."""
    code = "import sys; from demo.corpus import read_corpus; read_corpus(); print('imaplib' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (child.stdout.strip(), child.stderr) == (b"False", b"")


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        pytest.param("First.\n\n    Second.\n    ", "First.\n\nSecond.", id="indentation"),
        pytest.param("First.\n\n\n\nSecond.", "First.\n\nSecond.", id="runs of empty lines"),
        pytest.param(None, "", id="no docstring"),
        pytest.param("x" * 5000, "x" * MAX_BODY_CHARS, id="too long"),
    ],
)
def test_docstrings_are_cleaned(docstring, text):
    assert clean(docstring) == text
