"""The three families of language models: what they read, what they score, what they refuse."""

import json
import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rerankers import (
    BadArgument,
    BadCheckpoint,
    FlagAutoReranker,
    FlagLLMReranker,
    FlagReranker,
    LayerWiseFlagLLMReranker,
    LightWeightFlagLLMReranker,
)
from rerankers.families.decoder import PROMPT
from rerankers.models.layered import compress
from rerankers.models.published import make_cost_wise_gemma, make_minicpm
from rerankers.prompts import PASSAGE, QUERY
from rerankers.prompts import PROMPT as PROMPT_PART
from tests.rerankers.conftest import CORPUS, COST_WISE_GEMMA, MINICPM, SIZES, spread

PAIRS = [
    ("delete a folder", "remove tree path"),
    ("sort list", "sort list by key " * 8),
    ("parse json text", ""),
    ("", "how do I delete a folder and all its files"),
    ("sort list by key and parse json text " * 4, "path"),
]
FAMILIES = {
    "llama": FlagLLMReranker,
    "minicpm": LayerWiseFlagLLMReranker,
    "gemma": LightWeightFlagLLMReranker,
}


@pytest.fixture(params=FAMILIES)
def load(request):
    """Each family in turn: a function that loads its tiny model."""
    folder = request.getfixturevalue(f"{request.param}_folder")
    return lambda **arguments: FAMILIES[request.param](folder, devices="cpu", **arguments)


@pytest.fixture(params=["minicpm", "gemma"])
def load_layered(request):
    folder = request.getfixturevalue(f"{request.param}_folder")
    return lambda **arguments: FAMILIES[request.param](folder, devices="cpu", **arguments)


def test_the_batch_does_not_change_a_score(load):
    """Whatever a pair is scored together with, and however many at a time."""
    reranker = load()
    alone = [reranker.compute_score(pair) for pair in PAIRS]
    assert len({round(score, 3) for score in alone}) == len(PAIRS)
    for batch_size in (1, 2, 128):
        assert reranker.compute_score(PAIRS, batch_size=batch_size) == pytest.approx(alone, abs=1e-5)
    assert reranker.compute_score(PAIRS[::-1]) == pytest.approx(alone[::-1], abs=1e-5)


def test_equal_pairs_score_equally_and_no_pairs_give_no_scores(load):
    reranker = load()
    first, second = reranker.compute_score([PAIRS[0], PAIRS[0]])
    assert first == second
    assert reranker.compute_score([]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": "key?"},
        {"prompt": ""},
        {"max_length": 8},
        {"max_length": 30, "query_max_length": 3},
        {"passage_max_length": 2},
    ],
    ids=str,
)
def test_an_argument_of_the_call_is_one_of_the_constructor_for_once(load, arguments):
    reranker = load()
    before = reranker.compute_score(PAIRS)
    assert reranker.compute_score(PAIRS, **arguments) == load(**arguments).compute_score(PAIRS) != before
    assert reranker.compute_score(PAIRS) == before


def test_normalized_scores_are_the_logistic_function_of_the_others(load):
    reranker = load()
    expected = [1 / (1 + math.exp(-score)) for score in reranker.compute_score(PAIRS)]
    assert reranker.compute_score(PAIRS, normalize=True) == pytest.approx(expected)


def test_a_sequence_is_query_passage_prompt(llama_folder):
    """The passage alone is cut; the prompt and the separators come on top of ``max_length``."""
    reranker = FlagLLMReranker(llama_folder, devices="cpu", max_length=12, prompt="Yes")
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    (row,) = reranker.encode_pairs([("A: list", "B: " + "tree " * 30)], reranker._defaults)
    line = tokenizer.convert_tokens_to_ids("\n")
    query = tokenizer("A: list", add_special_tokens=False)["input_ids"]
    passage = tokenizer("B: " + "tree " * 30, add_special_tokens=False)["input_ids"]
    asked = [line, tokenizer.convert_tokens_to_ids("Yes")]
    head = [tokenizer.bos_token_id, *query, line]
    expected = [*head, *passage[: 12 + len(asked) - len(head)], *asked]
    assert row["input_ids"] == expected
    assert row["parts"].count(QUERY) == len(head)
    assert row["parts"].count(PROMPT_PART) == len(asked)
    assert row["parts"] == sorted(row["parts"])


