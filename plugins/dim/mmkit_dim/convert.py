"""The authors' checkpoints as state dicts of mmkit's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmkit.errors import DataError
from mmkit.runs.importing import Importer, rename

NAMES = {
    "text_trans.0.weight": "fuser.project_text.0.weight",
    "text_trans.0.bias": "fuser.project_text.0.bias",
    "text_trans.2.weight": "fuser.project_text.2.weight",
    "text_trans.2.bias": "fuser.project_text.2.bias",
    "pedia_out_trans.1.weight": "fuser.head.1.weight",
    "pedia_out_trans.1.bias": "fuser.head.1.bias",
}
"""Where the authors' tensors are in the released form of our model."""

UNUSED = ("img_trans.", "img_att.", "text_att.", "gate.", "logit_scale", "clip_loss.logit_scale")
"""In the authors' files, but no part of what they compute, and so never trained."""


class DimImporter(Importer):
    """`mmkit import-checkpoint dim FILE OUT`. The files hold no CLIP: its weights are the backbone's own."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """WikiMEL's: all datasets have one network, so that a file does not tell."""
        if "pedia_out_trans.1.weight" not in state:
            raise DataError(
                "this is no DIM checkpoint: it lacks the layer that makes the query, pedia_out_trans",
                hint="give the file with the authors' `nel_model`",
                code="import.not-of-paper",
            )
        return "dim_wikimel"

    def labels(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return {}

    def convert_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert_state(state)


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an authors' checkpoint under the names of mmkit's model, its fuser in the released form.

    `img_trans`, `img_att`, `text_att`, `gate` and both `logit_scale`s are left out: nothing the authors compute
    depends on them. Raises `DataError` that lists names which are missing or unknown.
    """
    return rename(state, NAMES, UNUSED, "DIM")
