"""What the config.json of the published layered rerankers says, as a `LayeredConfig`."""

from dataclasses import replace
from typing import Any

from rerankers.models.layered import LayeredConfig, LayeredReranker


def make_minicpm(config: dict[str, Any]) -> LayeredReranker:
    """The layer-wise MiniCPM, such as bge-reranker-v2-minicpm-layerwise.

    Raises:
        ValueError: this is the config.json of another model, or lacks a value.
    """
    _expect(config, "model_type", "minicpm")
    _expect(config, "head_type", "simple")
    return LayeredReranker(
        replace(
            _read_common(config),
            embedding_scale=config["scale_emb"],
            residual_scale=config["scale_depth"] / config["num_hidden_layers"] ** 0.5,
            has_shared_head=not config["head_multi"],
        )
    )


def make_cost_wise_gemma(config: dict[str, Any], *, caps_attention: bool = False) -> LayeredReranker:
    """The lightweight Gemma 2, such as bge-reranker-v2.5-gemma2-lightweight.

    Args:
        caps_attention: bound the attention logits as Gemma 2 was trained; the published code does not, since
            the attention that it gets from transformers leaves that out.

    Raises:
        ValueError: this is the config.json of another model, or lacks a value.
    """
    _expect(config, "model_type", "cost_wise_gemma")
    return LayeredReranker(
        replace(
            _read_common(config),
            activation=config["hidden_activation"],
            embedding_scale=config["hidden_size"] ** 0.5,
            query_scale=config["query_pre_attn_scalar"] ** -0.5,
            has_gemma_norms=True,
            sliding_window=config["sliding_window"],
            attention_softcap=config["attn_logit_softcapping"] if caps_attention else None,
            score_softcap=config["final_logit_softcapping"],
            layer_step=config["layer_sep"],
        )
    )


def _read_common(config: dict[str, Any]) -> LayeredConfig:
    n_heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // n_heads
    return LayeredConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        n_layers=config["num_hidden_layers"],
        n_heads=n_heads,
        n_key_value_heads=config["num_key_value_heads"],
        head_dim=head_dim,
        norm_eps=config["rms_norm_eps"],
        rope_theta=config["rope_theta"],
        activation=config["hidden_act"],
        embedding_scale=1.0,
        residual_scale=1.0,
        query_scale=head_dim**-0.5,
        has_gemma_norms=False,
        sliding_window=None,
        attention_softcap=None,
        score_softcap=None,
        start_layer=config["start_layer"],
        layer_step=1,
        has_shared_head=False,
    )


def _expect(config: dict[str, Any], key: str, value: str) -> None:
    if config.get(key) != value:
        raise ValueError(f"{key} in config.json: expected {value!r}, found {config.get(key)!r}")
