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
"""Where the authors' modules are in ours, and the tensors each has."""

NAMES = {theirs + t: ours + t for theirs, (ours, tensors) in MODULES.items() for t in tensors}

SCALE = "clip_loss.logit_scale"

UNUSED = ("split_trans.", "entity_trans.", "text_att.", "logit_scale")
"""In the authors' files, but no part of what they compute."""


class DweImporter(Importer):
    """`mmkit import-checkpoint dwe FILE OUT`. The files hold no CLIP: its weights are the backbone's own."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """WikiMEL's: all datasets have one network, so that a file does not tell."""
        if "pedia_out_trans.1.weight" not in state:
            raise DataError(
                "this is no DWE checkpoint: it lacks the layer that makes the query, pedia_out_trans",
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
    with them. A file without `clip_loss.logit_scale` gets its start value. Raises `DataError` that lists names
    which are missing or unknown.
    """
    scale = state.get(SCALE, torch.tensor(START_SCALE))
    network = {name: tensor for name, tensor in state.items() if name != SCALE}
    return {**rename(network, NAMES, UNUSED, "DWE"), "fuser.log_scale": scale}
