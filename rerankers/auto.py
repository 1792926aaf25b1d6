"""Which class runs a model: by the name it was published under, else by what its files say about it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import PurePosixPath
from typing import Any, Self

from rerankers.base import AbsReranker
from rerankers.detection import (
    ADAPTER_CONFIG_FILE,
    CONFIG_FILE,
    RerankerModelClass,
    detect_family,
    read_description,
)
from rerankers.errors import BadArgument, BadCheckpoint
from rerankers.families.decoder import FlagLLMReranker
from rerankers.families.encoder import FlagReranker
from rerankers.families.layered import LayerWiseFlagLLMReranker, LightWeightFlagLLMReranker
from rerankers.hub import DEFAULT_ACCESS, HubAccess, find_folder, is_local
from rerankers.trained import read_arguments


@dataclass(frozen=True)
class RerankerConfig:
    """How a published model is loaded; ``arguments`` are the constructor's, where the caller gives none."""

    model_class: RerankerModelClass
    trust_remote_code: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


QWEN3_FORMAT: Mapping[str, Any] = {
    "query_instruction_for_rerank": (
        "Given a web search query, retrieve relevant passages that answer the query"
    ),
    "query_instruction_format": (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
        'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n<Instruct>: {}\n<Query>: {}\n"
    ),
    "passage_instruction_for_rerank": "",
    "passage_instruction_format": "<Document>: {}{}",
    "prompt": "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "separator": "",
    "answers": ("yes", "no"),
}
"""What Qwen3-Reranker and its kin are asked; as their publishers run them, scores are normalized."""


RERANKER_CLASS_MAPPING: dict[RerankerModelClass, Callable[..., AbsReranker]] = {
    RerankerModelClass.ENCODER_ONLY_BASE: FlagReranker,
    RerankerModelClass.DECODER_ONLY_BASE: FlagLLMReranker,
    RerankerModelClass.DECODER_ONLY_LAYERWISE: LayerWiseFlagLLMReranker,
    RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT: LightWeightFlagLLMReranker,
}
"""The class that runs each family."""

AUTO_RERANKER_MAPPING: dict[str, RerankerConfig] = {
    "bge-reranker-base": RerankerConfig(RerankerModelClass.ENCODER_ONLY_BASE),
    "bge-reranker-large": RerankerConfig(RerankerModelClass.ENCODER_ONLY_BASE),
    "bge-reranker-v2-m3": RerankerConfig(RerankerModelClass.ENCODER_ONLY_BASE),
    "bge-reranker-v2-gemma": RerankerConfig(RerankerModelClass.DECODER_ONLY_BASE),
    "bge-reranker-v2-minicpm-layerwise": RerankerConfig(RerankerModelClass.DECODER_ONLY_LAYERWISE),
    "bge-reranker-v2.5-gemma2-lightweight": RerankerConfig(RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT),
    "jina-reranker-v2-base-multilingual": RerankerConfig(RerankerModelClass.ENCODER_ONLY_BASE),
    "gte-multilingual-reranker-base": RerankerConfig(RerankerModelClass.ENCODER_ONLY_BASE),
    "bce-reranker-base_v1": RerankerConfig(RerankerModelClass.ENCODER_ONLY_BASE),
    "jina-reranker-v1-turbo-en": RerankerConfig(RerankerModelClass.ENCODER_ONLY_BASE),
    **{
        f"Qwen3-Reranker-{size}": RerankerConfig(RerankerModelClass.DECODER_ONLY_BASE, arguments=QWEN3_FORMAT)
        for size in ("0.6B", "4B", "8B")
    },
}
"""The published models, by the last part of their names."""


