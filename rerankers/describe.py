"""What would be loaded for a model, told from its configuration and the headers of its weights alone."""

from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any

import torch

from rerankers.auto import AUTO_RERANKER_MAPPING, FlagAutoReranker, choose_config, find_base, read_name
from rerankers.detection import (
    ADAPTER_CONFIG_FILE,
    CONFIG_FILE,
    RerankerModelClass,
    explain_family,
    read_json,
)
from rerankers.devices import Devices, choose_devices, choose_dtype
from rerankers.hub import HubAccess, is_local
from rerankers.loading import count_positions
from rerankers.models.layered import LayeredReranker
from rerankers.weights import find_weight_files, read_headers


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter that is merged into its base model while that is loaded.

    Args:
        rank: None where its kind has none.
        task_type: as its configuration says; None where it says nothing.
    """

    path: str
    kind: str
    rank: int | None
    target_modules: tuple[str, ...]
    task_type: str | None


@dataclass(frozen=True)
class ModelInfo:
    """What would be loaded.

    Args:
        model: folder or hub name of the whole model; the base where ``adapter`` is laid over one.
        family: as ``model_class`` takes it.
        told_by: what the family was told by.
        class_name: the class that runs it.
        layers: how many there are.
        scored_layers: those that have a score, counted as layers passed; None where only the last has.
        max_positions: tokens of the longest sequence that the model was made for; None when it names none.
        parameters: how many are kept; of a language model's head one word's row is.
        weight_bytes: what these take in memory at ``dtype``; what scoring takes on top depends on the pairs.
        file_bytes: of the files of weights; None for a model on the hub, whose files are not fetched.
        file_dtypes: the precisions of the weights in these files.
        tokenizer: its class.
        device, dtype: what it would be loaded on and in.
    """

    model: str
    family: str
    told_by: str
    class_name: str
    adapter: AdapterInfo | None
    layers: int
    scored_layers: tuple[int, ...] | None
    hidden_size: int
    vocab_size: int
    max_positions: int | None
    parameters: int
    weight_bytes: int
    file_bytes: int | None
    file_dtypes: tuple[str, ...]
    tokenizer: str
    device: str
    dtype: str


def describe_model(
    model_name_or_path: str | PathLike[str],
    model_class: str | RerankerModelClass | None = None,
    use_fp16: bool = False,
    use_bf16: bool = False,
    *,
    peft_path: str | PathLike[str] | None = None,
    devices: Devices = None,
    trust_remote_code: bool | None = None,
    cache_dir: str | None = None,
    revision: str | None = None,
) -> ModelInfo:
    """Tell what ``FlagAutoReranker.from_finetuned`` would load, without reading weights.

    The model is built as for loading, but on the device ``meta``, where tensors have shapes and no numbers.
    So whatever can be refused by names and shapes is refused by the same error. For a model on the hub only
    its configuration and its tokenizer are fetched, and its weights are taken to be there.

    Raises:
        BadArgument, BadCheckpoint: as loading does.
    """
    chosen = choose_devices(devices)
    dtype = choose_dtype(chosen, use_fp16, use_bf16)
    given = fspath(model_name_or_path)
    path = given.rstrip("/") or given
    access = HubAccess(bool(trust_remote_code), cache_dir, revision)
    laid_over: dict[str, Any] = {} if peft_path is None else {"peft_path": peft_path}
    reranker = FlagAutoReranker.from_finetuned(
        path,
        model_class,
        trust_remote_code=trust_remote_code,
        devices="meta",
        cache_dir=cache_dir,
        revision=revision,
        **laid_over,
    )
    base_path = find_base(path, access)
    main_branch = replace(access, revision=None)  # what is not named by itself is taken from there
    base_access = access if base_path is None or is_local(path) else main_branch
    adapter = None
    if peft_path is not None:
        adapter = _describe_adapter(fspath(peft_path), main_branch)
    elif base_path is not None:
        adapter = _describe_adapter(path, access)
    files = find_weight_files(base_path or path) if is_local(base_path or path) else []
    parameters = sum(parameter.numel() for parameter in reranker.model.parameters())
    return ModelInfo(
        model=base_path or path,
        family=choose_config(path, model_class, access).model_class.value,
        told_by="model_class" if model_class is not None else _explain(path, access),
        class_name=type(reranker).__name__,
        adapter=adapter,
        **_read_sizes(reranker.model, base_path or path, base_access),
        parameters=parameters,
        weight_bytes=parameters * dtype.itemsize,
        file_bytes=sum(file.stat().st_size for file in files) if files else None,
        file_dtypes=_read_dtypes(base_path or path) if files else (),
        tokenizer=type(reranker.tokenizer).__name__,
        device=", ".join(map(str, chosen)),
        dtype=_name_dtype(dtype),
    )


def _explain(path: str, access: HubAccess) -> str:
    if read_name(path) in AUTO_RERANKER_MAPPING:
        return f"published name {read_name(path)}"
    found = explain_family(path, access)
    assert found is not None  # or it would not have been loaded
    return found[1]


def _read_sizes(model: torch.nn.Module, path: str, access: HubAccess) -> dict[str, Any]:
    if isinstance(model, LayeredReranker):
        return {
            "layers": model.layout.n_layers,
            "scored_layers": tuple(model.layout.scored_layers),
            "hidden_size": model.layout.hidden_size,
            "vocab_size": model.layout.vocab_size,
            "max_positions": (read_json(path, CONFIG_FILE, access) or {}).get("max_position_embeddings"),
        }
    config: Any = model.config
    return {
        "layers": config.num_hidden_layers,
        "scored_layers": None,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "max_positions": count_positions(model),
    }


def _describe_adapter(path: str, access: HubAccess) -> AdapterInfo:
    said = read_json(path, ADAPTER_CONFIG_FILE, access) or {}
    targets = said.get("target_modules") or ()
    return AdapterInfo(
        path=path,
        kind=str(said.get("peft_type")),
        rank=said.get("r"),
        target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
        task_type=said.get("task_type"),
    )


def _read_dtypes(folder: str) -> tuple[str, ...]:
    return tuple(sorted({_name_dtype(tensor.dtype) for tensor in read_headers(folder).values()}))


def _name_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
