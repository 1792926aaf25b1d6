"""The options of ``python -m rerankers finetune``: ours, and those of transformers' ``TrainingArguments``."""

import argparse
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from transformers import HfArgumentParser, TrainingArguments

DESCRIPTION = """\
Fine-tune an encoder-only reranker on your own queries, whole or as a small adapter (LoRA).

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

Start from a published reranker, or from any BERT-like model: its head is then new, so keep "classifier" among
--modules_to_save. Every other option of transformers' TrainingArguments is taken as well."""

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
    "max_grad_norm",
    "seed",
    "logging_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "use_cpu",
    "fp16",
    "bf16",
    "resume_from_checkpoint",
    "report_to",
    "token_budget",
}


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Our own line breaks in the description, and every default."""


@dataclass
class ModelOptions:
    """Where training starts from and what of it is trained."""

    _argument_group_name: ClassVar[str] = "model"

    model_name_or_path: str = field(metadata={"help": "Folder or hub name of the model to start from."})
    lora_rank: int = field(
        default=0,
        metadata={"help": "Rank of the adapter's matrices; 0 trains every weight and saves a whole model."},
    )
    lora_alpha: int = field(default=16, metadata={"help": "The adapter's change counts alpha / rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout on the adapter's input, 0 to 1."})
    target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"],
        metadata={
            "help": "Layers that get an adapter, by the end of their names; all-linear is all but the head."
        },
    )
    modules_to_save: list[str] = field(
        default_factory=lambda: ["classifier"],
        metadata={"help": "Layers trained whole and saved with the adapter; a new head must be among them."},
    )
    adapter_dtype: str = field(
        default="float32",
        metadata={"help": "Precision of the saved adapter.", "choices": ["float32", "float16", "bfloat16"]},
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that the model brings along."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where files from the hub are kept."})


@dataclass
class DataOptions:
    """What is trained on and how much of a text is read."""

    _argument_group_name: ClassVar[str] = "data"

    train_data: list[str] = field(metadata={"help": "Training files, or folders of .jsonl and .json files."})
    train_group_size: int = field(
        default=8, metadata={"help": "Passages a group: one relevant, the rest negatives."}
    )
    query_max_len: int = field(default=32, metadata={"help": "Tokens of a query."})
    passage_max_len: int = field(default=128, metadata={"help": "Tokens of a passage."})
    max_len: int = field(
        default=512,
        metadata={"help": "Tokens of the whole sequence; never more than query_max_len + passage_max_len."},
    )
    knowledge_distillation: bool = field(
        default=False, metadata={"help": "Follow the teacher's scores in pos_scores and neg_scores too."}
    )
    distillation_weight: float = field(
        default=1.0, metadata={"help": "How much the teacher counts beside the labels."}
    )


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
    report_to: str | None = field(
        default="none", metadata={"help": "Where to report figures, as tensorboard."}
    )
    token_budget: int | None = field(
        default=None, metadata={"help": "Tokens a forward pass (default: 2048 on a CPU, 65536 elsewhere)."}
    )

    def __post_init__(self) -> None:
        self.warmup_steps = self.warmup_steps or self.warmup_ratio  # below 1 it is a share
        super().__post_init__()  # type: ignore[no-untyped-call]


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
