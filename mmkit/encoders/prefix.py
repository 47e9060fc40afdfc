"""Key-value prefixes for self-attention in any transformers encoder, without forking its modeling file.

A prefix (Li & Liang 2021; HVPNeT, Chen et al. 2022) is a key and a value tensor for each layer, which come before the
layer's own keys and values. It is passed through transformers' public `AttentionInterface`: the registered function
is called by every attention module with that module and with the extra keyword arguments of the model's `forward`.
Some models do not call such a function, or their layers do not know their own number: `prove` detects this.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AttentionInterface,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from mmkit.encoders.abilities import Prefix
from mmkit.errors import PartError
from mmkit.ops.waiting import may_wait

SDPA, EAGER = "mmkit_sdpa", "mmkit_eager"
"""The names under which the attention functions are registered."""


class Widened(list[tuple[Tensor, Tensor]]):
    """A prefix that remembers the masks it has widened: the layers of a model share a mask, or two of them."""

    def __init__(self, prefix: Prefix) -> None:
        super().__init__(prefix)
        self._masks: list[tuple[Tensor, int, Tensor]] = []

    def mask(self, mask: Tensor, more: int) -> Tensor:
        """The mask with `more` positions before its own, as for the other layers that have it."""
        for narrow, width, wide in self._masks:
            if narrow is mask and width == more:
                return wide
        self._masks.append((mask, more, wide := widened(mask, more)))
        return wide


def widened(mask: Tensor, more: int) -> Tensor:
    """A mask `[..., T]` with `more` visible positions before its own."""
    return F.pad(mask, (more, 0), value=1.0 if mask.dtype == torch.bool else 0.0)


def prepend(
    module: nn.Module, key: Tensor, value: Tensor, mask: Tensor | None, prefix: Prefix | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and mask of one layer with its prefix before them, which every query sees."""
    if prefix is None:
        return key, value, mask
    before_key, before_value = prefix[cast(int, module.layer_idx)]
    key = torch.cat([before_key.to(key.dtype), key], dim=2)
    value = torch.cat([before_value.to(value.dtype), value], dim=2)
    if mask is not None:
        widen = prefix.mask if isinstance(prefix, Widened) else widened
        mask = widen(mask, before_key.shape[2])
    return key, value, mask


def _sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix: Prefix | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    key, value, attention_mask = prepend(module, key, value, attention_mask, prefix)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **more)


def _eager(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix: Prefix | None = None,
    **more: Any,
) -> tuple[Tensor, Tensor]:
    key, value, attention_mask = prepend(module, key, value, attention_mask, prefix)
    eager = sys.modules[type(module).__module__].eager_attention_forward  # each model keeps its own
    attended: tuple[Tensor, Tensor] = eager(module, query, key, value, attention_mask, **more)
    return attended


def _sdpa_mask(**arguments: Any) -> Tensor | None:
    """transformers' mask, but never left out on a GPU: to see that nothing is padded waits for the device."""
    if not may_wait(torch.device(arguments.get("device", "cpu"))):
        arguments["allow_is_bidirectional_skip"] = False
    return sdpa_mask(**arguments)


AttentionInterface.register(SDPA, _sdpa)
AttentionInterface.register(EAGER, _eager)
AttentionMaskInterface.register(SDPA, _sdpa_mask)
AttentionMaskInterface.register(EAGER, eager_mask)


def is_causal(config: PreTrainedConfig) -> bool:
    """Whether a position of the model sees only the positions before it (of an encoder-decoder model: its encoder)."""
    kind = type(config)
    trained = kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    return not config.is_encoder_decoder and (trained or bool(getattr(config, "is_decoder", False)))


def shape(config: PreTrainedConfig) -> list[tuple[int, int]]:
    """(heads, head_dim) of each layer's keys, as the configuration says."""
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return [(getattr(config, "num_key_value_heads", None) or heads, head_dim)] * config.num_hidden_layers


def prove(model: PreTrainedModel) -> list[tuple[int, int]]:
    """`shape(model.config)`, once a small pass has shown that every layer attends to its prefix.

    The output must have a gradient with respect to every layer's key and value, and padding must change nothing.
    Otherwise raises a `PartError` that names the model class.
    """
    training = model.training
    model.eval()
    shapes: list[tuple[int, int]] = []
    try:
        shapes = shape(model.config)
        problem = "its attention is causal" if is_causal(model.config) else _problem(model, shapes)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        problem = f"its attention cannot take one ({type(error).__name__}: {error})"
    finally:
        model.train(training)
    if problem:
        raise PartError(
            f"{type(model).__name__} cannot use a prefix: {problem}",
            hint="use a text encoder such as BERT, RoBERTa, XLM-R, ELECTRA or ModernBERT, or another fuser",
            code="encoder.no-prefix",
        )
    return shapes


def _problem(model: PreTrainedModel, shapes: Sequence[tuple[int, int]]) -> str:
    """What is wrong with the model's use of prefixes; empty if nothing is."""
    device, pad = model.device, model.config.pad_token_id
    ids = torch.tensor([i for i in range(1, 8) if i != pad][:5], device=device).expand(2, -1)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], device=device)
    random = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=random).to(device)

    prefix = [
        (draw(2, heads, 2, width).requires_grad_(), draw(2, heads, 2, width).requires_grad_())
        for heads, width in shapes
    ]
    with torch.enable_grad():
        states = model(input_ids=ids, attention_mask=mask, prefix=prefix).last_hidden_state
        if states.shape[:2] != ids.shape:
            return "the length of its output changes"
        tensors = [t for pair in prefix for t in pair]
        gradients = torch.autograd.grad((states * draw(*states.shape)).sum(), tensors, allow_unused=True)
    for layer in range(len(shapes)):
        if any(g is None or not g.any() for g in gradients[2 * layer : 2 * layer + 2]):
            return f"the attention of layer {layer} ignores it"
    with torch.no_grad():
        alone = model(
            input_ids=ids[1:, :3], attention_mask=mask[1:, :3], prefix=[(k[1:], v[1:]) for k, v in prefix]
        ).last_hidden_state
    if not torch.allclose(alone, states[1:, :3], atol=1e-3):
        return "its attention reads padding"
    return ""
