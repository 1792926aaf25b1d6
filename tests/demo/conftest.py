from pathlib import Path

import pytest

from demo.corpus import Document, read_corpus


@pytest.fixture(scope="session")
def corpus() -> list[Document]:
    return read_corpus()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder that looks like an adapter, for what only writes its path down."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder
