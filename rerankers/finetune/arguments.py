"""The options of ``python -m rerankers finetune``: ours, and those of transformers' ``TrainingArguments``."""

import argparse
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from transformers import HfArgumentParser, TrainingArguments

from rerankers.detection import RerankerModelClass
from rerankers.errors import BadArgument
from rerankers.finetune.ranking import NDCG

DESCRIPTION = """\
Fine-tune a reranker of any family on your own queries, whole or as a small adapter (LoRA).

Training file: one JSON object a line,
  {"query": "delete a folder", "pos": ["shutil.rmtree: ..."], "neg": ["os.remove: ...", "..."]}
and, to learn from a teacher as well (--knowledge_distillation), its logits: "pos_scores", "neg_scores".
In every step each query is shown with one of its relevant passages and some negatives (a group); the model
learns to score the relevant one best."""

EXAMPLE = """\
examples:
  python -m rerankers finetune --model_name_or_path base/ --train_data train.jsonl --output_dir adapter/ \\
      --lora_rank 16 --lora_alpha 32 --learning_rate 1e-3 --num_train_epochs 2 --use_cpu
  echo '{"query": "a", "passage": "b"}' | python -m rerankers score base/ --peft_path adapter/
  torchrun --nproc_per_node 2 -m rerankers.finetune --model_name_or_path base/ ...
  python -m rerankers finetune ... --eval_data eval.jsonl --eval_strategy epoch --save_strategy epoch \\
      --early_stopping_patience 2

Start from a published reranker, from any BERT-like model (its head is then new, so keep "classifier" among
--modules_to_save), from any language model, or from a plain MiniCPM or Gemma 2 (--model_type from_raw_model).
Every other option of transformers' TrainingArguments is taken as well. More: docs/fine-tuning.md."""

SHOWN_TRAINING_OPTIONS = {
    "output_dir",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "weight_decay",
    "warmup_ratio",
    "lr_scheduler_type",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "max_grad_norm",
    "seed",
    "logging_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "eval_strategy",
    "eval_steps",
    "use_cpu",
    "fp16",
    "bf16",
    "deepspeed",
    "fsdp",
    "resume_from_checkpoint",
    "overwrite_output_dir",
    "report_to",
    "token_budget",
    "early_stopping_patience",
    "early_stopping_threshold",
}