def test_the_score_is_the_logit_of_yes_behind_the_prompt(llama_folder):
    """As the whole model computes it from the whole vocabulary, one pair at a time and nothing padded."""
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    model = AutoModelForCausalLM.from_pretrained(llama_folder)
    reranker = FlagLLMReranker(llama_folder, devices="cpu")
    rows = encode(reranker)
    assert tokenizer.decode(rows[0]["input_ids"][-9:]) in tokenizer.decode(
        tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    )
    with torch.inference_mode():
        expected = [
            model(torch.tensor([row["input_ids"]]))
            .logits[0, -1, tokenizer.convert_tokens_to_ids("Yes")]
            .item()
            for row in rows
        ]
    assert reranker.compute_score(PAIRS) == pytest.approx(expected, abs=1e-4)


QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where the tokenizers of Qwen may not join letters: a new line belongs to the signs before it."""


@pytest.fixture
def qwen_folder(tmp_path):
    """A tiny language model with Qwen's kind of tokenizer, in a folder of a published name."""
    folder = tmp_path / "Qwen3-Reranker-0.6B"
    trained = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_of])
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    corpus = [*CORPUS, "is it?\nyes no <Query>: <Document>: <Instruct>:\n\n"] * 9
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    trained.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token=special[0], eos_token=special[2], extra_special_tokens=special[1:]
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    sizes = SIZES | {"num_key_value_heads": 2, "head_dim": 8}
    spread(Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **sizes))).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("query", "passage"),
    [("how do I sort a list?", "list.sort()\nsorts."), ("sort", ""), ("", "parse json!"), ("a\n", "\nb ")],
)
def test_qwen3_is_scored_as_its_publishers_do(qwen_folder, query, passage):
    """The text is put together whole and read at once; the probability is that of yes against no."""
    text = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
        'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
        "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
        f"<Query>: {query}\n<Document>: {passage}"
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    tokenizer = AutoTokenizer.from_pretrained(qwen_folder)
    model = AutoModelForCausalLM.from_pretrained(qwen_folder).eval()
    ids = tokenizer(text, return_tensors="pt").input_ids
    words = [tokenizer.encode(word)[0] for word in ("no", "yes")]
    with torch.inference_mode():
        expected = model(input_ids=ids).logits[0, -1, words].log_softmax(0)[1].exp().item()

    reranker = FlagAutoReranker.from_finetuned(qwen_folder, devices="cpu")
    (row,) = reranker.encode_pairs([reranker._instruct((query, passage))], reranker._defaults)
    assert row["input_ids"] == ids[0].tolist()
    assert reranker.compute_score((query, passage), normalize=True) == pytest.approx(expected, abs=1e-5)
    assert 0.01 < expected < 0.99


@pytest.mark.parametrize("answers", ["yes", [], ["a", "b", "c"]], ids=str)
def test_answers_are_one_word_or_two(llama_folder, answers):
    with pytest.raises(BadArgument, match="answers"):
        FlagLLMReranker(llama_folder, devices="cpu", answers=answers)


SHARING = {
    "llama": (LlamaConfig, {}, True),
    "gemma 2": (Gemma2Config, {"sliding_window": 500}, True),
    "gemma 2 with a window shorter than the text": (Gemma2Config, {"sliding_window": 20}, False),
    "qwen 3": (Qwen3Config, {}, True),
}


@pytest.mark.parametrize(("config", "more", "is_shared"), SHARING.values(), ids=SHARING)
def test_what_all_pairs_begin_with_is_computed_once(llama_folder, tmp_path, config, more, is_shared):
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    sizes = SIZES | {"num_key_value_heads": 2, "head_dim": 8} | more
    spread(AutoModelForCausalLM.from_config(config(vocab_size=vocab_size, **sizes))).save_pretrained(folder)
    reranker = FlagLLMReranker(folder, devices="cpu", prompt="key")
    query = "sort list by key and parse json text " * 3
    pairs = [(query, passage) for passage in ("tree", "path json", "", "remove folder " * 4)]
    expected = [reranker.compute_score(pair) for pair in pairs]
    n_tokens = []
    table = reranker.model.get_input_embeddings()
    table.register_forward_pre_hook(lambda _, arguments: n_tokens.append(arguments[0].numel()))
    assert reranker.compute_score(pairs) == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.01
    n_query = len(reranker.tokenizer(query)["input_ids"])
    assert (sum(n_tokens) < len(pairs) * n_query) == is_shared


