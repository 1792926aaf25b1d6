"""A plain language model becomes a layered reranker: the same layers, new heads that begin as "Yes"."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open

from rerankers.detection import CONFIG_FILE, RerankerModelClass, read_json
from rerankers.errors import BadArgument
from rerankers.finetune.students import LayeredStudent
from rerankers.hub import find_folder
from rerankers.loading import load_native, refuse_unfilled
from rerankers.models.layered import LayeredReranker
from rerankers.models.published import make_cost_wise_gemma, make_minicpm
from rerankers.sequences import tokenize
from rerankers.weights import find_weight_files

START_LAYER = 8
YES = "Yes"
HEADS = "lm_head."


@dataclass(frozen=True)
class Seed:
    """What a plain model's config.json becomes."""

    family: RerankerModelClass
    make: Callable[[dict[str, Any]], torch.nn.Module]
    added: Mapping[str, Any]


SEEDS: Mapping[str, Seed] = {
    "minicpm": Seed(
        RerankerModelClass.DECODER_ONLY_LAYERWISE,
        make_minicpm,
        {"architectures": ["LayerWiseMiniCPMForCausalLM"], "head_type": "simple", "head_multi": False},
    ),
    "gemma2": Seed(
        RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT,
        make_cost_wise_gemma,
        {"architectures": ["CostWiseGemmaForCausalLM"], "model_type": "cost_wise_gemma", "layer_sep": 1},
    ),
}
"""By ``model_type`` in config.json."""


def find_seed(config: Mapping[str, Any]) -> Seed:
    """What can be made of a plain model.

    Raises:
        BadArgument: nothing.
    """
    found = SEEDS.get(str(config.get("model_type")))
    if found is None:
        raise BadArgument(
            f"--model_type from_raw_model: expected a {' or '.join(SEEDS)} model, "
            f"found {config.get('model_type')!r} in {CONFIG_FILE}"
        )
    return found


def make_layered(
    student: LayeredStudent, folder: str, start_layer: int | None, head_multi: bool | None
) -> None:
    """Write a plain model's layers, under heads that each are the row of Yes in its own, as a reranker.

    Raises:
        BadCheckpoint: it can't be loaded.
        BadArgument: it has fewer layers, or nothing can be made of it.
    """
    config = read_json(student.path, CONFIG_FILE, student.access) or {}
    seed = find_seed(config)
    start = START_LAYER if start_layer is None else start_layer
    if not 0 < start <= config["num_hidden_layers"]:
        raise BadArgument(f"--start_layer: {start}: the model has {config['num_hidden_layers']} layers")
    config.setdefault("hidden_act", config.get("hidden_activation"))
    if "rope_theta" not in config:  # transformers 5 writes it elsewhere
        config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config |= {**seed.added, "start_layer": start}
    if head_multi is not None:
        config["head_multi"] = head_multi
    model, unfilled = load_native(lambda _: seed.make(config), student.path, torch.float32, student.access)
    others = {name: why for name, why in unfilled.items() if not name.startswith(HEADS)}
    refuse_unfilled(student.path, others, brought=())
    layered = student.take(model, config)
    row = _read_yes(student, layered)
    with torch.no_grad():
        for parameter in layered.lm_head.parameters():
            parameter.copy_(row)
    student.save(layered, folder)


def _read_yes(student: LayeredStudent, model: LayeredReranker) -> torch.Tensor:
    """The row (1, H) of Yes in the plain model's head, which often is that of the embeddings."""
    word = tokenize(student.tokenizer, [YES], max_tokens=1)[YES][0]
    for file in find_weight_files(find_folder(student.path, student.access)):
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                if "lm_head.weight" in opened.keys():  # noqa: SIM118
                    row: torch.Tensor = opened.get_slice("lm_head.weight")[word : word + 1]
                    return row
    return model.model.embed_tokens.weight[word : word + 1].detach().clone()