LATEST = "latest"


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Our own line breaks in the description, and every default."""


@dataclass
class ModelOptions:
    """Where training starts from and what of it is trained."""

    _argument_group_name: ClassVar[str] = "model"

    model_name_or_path: str = field(metadata={"help": "Folder or hub name of the model to start from."})
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "The same of its tokenizer (default: the model's)."}
    )
    model_class: str | None = field(
        default=None,
        metadata={
            "help": "The model's family, where its name and files don't tell it.",
            "choices": [family.value for family in RerankerModelClass],
        },
    )
    model_type: str | None = field(
        default=None,
        metadata={
            "help": "encoder or decoder: the family. from_raw_model: start from a plain "
            "MiniCPM or Gemma 2, which gets new heads; from_finetuned_model: it has them.",
            "choices": ["encoder", "decoder", "from_raw_model", "from_finetuned_model"],
        },
    )
    use_lora: bool | None = field(
        default=None,
        metadata={
            "help": "Train an adapter (default: language models yes, encoders where --lora_rank is given)."
        },
    )
    lora_rank: int | None = field(
        default=None,
        metadata={"help": "Rank of the adapter's matrices; 0 trains every weight (default: 64)."},
    )
    lora_alpha: float = field(default=16, metadata={"help": "The adapter's change counts alpha / rank."})
    lora_dropout: float | None = field(
        default=None,
        metadata={
            "help": "Dropout on the adapter's input, 0 to 1 (default: 0.1 for language models, else 0)."
        },
    )
    target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Layers that get an adapter, by the end of their names; all-linear is all but the head "
            "(default: that for encoders, the projections, and layered models' heads, else)."
        },
    )
    modules_to_save: list[str] | None = field(
        default=None,
        metadata={
            "help": "Layers trained whole and saved with the adapter; a new head must be among them "
            "(default: classifier for encoders)."
        },
    )
    adapter_dtype: str = field(
        default="float32",
        metadata={"help": "Precision of the saved adapter.", "choices": ["float32", "float16", "bfloat16"]},
    )
    from_peft: str | None = field(
        default=None, metadata={"help": "Go on training this adapter instead of a new one."}
    )
    raw_peft: list[str] | None = field(
        default=None, metadata={"help": "Adapters to merge into the model first, in this order."}
    )
    save_merged_lora_model: bool = field(
        default=False,
        metadata={
            "help": "Write the model with the adapter merged into it, too: in output_dir/merged_model."
        },
    )
    load_in_4bit: bool = field(
        default=False,
        metadata={"help": "Hold the frozen model in 4 bits (QLoRA); needs bitsandbytes and a GPU."},
    )
    use_flash_attn: bool = field(
        default=False, metadata={"help": "Compute attention by flash-attn, on a GPU."}
    )
    start_layer: int | None = field(
        default=None,
        metadata={
            "help": "Layered models: the first layer to train (default: the first with a head, else 8)."
        },
    )
    head_multi: bool | None = field(
        default=None,
        metadata={
            "help": "Layer-wise models with new heads: one a layer instead of one for all (default: no)."
        },
    )
    head_type: str | None = field(default=None, metadata={"help": "Layer-wise models: only simple."})
    compress_layers: list[int] | None = field(
        default=None,
        metadata={
            "help": "Lightweight models: layers that compress in half of the steps (default: each eighth)."
        },
    )
    compress_ratios: list[int] | None = field(
        default=None,
        metadata={"help": "Lightweight models: a step's ratio is one of these (default: 1 2 4 8)."},
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that the model brings along."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where files from the hub are kept."})
    config_name: str | None = field(default=None, metadata={"help": argparse.SUPPRESS})
    use_fast_tokenizer: bool = field(default=True, metadata={"help": argparse.SUPPRESS})
    token: str | None = field(default=None, metadata={"help": argparse.SUPPRESS})


@dataclass
class DataOptions:
    """What is trained on and how much of a text is read."""

    _argument_group_name: ClassVar[str] = "data"

    train_data: list[str] = field(metadata={"help": "Training files, or folders of .jsonl and .json files."})
    eval_data: list[str] | None = field(
        default=None,
        metadata={
            "help": f"The same to evaluate by: all passages of a row are ranked, {NDCG} of the order is told."
        },
    )
    train_group_size: int = field(
        default=8, metadata={"help": "Passages a group: one relevant, the rest negatives."}
    )
    max_example_num_per_dataset: int = field(
        default=100_000_000, metadata={"help": "The most rows taken of a file."}
    )
    query_max_len: int = field(default=32, metadata={"help": "Tokens of a query."})
    passage_max_len: int = field(default=128, metadata={"help": "Tokens of a passage."})
    max_len: int = field(
        default=512,
        metadata={"help": "Tokens of the whole sequence; never more than query_max_len + passage_max_len."},
    )
    pad_to_multiple_of: int | None = field(
        default=None, metadata={"help": "Fill sequences up to a multiple of so many tokens."}
    )
    query_instruction_for_rerank: str | None = field(
        default=None,
        metadata={"help": "Put before every query (default: as scoring does, 'A: ' for language models)."},
    )
    query_instruction_format: str | None = field(
        default=None, metadata={"help": "Joins that and the query (default: as scoring does, {}{})."}
    )
    passage_instruction_for_rerank: str | None = field(
        default=None, metadata={"help": "Put before every passage (default: as scoring does, 'B: ')."}
    )
    passage_instruction_format: str | None = field(
        default=None, metadata={"help": "Joins that and the passage (default: as scoring does, {}{})."}
    )
    prompt: str | None = field(
        default=None,
        metadata={
            "help": "Language models: the question that follows query and passage; a row's own overrules it."
        },
    )
    sep_token: str | None = field(
        default=None,
        metadata={"help": "Language models: between query, passage and prompt (default: a new line)."},
    )
    answers: list[str] | None = field(
        default=None,
        metadata={"help": "Decoder-only models: the word that scores, and one against it (default: Yes)."},
    )
    shuffle_ratio: float = field(
        default=0.0,
        metadata={"help": "How often a long relevant passage's thirds are put in another order, 0 to 1."},
    )
    knowledge_distillation: bool = field(
        default=False, metadata={"help": "Follow the teacher's scores in pos_scores and neg_scores too."}
    )
    distillation_weight: float = field(
        default=1.0, metadata={"help": "How much a teacher counts beside the labels."}
    )
    cache_path: str | None = field(default=None, metadata={"help": argparse.SUPPRESS})


@dataclass
class TrainingOptions(TrainingArguments):
    """transformers' own options, with defaults that suit groups."""

    _argument_group_name: ClassVar[str] = "training"

    output_dir: str = field(metadata={"help": "Folder to write to: an empty or a new one."})
    warmup_ratio: float = field(
        default=0.0, metadata={"help": "Share of the steps in which the learning rate grows."}
    )
    dataloader_drop_last: bool = field(default=True, metadata={"help": "Leave out a short last batch."})
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Keep it off: groups have no columns."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Keep it off: whatever is trained is used in every step."}
    )
    ddp_broadcast_buffers: bool | None = field(
        default=False,
        metadata={"help": "Keep it off: buffers never change, and a step has several forward passes."},
    )
    report_to: str | None = field(
        default="none",
        metadata={"help": "Where to report figures, as tensorboard; log.csv is always written."},
    )
    token_budget: int | None = field(
        default=None, metadata={"help": "Tokens a forward pass (default: 2048 on a CPU, 65536 elsewhere)."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Write to output_dir though it is not empty."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": f"A checkpoint to go on from; {LATEST}: the newest in output_dir, if there is one."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": f"Stop after so many evaluations without a better {NDCG}, and keep the best model."
        },
    )
    early_stopping_threshold: float = field(
        default=0.0, metadata={"help": "How much better an evaluation must be to count."}
    )
    sub_batch_size: int | None = field(default=None, metadata={"help": argparse.SUPPRESS})

    def __post_init__(self) -> None:
        self.warmup_steps = self.warmup_steps or self.warmup_ratio  # below 1 it is a share
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()  # or --bf16 would be refused
        if self.gradient_checkpointing:  # transformers' older name, and that of the published code
            self.activation_checkpointing, self.gradient_checkpointing = True, None
        if self.early_stopping_patience is not None:
            self.load_best_model_at_end = True
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model = NDCG
        super().__post_init__()  # type: ignore[no-untyped-call]
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # it is for copies to a device, and warns where there is none


Options = tuple[ModelOptions, DataOptions, TrainingOptions]


def read_options(arguments: list[str] | None, prog: str) -> Options:
    """What a command line says.

    Raises:
        BadArgument: options contradict each other.
    """
    try:
        found: Any = build_parser(prog).parse_args_into_dataclasses(arguments, look_for_args_file=False)
    except (ValueError, ImportError) as error:
        raise BadArgument(str(error)) from error
    model, data, training = found
    return model, data, training


def build_parser(prog: str) -> HfArgumentParser:
    """The command line of the finetune command; its help shows the options that one needs."""
    options: Any = (ModelOptions, DataOptions, TrainingOptions)
    parser = HfArgumentParser(
        options,
        prog=prog,
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=_Formatter,
    )
    hidden = {option.name for option in fields(TrainingOptions)} - SHOWN_TRAINING_OPTIONS
    for action in parser._actions:
        if action.dest in hidden:
            action.help = argparse.SUPPRESS
    return parser