class FlagAutoReranker:
    """Loads any supported reranker with ``from_finetuned``; has no instances itself."""

    def __init__(self) -> None:
        name = type(self).__name__
        raise OSError(f"{name} has no instances; call {name}.from_finetuned(model_name_or_path)")

    @classmethod
    def from_finetuned(
        cls: type[Self],
        model_name_or_path: str | PathLike[str],
        model_class: str | RerankerModelClass | None = None,
        use_fp16: bool = False,
        trust_remote_code: bool | None = None,
        **kwargs: Any,
    ) -> AbsReranker:
        """Load a reranker.

        Args:
            model_name_or_path: folder or hub name of a model, or folder of an adapter that names its base.
            model_class: the family; needed only when neither the name nor the folder tells it.
            use_fp16: half precision, where the device is not a CPU.
            trust_remote_code: run code that the model brings along; None is what the published model needs.
            **kwargs: the family's other constructor arguments; an unknown one is refused.

        What the model, or its adapter, was fine-tuned with (``reranker.json``) counts where kwargs don't.

        Raises:
            BadArgument: ``model_class`` is none, or is not given and can't be told.
            BadCheckpoint: the folder can't be loaded.
        """
        path = fspath(model_name_or_path).rstrip("/") or fspath(model_name_or_path)
        access = HubAccess(cache_dir=kwargs.get("cache_dir"), revision=kwargs.get("revision"))
        config = choose_config(path, model_class, access)
        base_path = find_base(path, access)
        if base_path is not None:
            kwargs = _lay_over_base(path, access, kwargs)
        if trust_remote_code is None:
            trust_remote_code = config.trust_remote_code
        load = RERANKER_CLASS_MAPPING[config.model_class]
        trained_with = read_arguments(fspath(kwargs["peft_path"]) if kwargs.get("peft_path") else path)
        arguments = {**config.arguments, **trained_with, **kwargs}
        return load(base_path or path, use_fp16=use_fp16, trust_remote_code=trust_remote_code, **arguments)


def choose_config(
    path: str, model_class: str | RerankerModelClass | None, access: HubAccess = DEFAULT_ACCESS
) -> RerankerConfig:
    """How a model is loaded: as its caller says, else as its published name or its files tell.

    Raises: see ``FlagAutoReranker.from_finetuned``.
    """
    if model_class is not None:
        return RerankerConfig(read_family(model_class))
    return AUTO_RERANKER_MAPPING.get(read_name(path)) or RerankerConfig(tell_family(path, access))


def read_name(path: str) -> str:
    """A model's name: the last part of its path, or the one before a trainer's ``checkpoint-…``."""
    parts = PurePosixPath(path)
    return parts.parent.name if parts.name.startswith("checkpoint-") else parts.name


def read_family(model_class: str | RerankerModelClass) -> RerankerModelClass:
    """Turn what a caller wrote into a family."""
    try:
        return RerankerModelClass(model_class)
    except ValueError:
        raise BadArgument(
            f"model_class: {model_class!r} is none of {_list_families(RerankerModelClass)}"
        ) from None


def tell_family(path: str, access: HubAccess = DEFAULT_ACCESS) -> RerankerModelClass:
    """The family that a model's files tell.

    Raises:
        BadArgument: they tell none, or the hub can't be asked for them.
    """
    family = detect_family(path, access)
    if family is None:
        raise BadArgument(
            f"{path!r}: neither its name nor its {CONFIG_FILE} or {ADAPTER_CONFIG_FILE} tells its family; "
            f"check the path, or give model_class, one of {_list_families(RerankerModelClass)}"
        )
    return family


def find_base(path: str, access: HubAccess = DEFAULT_ACCESS) -> str | None:
    """The base model that an adapter names; None when it is no adapter but a whole model."""
    adapter = read_description(path, access).adapter
    if adapter is None:
        return None
    base_path = adapter.get("base_model_name_or_path")
    if not isinstance(base_path, str):
        raise BadCheckpoint(
            f"{path}: the adapter names no base model; load that one, with peft_path={path!r}"
        )
    return base_path


def _lay_over_base(path: str, access: HubAccess, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that lay an adapter over its base; a revision was the adapter's if that is on the hub."""
    if is_local(path):
        return {"peft_path": path} | given
    try:
        folder = find_folder(path, access)
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{path}: can't be loaded ({error})") from error
    return {"peft_path": folder} | given | {"revision": None}


def _list_families(families: Iterable[RerankerModelClass]) -> str:
    return ", ".join(family.value for family in families)