def test_a_layer_wise_model_without_scales_is_a_llama(save_layered):
    """Its states at every layer are those of transformers' own Llama with the same weights."""
    config = MINICPM | {"scale_emb": 1, "scale_depth": MINICPM["num_hidden_layers"] ** 0.5}
    folder = save_layered(config)
    sizes = {
        name: config[name]
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    }
    llama = LlamaModel(LlamaConfig(vocab_size=_count_words(folder), rms_norm_eps=1e-6, **sizes))
    expect_scores_of(llama, LayerWiseFlagLLMReranker(folder, devices="cpu"), folder, heads=[0, 1, 2])


def test_a_lightweight_model_is_a_gemma_2(gemma_folder):
    """Capped attention and sliding window included, by the implementation of transformers that has both."""
    names = {"model_type", "architectures", "start_layer", "layer_sep", "hidden_act", "rope_theta"}
    config = {name: value for name, value in COST_WISE_GEMMA.items() if name not in names}
    gemma = Gemma2Model(
        Gemma2Config(vocab_size=_count_words(gemma_folder), attn_implementation="eager", **config)
    )
    reranker = LightWeightFlagLLMReranker(
        gemma_folder, devices="cpu", caps_attention=True, heads_by_layer=True
    )
    expect_scores_of(gemma, reranker, gemma_folder, heads=[0, 1, 2], cap=5.0)


def expect_scores_of(model, reranker, folder, heads, cap=None):
    """At layers 2 to 4 the reranker scores as its heads do on the states of ``model``."""
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict(
        {name.removeprefix("model."): weight for name, weight in weights.items() if "lm_head" not in name}
    )
    rows = encode(reranker)
    expected = [[], [], []]
    for row in rows:
        with torch.inference_mode():
            states = model.eval()(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states
            for scores, layer, head in zip(expected, (2, 3, 4), heads, strict=True):
                last = states[layer][0, -1]
                normed = last if layer == 4 else model.norm(last)  # the last one comes normed
                score = weights[f"lm_head.{head}.linear_head.weight"][0] @ normed
                scores.append(float(score if cap is None else cap * torch.tanh(score / cap)))
    found = reranker.compute_score(PAIRS, cutoff_layers=[2, 3, 4])
    assert torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-4)


def encode(reranker):
    """The rows of ``PAIRS``, as ``compute_score`` makes them."""
    return reranker.encode_pairs([reranker._instruct(pair) for pair in PAIRS], reranker._defaults)


def _count_words(folder):
    return len(AutoTokenizer.from_pretrained(folder))


def test_several_layers_give_one_list_each(load_layered):
    reranker = load_layered(heads_by_layer=True)
    two, four = reranker.compute_score(PAIRS, cutoff_layers=[4, 2])
    assert reranker.compute_score(PAIRS, cutoff_layers=2) == two
    assert reranker.compute_score(PAIRS) == four
    assert reranker.compute_score(PAIRS[0], cutoff_layers=[2, 4]) == pytest.approx(
        [two[0], four[0]], abs=1e-5
    )


def test_layers_without_a_score_are_left_out_with_a_warning(load_layered, caplog):
    reranker = load_layered()
    assert reranker.compute_score(PAIRS, cutoff_layers=[1, 3, 9]) == reranker.compute_score(
        PAIRS, cutoff_layers=3
    )
    assert "[1, 9]" in caplog.text


@pytest.mark.parametrize(
    ("family", "arguments", "told"),
    [
        ("minicpm", {"cutoff_layers": [1]}, r"cutoff_layers: \[1\]: .* \[2, 3, 4\]"),
        ("minicpm", {"cutoff_layers": "3"}, "cutoff_layers"),
        ("minicpm", {"cutoff_layers": [2.5]}, "cutoff_layers"),
        ("gemma", {"compress_ratio": 0}, "compress_ratio: .* found 0"),
        ("gemma", {"compress_ratio": 1.5}, "compress_ratio"),
        ("gemma", {"compress_layers": 3}, "compress_layers"),
    ],
)
def test_a_wrong_layer_or_ratio_is_refused_by_name(request, family, arguments, told):
    reranker = FAMILIES[family](request.getfixturevalue(f"{family}_folder"), devices="cpu")
    with pytest.raises(BadArgument, match=told):
        reranker.compute_score(PAIRS, **arguments)


