"""A decoder that scores at any of its layers: MiniCPM (layer-wise) and cost-wise Gemma 2 (lightweight).

Both are Llama's plan with other constants, told by `LayeredConfig`; modules are named as published tensors.
Rows are padded on the right: under causal attention no real token ever sees the padding, so there is no mask.
Nothing is computed behind the last layer that is asked for, and no layer's states are kept.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.activations import ACT2FN

from rerankers.prompts import PASSAGE, PROMPT, QUERY

Turns = tuple[Tensor, Tensor]
"""Cosines and sines (T, head_dim) of the rotary position embedding, in full precision."""

_PADDING = -1  # a part, beside those of `rerankers.prompts`


@dataclass(frozen=True)
class LayeredConfig:
    """What tells one such decoder from another.

    Args:
        head_dim: numbers per attention head.
        activation: the feed-forward's, by transformers' name.
        embedding_scale: what token embeddings are multiplied by.
        residual_scale: what each branch is multiplied by before it is added.
        query_scale: what attention logits are multiplied by.
        has_gemma_norms: norms multiply by 1 + weight and stand before and behind each branch.
        sliding_window: tokens that every second layer, from the first, looks back; None is all.
        attention_softcap: the largest attention logit; None is none.
        score_softcap: the largest score; None is none.
        start_layer: the first layer that has a score; counted as layers passed.
        layer_step: layers between one that has a score and the next.
        has_shared_head: one head for all layers.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    n_key_value_heads: int
    head_dim: int
    norm_eps: float
    rope_theta: float
    activation: str
    embedding_scale: float
    residual_scale: float
    query_scale: float
    has_gemma_norms: bool
    sliding_window: int | None
    attention_softcap: float | None
    score_softcap: float | None
    start_layer: int
    layer_step: int
    has_shared_head: bool

    @property
    def scored_layers(self) -> range:
        """The layers that have a head."""
        return range(self.start_layer, self.n_layers + 1, self.layer_step)


@dataclass(frozen=True)
class Compression:
    """Before each of these layers, every ``ratio`` neighbouring passage tokens become their mean."""

    layers: Collection[int] = ()
    ratio: int = 1


class LayeredReranker(nn.Module):
    """See the module. Its parameters have the names and shapes of the published checkpoints."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.layout = config
        self.model = _Decoder(config)
        heads = [_Head(config.hidden_size) for _ in config.scored_layers]
        self.lm_head = heads[0] if config.has_shared_head else nn.ModuleList(heads)
        self._recomputes_every: int | None = None

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Keep no activations of every nth layer in training but compute them again; transformers' trainer
        calls it so.

        Raises:
            ValueError: for options that these models do not have.
        """
        others = set(activation_checkpointing_kwargs or {}) - {"use_reentrant"}
        if offload or others:
            raise ValueError(f"layered models recompute activations without {min(others | {'offload'})}")
        self._recomputes_every = every_n_layers

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        parts: Tensor,
        layers: Sequence[int],
        heads: Sequence[int],
        compression: Compression,
    ) -> Tensor:
        """Score B rows at K layers.

        Args:
            input_ids, attention_mask, parts: (B, T), padded on the right; parts as in `rerankers.prompts`.
            layers: ascending; each in ``layout.scored_layers``.
            heads: the head for each of them, by its place among all heads.

        Returns:
            (K, B).
        """
        scores = []
        wanted = dict(zip(layers, heads, strict=True))
        hidden = self.model.embed(input_ids)
        lengths = attention_mask.sum(1)
        parts = parts.masked_fill(attention_mask == 0, _PADDING)
        turns = _make_turns(self.layout, hidden)
        for number, layer in enumerate(self.model.layers[: layers[-1]]):
            if number in wanted:
                scores.append(self._read(hidden, lengths, wanted[number]))
            if number > 0 and number in compression.layers and compression.ratio > 1:
                hidden, parts, lengths = compress(hidden, parts, lengths, compression.ratio)
                turns = _make_turns(self.layout, hidden)
            hidden = self._pass(layer, number, hidden, turns)
        scores.append(self._read(hidden, lengths, wanted[layers[-1]]))
        return torch.stack(scores)

    def _pass(self, layer: nn.Module, number: int, hidden: Tensor, turns: Turns) -> Tensor:
        recomputes = self._recomputes_every is not None and number % self._recomputes_every == 0
        if not (recomputes and self.training):
            passed: Tensor = layer(hidden, turns)
            return passed
        recomputed: Tensor = checkpoint(layer, hidden, turns, use_reentrant=False)
        return recomputed

    def _read(self, hidden: Tensor, lengths: Tensor, place: int) -> Tensor:
        """The scores (B,) that a head finds at each row's last token."""
        rows = torch.arange(len(hidden), device=hidden.device)
        head: Any = self.lm_head[place] if isinstance(self.lm_head, nn.ModuleList) else self.lm_head
        scores: Tensor = head.linear_head(self.model.norm(hidden[rows, lengths - 1])).squeeze(1)
        cap = self.layout.score_softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)


