"""Temporal enhancement and similarity-gated attention: `tesga.similarity_gated.v1`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.errors import PartError
from mmkit.fusers.base import ALIGNMENT, Fuser
from mmkit.inspection import Inspection, tables
from mmkit.ops.dropout import Dropout
from mmkit_tesga.attention import GatedAttention
from mmkit_tesga.dropconnect import LinearDropConnect

Task = Literal["entities", "relations"]

LAYERS = 2
"""Of the LSTM."""


class SimilarityGated(Fuser):
    """Text enhanced by a multimodal encoder's states of the photo, weighted by how well both agree (TESGA).

    Wang et al., Knowledge-Based Systems 2024. The pair's states start a recurrent network over the text (temporal
    enhancement), one for each task; a self-attention block reads it, and a cross-attention block adds the attention
    of the pair's states over the text, gated by the similarity of photo and sentence.

    Args:
        text: the text encoder's name in the recipe.
        visual: the encoder of (photo, sentence) pairs, such as `mmkit.blip_multimodal.v1`.
        similarity: the encoder of their similarity, such as `mmkit.blip_similarity.v1`.
        tasks: both for joint extraction, or one for a network without the parts of the other.
        hidden: width of everything after the encoders, and of each attention head.
        dropconnect: fraction of the input layers' weights that are dropped in training.
        mask_padding: whether attention ignores padding; in the released code it does not.

    If there is no photo, the gate is closed, whatever the similarity is: the cross-attention adds nothing.

    States: `<task> [B, T, 2 · hidden]`, the enhanced and the fused states of each task, concatenated.
    """

    def __init__(
        self,
        text: str = "text",
        visual: str = "visual",
        similarity: str = "similarity",
        *,
        tasks: list[Task] | None = None,
        hidden: int = 300,
        heads: int = 12,
        dropout: float = 0.1,
        dropconnect: float = 0.1,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        self.text, self.visual, self.similarity = text, visual, similarity
        self.tasks: list[Task] = ["entities", "relations"] if tasks is None else tasks
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise PartError(
                f"tasks name one or both of entities and relations, not {self.tasks}",
                hint="or leave them out",
                code="part.setting",
            )
        if hidden < 1 or heads < 1:
            raise PartError(f"hidden and heads are at least 1, not {hidden} and {heads}", code="part.setting")
        if not 0 <= dropconnect < 1:
            raise PartError(
                f"dropconnect must lie between 0 and 1, not {dropconnect}",
                hint="0 for no dropout",
                code="part.setting",
            )
        self.provides = frozenset({"mask", *self.tasks}) | ALIGNMENT
        self.hidden, self.heads, self.dropconnect, self.mask_padding = (
            hidden,
            heads,
            dropconnect,
            mask_padding,
        )
        self.dropout = Dropout(dropout)

    def requires(self) -> dict[str, frozenset[str]]:
        return {
            self.text: frozenset({"tokens", "mask"}),
            self.visual: frozenset({"tokens", "lengths", "mask"}),
            self.similarity: frozenset({"similarity", "mask"}),
        }

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        h, tasks = self.hidden, self.tasks
        self.from_visual = LinearDropConnect(encoders[self.visual].dim, 2 * h, self.dropconnect)
        self.from_text = LinearDropConnect(encoders[self.text].dim, (1 + len(tasks)) * h, self.dropconnect)
        self.temporal = nn.ModuleDict({task: nn.LSTM(h, h, LAYERS, batch_first=True) for task in tasks})
        self.self_attention = nn.ModuleDict({t: GatedAttention(h, self.heads, self.dropout.p) for t in tasks})
        self.cross_attention = nn.ModuleDict(
            {t: GatedAttention(h, self.heads, self.dropout.p) for t in tasks}
        )
        self.dims = dict.fromkeys(tasks, 2 * h)

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        inputs = batch.inputs[self.text]
        text = encoders[self.text](inputs)
        pair = encoders[self.visual](batch.inputs[self.visual])
        agreement = encoders[self.similarity](batch.inputs[self.similarity])
        gate = agreement["similarity"].squeeze(1) * (agreement["mask"] & pair["mask"])
        visual, lengths = pair["tokens"].squeeze(1), pair["lengths"].squeeze(1)
        real = torch.arange(visual.shape[1], device=visual.device) < lengths.unsqueeze(1)
        states = self.fuse(text["tokens"], text["mask"], visual, real, gate)
        shown = {"gate": gate} if batch.inspecting else {}
        return States.of_text({"mask": text["mask"], **states, **shown}, inputs)

    def inspect(self, states: States, batch: Batch) -> list[Inspection]:
        """The gate of each example: how well photo and sentence agree, 0 without a photo."""
        gates = tables(states["gate"].view(-1, 1, 1), ["gate"], ["similarity of photo and sentence"])
        return [{"similarity gate": gate} for gate in gates]

    def fuse(
        self, text: Tensor, mask: Tensor, visual: Tensor, real: Tensor, similarity: Tensor
    ) -> dict[str, Tensor]:
        """The states of each task `[B, T, 2 · hidden]`.

        Takes `text [B, T, D]` with its `mask [B, T]`, the pair's states `visual [B, L, V]`, `real [B, L]` where
        they are, and `similarity [B, 1]`.
        """
        seen = torch.tanh(self.from_visual(visual)).masked_fill(~real.unsqueeze(2), -1.0)  # below any tanh
        start, query = seen.amax(1).chunk(2, dim=1)  # [B, h] each
        first, *others = self.from_text(self.dropout(text)).chunk(1 + len(self.tasks), dim=2)
        begin = start.expand(LAYERS, -1, -1).contiguous()
        keys = mask if self.mask_padding else None
        states: dict[str, Tensor] = {}
        for task, sequence in zip(self.tasks, others, strict=True):
            enhanced, _ = self.temporal[task](first, (begin, begin))
            attended = self.self_attention[task](enhanced, sequence, keys)
            fused = self.cross_attention[task](query.unsqueeze(1), attended, keys, similarity)
            states[task] = torch.cat([enhanced, fused], dim=2)
        return states
