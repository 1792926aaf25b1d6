"""A control for rerankers, and a teacher's eye: the cosine of an embedding model's mean-pooled vectors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from rerankers.devices import choose_devices, refuse_missing_device
from rerankers.errors import BadCheckpoint

BATCH_SIZE = 64


class CosineModel:
    """An embedding model of which a text's vector is the mean of its tokens', of length 1.

    Args:
        max_length: tokens at which a text is cut.

    Raises:
        BadCheckpoint: the folder holds no model that transformers can load.
    """

    def __init__(self, path: str, device: str | None, max_length: int) -> None:
        self._device = choose_devices(device)[0]
        refuse_missing_device(self._device)
        if not Path(path).is_dir():
            raise BadCheckpoint(f"{path}: no such folder")
        disable_progress_bar()  # type: ignore[no-untyped-call]  # it would say that weights are loaded
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path)
            self._model: Any = AutoModel.from_pretrained(path).to(self._device).eval()
        except (OSError, ValueError, KeyError) as error:
            raise BadCheckpoint(f"{path}: can't be loaded as an embedding model ({error})") from error
        positions = getattr(self._model.config, "max_position_embeddings", max_length)
        self._max_length = min(max_length, positions)

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """One row of length 1 a text: (N, D), on the CPU."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows: list[torch.Tensor] = []
        for start in range(0, len(order), BATCH_SIZE):
            rows.append(self._embed_batch([texts[place] for place in order[start : start + BATCH_SIZE]]))
        back = torch.tensor(order).argsort()
        return torch.cat(rows)[back]

    @torch.inference_mode()
    def _embed_batch(self, texts: list[str]) -> torch.Tensor:
        given = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        ).to(self._device)
        hidden = self._model(**given).last_hidden_state  # (B, T, D)
        mask = given["attention_mask"].unsqueeze(-1)  # (B, T, 1)
        means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)  # (B, D)
        return torch.nn.functional.normalize(means, dim=-1).float().cpu()


def score_by_cosine(
    model: CosineModel, queries: Mapping[str, str], passages: Mapping[str, Sequence[str]]
) -> dict[str, list[float]]:
    """For each query one score a passage.

    Args:
        queries: texts by id.
        passages: by the query's id.
    """
    different = list(dict.fromkeys(text for of_query in passages.values() for text in of_query))
    if not different:
        return {id: [] for id in passages}
    place = {text: number for number, text in enumerate(different)}
    vectors = model.embed(different)  # (N, D)
    asked = dict(zip(queries, model.embed(list(queries.values())), strict=True))
    return {
        id: (vectors[[place[text] for text in of_query]] @ asked[id]).tolist() if of_query else []
        for id, of_query in passages.items()
    }
