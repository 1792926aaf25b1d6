"""Orders passages by the cosine of the untrained all-MiniLM-L6-v2: the control, and the teacher's eye."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from demo import settings
from demo.corpus import Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

MAX_TOKENS = 128
PASSAGE_CHARS = 400


def make_passage(title: str, body: str) -> str:
    """What a model reads of a document, cut to what it has room for."""
    return f"{title}\n{body[:PASSAGE_CHARS]}"


def passage_of(document: Document) -> str:
    return make_passage(document.title, document.body)


def load_encoder() -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer  # takes seconds
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    encoder = SentenceTransformer(str(settings.base_model_path()), device="cpu")
    encoder.max_seq_length = MAX_TOKENS
    return encoder


def encode(
    encoder: "SentenceTransformer", texts: Sequence[str], progress: bool = False
) -> "NDArray[np.float32]":
    """One row of length 1 per text, so that a product of two rows is their cosine."""
    return encoder.encode(
        list(texts),
        batch_size=32,
        normalize_embeddings=True,
        show_progress_bar=progress,
        convert_to_numpy=True,
    )