@pytest.mark.parametrize("name", ["cutoff_layers", "compress_ratio"])
def test_an_option_of_another_family_is_refused_by_name(llama_folder, name):
    with pytest.raises(TypeError, match=name):
        FlagLLMReranker(llama_folder, **{name: 2})
    with pytest.raises(TypeError, match=name):
        FlagLLMReranker(llama_folder, devices="cpu").compute_score(PAIRS, **{name: 2})


def test_compression_changes_the_scores_of_the_layers_behind_it(gemma_folder):
    reranker = LightWeightFlagLLMReranker(gemma_folder, devices="cpu")
    plain = reranker.compute_score(PAIRS, cutoff_layers=[2, 4])
    short = reranker.compute_score(PAIRS, cutoff_layers=[2, 4], compress_layers=[2], compress_ratio=3)
    assert short[0] == plain[0]
    assert short[1] != plain[1]


ROW = st.tuples(st.integers(1, 4), st.integers(0, 9), st.integers(1, 3))


@settings(deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=4), ratio=st.integers(1, 5))
def test_compression_takes_means_of_neighbouring_passage_tokens(rows, ratio):
    """Against a loop over rows and groups; applied twice, since layers further on compress again."""
    lengths = torch.tensor([sum(row) for row in rows])
    hidden = torch.randn(len(rows), int(lengths.max()), 3)
    parts = torch.full(hidden.shape[:2], -1)
    for i, (query, passage, prompt) in enumerate(rows):
        parts[i, : lengths[i]] = torch.tensor([QUERY] * query + [PASSAGE] * passage + [PROMPT_PART] * prompt)
    expected = [hidden[i, :length] for i, length in enumerate(lengths)]
    for _ in range(2):
        hidden, parts, lengths = compress(hidden, parts, lengths, ratio)
        rows = [(query, -(-passage // ratio), prompt) for query, passage, prompt in rows]
        expected = [
            _compress_row(states, query, len(states) - prompt, ratio)
            for states, (query, _, prompt) in zip(expected, rows, strict=True)
        ]
        for i, states in enumerate(expected):
            assert lengths[i] == len(states)
            assert torch.allclose(hidden[i, : len(states)], states, atol=1e-5)
            assert not hidden[i, len(states) :].any()
            assert [(parts[i] == part).sum() for part in (QUERY, PASSAGE, PROMPT_PART)] == list(rows[i])


def _compress_row(states, start, end, ratio):
    groups = [states[i : min(i + ratio, end)].mean(0, keepdim=True) for i in range(start, end, ratio)]
    return torch.cat([states[:start], *groups, states[end:]])


PUBLISHED = {
    "bge-reranker-v2-minicpm-layerwise": (
        make_minicpm,
        MINICPM
        | {
            "hidden_size": 2304,
            "intermediate_size": 5760,
            "num_hidden_layers": 40,
            "num_attention_heads": 36,
            "num_key_value_heads": 36,
            "start_layer": 8,
            "vocab_size": 122753,
        },
        {
            "model.embed_tokens.weight": (122753, 2304),
            "model.layers.39.self_attn.q_proj.weight": (2304, 2304),
            "model.layers.39.self_attn.k_proj.weight": (2304, 2304),
            "model.layers.39.mlp.gate_proj.weight": (5760, 2304),
            "model.layers.39.mlp.down_proj.weight": (2304, 5760),
            "model.layers.39.post_attention_layernorm.weight": (2304,),
            "model.norm.weight": (2304,),
            "lm_head.32.linear_head.weight": (1, 2304),
        },
        2 + 40 * 9 + 33,
    ),
    "bge-reranker-v2.5-gemma2-lightweight": (
        make_cost_wise_gemma,
        COST_WISE_GEMMA
        | {
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "start_layer": 8,
            "vocab_size": 256000,
        },
        {
            "model.embed_tokens.weight": (256000, 3584),
            "model.layers.41.self_attn.q_proj.weight": (4096, 3584),
            "model.layers.41.self_attn.k_proj.weight": (2048, 3584),
            "model.layers.41.self_attn.o_proj.weight": (3584, 4096),
            "model.layers.41.mlp.up_proj.weight": (14336, 3584),
            "model.layers.41.pre_feedforward_layernorm.weight": (3584,),
            "model.layers.41.post_feedforward_layernorm.weight": (3584,),
            "lm_head.34.linear_head.weight": (1, 3584),
        },
        2 + 42 * 11 + 35,
    ),
}


@pytest.mark.parametrize(("make", "config", "shapes", "n_tensors"), PUBLISHED.values(), ids=PUBLISHED)
def test_tensors_are_named_and_shaped_as_published(make, config, shapes, n_tensors):
    with torch.device("meta"):
        found = {name: tuple(weight.shape) for name, weight in make(config).state_dict().items()}
    assert {name: found[name] for name in shapes} == shapes
    assert len(found) == n_tensors


@pytest.mark.parametrize("form", ["shards", "bin"])
def test_weights_in_other_files_are_the_same_model(minicpm_folder, tmp_path, form):
    folder = shutil.copytree(minicpm_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if form == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        shards = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
        places = {name: sorted(shards)[i % 2] for i, name in enumerate(sorted(weights))}
        for name, weight in weights.items():
            shards[places[name]][name] = weight
        for file, shard in shards.items():
            save_file(shard, folder / file)
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": places})
        )
    expected = LayerWiseFlagLLMReranker(minicpm_folder, devices="cpu").compute_score(PAIRS)
    assert LayerWiseFlagLLMReranker(folder, devices="cpu").compute_score(PAIRS) == expected


SPOILED = {
    "no head": (lambda weights: weights.pop("lm_head.1.linear_head.weight"), "lm_head.1"),
    "other size": (lambda weights: weights.update({"model.norm.weight": torch.ones(3)}), "model.norm"),
}


@pytest.mark.parametrize(("spoil", "told"), SPOILED.values(), ids=SPOILED)
def test_a_layered_checkpoint_that_does_not_fit_is_refused(minicpm_folder, tmp_path, spoil, told):
    folder = shutil.copytree(minicpm_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    spoil(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=told):
        LayerWiseFlagLLMReranker(folder, devices="cpu")


@pytest.mark.parametrize(
    ("wanted", "given", "fitting"),
    [
        (LayerWiseFlagLLMReranker, "gemma", "decoder-only-lightweight"),
        (LightWeightFlagLLMReranker, "llama", "decoder-only-base"),
        (LayerWiseFlagLLMReranker, "bert", "encoder-only-base"),
        (FlagReranker, "llama", "decoder-only-base"),
        (FlagReranker, "minicpm", "decoder-only-layerwise"),
        (FlagLLMReranker, "gemma", "decoder-only-lightweight"),
        (FlagLLMReranker, "bert", "encoder-only-base"),
    ],
)
def test_a_checkpoint_of_another_family_is_refused_and_named(request, wanted, given, fitting):
    with pytest.raises(BadCheckpoint, match=f"says {fitting}"):
        wanted(request.getfixturevalue(f"{given}_folder"), devices="cpu")


def test_a_layered_folder_without_weights_is_refused(minicpm_folder, tmp_path):
    folder = shutil.copytree(minicpm_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="can't be loaded"):
        LayerWiseFlagLLMReranker(folder, devices="cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_tells_the_class(request, family):
    folder = request.getfixturevalue(f"{family}_folder")
    assert type(FlagAutoReranker.from_finetuned(folder, devices="cpu")) is FAMILIES[family]


def test_an_adapter_is_merged(load, request, tmp_path):
    """Its scores are those of the model with the adapter's products added to the weights by hand."""
    plain = load()
    name = "model.layers.0.self_attn.q_proj"
    weight = plain.model.get_submodule(name).weight
    adapted = get_peft_model(
        plain.model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, lora_alpha=64)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    expected_change = adapted.get_submodule(f"base_model.model.{name}").get_delta_weight("default")
    merged = load(peft_path=tmp_path / "adapter")
    found = merged.model.get_submodule(name).weight
    assert torch.allclose(found, weight + expected_change, atol=1e-5)
    assert merged.compute_score(PAIRS) != load().compute_score(PAIRS)
