"""The authors' checkpoints as state dicts of mmkit's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmkit.errors import DataError
from mmkit.runs.importing import Importer, rename
from mmkit_dwe.fuser import START_SCALE

PROJECTION = ("0.weight", "0.bias", "2.weight", "2.bias")
ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
HEAD = ("1.weight", "1.bias")

MODULES = {
    "text_trans.": ("fuser.project_text.", PROJECTION),
    "img_trans.": ("fuser.project_image.", PROJECTION),
    "img_att.": ("fuser.enhance.attention.", ATTENTION),
    "pedia_out_trans.": ("fuser.head.", HEAD),
}
"""The authors' modules → ours, and the tensors that each has."""

NAMES = {theirs + t: ours + t for theirs, (ours, tensors) in MODULES.items() for t in tensors}

SCALE = "clip_loss.logit_scale"

UNUSED = ("split_trans.", "entity_trans.", "text_att.", "logit_scale")
"""In the authors' files, but not used in their computation."""


class DweImporter(Importer):
    """`mmkit import-checkpoint dwe FILE OUT`. The files do not contain CLIP, which keeps its pretrained weights."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """WikiMEL's recipe: all datasets have the same network, so a file does not show its dataset."""
        if "pedia_out_trans.1.weight" not in state:
            raise DataError(
                "this is not a DWE checkpoint: it has no pedia_out_trans, the layer that makes the query",
                hint="give the file with the authors' `nel_model`",
                code="import.not-of-paper",
            )
        return "dwe_wikimel"

    def labels(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return {}

    def convert_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert_state(state)


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an authors' checkpoint under the names of mmkit's model.

    `split_trans`, `entity_trans`, `text_att` and a second `logit_scale` are left out: the authors compute nothing
    with them. A file without `clip_loss.logit_scale` gets its initial value. Raises a `DataError` that lists missing
    and unknown names.
    """
    scale = state.get(SCALE, torch.tensor(START_SCALE))
    network = {name: tensor for name, tensor in state.items() if name != SCALE}
    return {**rename(network, NAMES, UNUSED, "DWE"), "fuser.log_scale": scale}