def compress(hidden: Tensor, parts: Tensor, lengths: Tensor, ratio: int) -> tuple[Tensor, Tensor, Tensor]:
    """Put the mean of every ``ratio`` neighbouring passage tokens in their place; the rest stays.

    Args:
        hidden: (B, T, H).
        parts: (B, T), ``_PADDING`` behind a row's end.
        lengths: (B,).

    Returns:
        The same three with T' ≤ T; behind a row's end there are zeros.
    """
    query, passage = (parts == QUERY).sum(1), (parts == PASSAGE).sum(1)
    groups = (passage + ratio - 1) // ratio
    place = torch.arange(parts.shape[1], device=parts.device).expand_as(parts)
    target = place.where(parts == QUERY, query[:, None] + (place - query[:, None]) // ratio)
    target = target.where(parts != PROMPT, place - (passage - groups)[:, None])
    new_lengths = lengths - passage + groups
    n_places = int(new_lengths.max())
    target = target.where(parts != _PADDING, n_places)  # one place more, thrown away

    sums = hidden.new_zeros(len(hidden), n_places + 1, hidden.shape[2], dtype=torch.float32)
    sums.scatter_add_(1, target[:, :, None].expand_as(hidden), hidden.float())
    counts = torch.zeros(sums.shape[:2], device=hidden.device).scatter_add_(
        1, target, torch.ones(target.shape, device=hidden.device)
    )
    means = (sums / counts.clamp(min=1)[:, :, None])[:, :-1].to(hidden.dtype)
    new_parts = parts.new_full((len(parts), n_places + 1), _PADDING).scatter_(1, target, parts)
    return means, new_parts[:, :-1], new_lengths


class _Head(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear_head = nn.Linear(hidden_size, 1, bias=False)


class _Decoder(nn.Module):
    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config, number) for number in range(config.n_layers))
        self.norm = _Norm(config)
        self._scale = config.embedding_scale

    def embed(self, input_ids: Tensor) -> Tensor:
        embedded: Tensor = self.embed_tokens(input_ids)
        return embedded * torch.tensor(
            self._scale, dtype=embedded.dtype
        )  # rounded as the published code does


class _Norm(nn.Module):
    """RMS norm, in full precision."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self._eps = config.norm_eps
        self._is_gemma = config.has_gemma_norms

    def forward(self, hidden: Tensor) -> Tensor:
        normed = functional.rms_norm(hidden.float(), hidden.shape[-1:], eps=self._eps)
        if self._is_gemma:
            return (normed * (1.0 + self.weight.float())).to(hidden.dtype)
        return self.weight * normed.to(hidden.dtype)


class _Layer(nn.Module):
    def __init__(self, config: LayeredConfig, number: int) -> None:
        super().__init__()
        self.self_attn = _Attention(config, has_window=number % 2 == 0)
        self.mlp = _FeedForward(config)
        self.input_layernorm = _Norm(config)
        self.post_attention_layernorm = _Norm(config)
        if config.has_gemma_norms:
            self.pre_feedforward_layernorm = _Norm(config)
            self.post_feedforward_layernorm = _Norm(config)
        self._config = config

    def forward(self, hidden: Tensor, turns: Turns) -> Tensor:
        scale = self._config.residual_scale
        attended: Tensor = self.self_attn(self.input_layernorm(hidden), turns)
        if not self._config.has_gemma_norms:
            hidden = hidden + attended * scale
            fed: Tensor = self.mlp(self.post_attention_layernorm(hidden))
            return hidden + fed * scale
        hidden = hidden + self.post_attention_layernorm(attended) * scale
        fed = self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(hidden)))
        return hidden + fed * scale


class _FeedForward(nn.Module):
    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self._activation = ACT2FN[config.activation]

    def forward(self, hidden: Tensor) -> Tensor:
        fed: Tensor = self.down_proj(self._activation(self.gate_proj(hidden)) * self.up_proj(hidden))
        return fed


class _Attention(nn.Module):
    def __init__(self, config: LayeredConfig, has_window: bool) -> None:
        super().__init__()
        n_query, n_key = config.n_heads * config.head_dim, config.n_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, n_query, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, n_key, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, n_key, bias=False)
        self.o_proj = nn.Linear(n_query, config.hidden_size, bias=False)
        self._config = config
        self._window = config.sliding_window if has_window else None

    def forward(self, hidden: Tensor, turns: Turns) -> Tensor:
        n_rows, n_tokens, _ = hidden.shape
        query, key, value = (
            projection(hidden).view(n_rows, n_tokens, -1, self._config.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = self._attend(_rotate(query, turns), _rotate(key, turns), value)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(n_rows, n_tokens, -1))
        return out

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scale, cap = self._config.query_scale, self._config.attention_softcap
        n_tokens = query.shape[2]
        is_plain = self._window is None or n_tokens <= self._window
        if is_plain and cap is None:
            return functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
            )
        hidden_ones = _make_mask(n_tokens, None if is_plain else self._window, query.device)
        key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
        logits = query @ key.transpose(2, 3) * scale
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        logits = logits.masked_fill(hidden_ones, float("-inf"))
        return logits.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


def _make_mask(n_tokens: int, window: int | None, device: torch.device) -> Tensor:
    """(T, T): True where a token must not look: ahead, or further back than the window."""
    places = torch.arange(n_tokens, device=device)
    back = places[:, None] - places[None, :]
    return (back < 0) if window is None else (back < 0) | (back >= window)


def _make_turns(config: LayeredConfig, hidden: Tensor) -> Turns:
    """For the T positions of ``hidden`` (B, T, H)."""
    powers = torch.arange(0, config.head_dim, 2, device=hidden.device).float() / config.head_dim
    places = torch.arange(hidden.shape[1], device=hidden.device).float()
    angles = torch.outer(places, config.rope_theta**-powers)
    angles = torch.cat((angles, angles), dim=1)
    return angles.cos(), angles.sin()


def _rotate(states: Tensor, turns: Turns) -> Tensor:
    cosines, sines = turns
    first, second = states.float().chunk(2, dim=-1)
    swapped = torch.cat((-second, first), dim=-1)
    return (states.float() * cosines + swapped * sines).to(states.dtype)
