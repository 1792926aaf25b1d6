"""What tests of training share: rows whose right answer a tiny model can learn, a training in a function."""

import json
import shutil

import torch

from rerankers.finetune.arguments import read_options
from rerankers.finetune.run import finetune

QUERIES = [
    "delete a folder",
    "sort a list",
    "parse json text",
    "remove files",
    "key by list",
    "path of a tree",
]
ROWS = [
    {"query": query, "pos": ["remove a tree"], "neg": ["sort list by key", "json text"]} for query in QUERIES
]
PAIRS = [("delete a folder", "remove a tree"), ("sort a list", "sort list by key"), ("parse json", "files")]
SHORT = ["--max_steps", "2", "--per_device_train_batch_size", "2", "--train_group_size", "3"]
PROMPTED = ["--prompt", "is it so", "--query_max_len", "40", "--passage_max_len", "40"]
"""For tiny tokenizers, in whose pieces the usual prompt would be all of a sequence."""
LORA = ["--lora_rank", "4", "--learning_rate", "0.02"]


def write_rows(file, rows=ROWS):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def list_arguments(base, train_file, written, *options):
    """A command line of two small steps; options given last overrule."""
    named = ["--model_name_or_path", str(base), "--train_data", str(train_file), "--output_dir", str(written)]
    return [
        *named,
        *SHORT,
        "--use_cpu",
        "--disable_tqdm",
        "true",
        "--save_strategy",
        "no",
        *map(str, options),
    ]


def train(base, train_file, written, *options):
    """The trained model."""
    return finetune(*read_options(list_arguments(base, train_file, written, *options), "finetune"))


def read_figures(written, name="loss"):
    """Of each line of the log that has it."""
    head, *lines = [line.split(",") for line in (written / "log.csv").read_text().splitlines()]
    place = head.index(name)
    return [float(line[place]) for line in lines if line[place]]


def same_weights(first, second, tolerance=0.0):
    return all(
        torch.allclose(a, b, atol=tolerance, rtol=0)
        for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def make_still(folder, tmp_path):
    """The same model without dropout."""
    still = tmp_path / "still"
    shutil.copytree(folder, still)
    config = json.loads((still / "config.json").read_text())
    silent = dict.fromkeys(["hidden_dropout_prob", "attention_probs_dropout_prob", "dropout"], 0.0)
    silent |= {"attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    (still / "config.json").write_text(json.dumps(config | silent))
    return still
