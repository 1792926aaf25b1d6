"""What models read of a document, and the untrained model: the control, and the teacher's eye."""

from typing import TYPE_CHECKING

from demo import settings
from demo.corpus import Document

if TYPE_CHECKING:
    from rerankers.cosine import CosineModel

MAX_TOKENS = 128
PASSAGE_CHARS = 400


def make_passage(title: str, body: str) -> str:
    """Cut to what a model has room for."""
    return f"{title}\n{body[:PASSAGE_CHARS]}"


def passage_of(document: Document) -> str:
    return make_passage(document.title, document.body)


def load_encoder() -> "CosineModel":
    """all-MiniLM-L6-v2 as it was published."""
    from rerankers.cosine import CosineModel  # takes seconds

    return CosineModel(str(settings.base_model_path()), "cpu", MAX_TOKENS)
