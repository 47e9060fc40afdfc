"""`tesga.relation_classifier.v1`: TESGA for relations of given pairs, without the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmkit.batch import States
from mmkit.data.types import Entity
from mmkit.decoders.base import LabelAxes, Labels
from mmkit.decoders.marked_pairs import MarkedPairDecoder
from mmkit.errors import RecipeError
from mmkit_tesga.head import TableHead


class RelationClassifier(MarkedPairDecoder):
    """Classifies the relation of two marked spans from the whole sentence (TESGA; Wang et al., 2024).

    The computation of the joint network for a cell of its relation table is done once, with the maximum of the
    enhanced states instead of the two positions. `relations` are the labels in order (default: those in the training
    data, sorted after `none_label`). `mask_padding` leaves padding out of the maxima; the released code does not.

    Loss `cross_entropy`: mean over pairs. The paper sums over them: a weight of `batch_size` does the same.
    """

    requires: frozenset[str] = frozenset({"mask", "relations"})

    def __init__(
        self,
        *,
        relations: list[str] | None = None,
        none_label: str = "None",
        head_markers: tuple[str, str] = ("<s>", "</s>"),
        tail_markers: tuple[str, str] = ("<o>", "</o>"),
        dropout: float = 0.1,
        mask_padding: bool = True,
    ) -> None:
        super().__init__(
            relations=relations, none_label=none_label, head_markers=head_markers, tail_markers=tail_markers
        )
        if not 0 <= dropout < 1:
            raise RecipeError(
                f"dropout must lie between 0 and 1, not {dropout}",
                hint="0 for no dropout",
                code="part.setting",
            )
        self.dropout, self.mask_padding = dropout, mask_padding

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        self.head = TableHead(dims["relations"], len(self.labels), self.dropout)

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        return {"head.labels.weight": ("relations", None), "head.labels.bias": ("relations",)}

    def logits(self, states: States) -> Tensor:
        mask = states["mask"].bool() if self.mask_padding else None
        enhanced = states["relations"][..., : self.head.hidden]
        if mask is not None:
            enhanced = enhanced.masked_fill(~mask.unsqueeze(2), -1.0)  # below what an LSTM gives
        most = enhanced.amax(1)  # [B, h]
        both = torch.cat([most, most, self.head.overall(states["relations"], mask)], dim=1)
        scores = self.head.cells(self.head.pair(both))
        return scores.to(torch.promote_types(scores.dtype, torch.float32))
