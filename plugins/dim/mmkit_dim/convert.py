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
"""The authors' tensors → those of the released form of our model."""

UNUSED = ("img_trans.", "img_att.", "text_att.", "gate.", "logit_scale", "clip_loss.logit_scale")
"""In the authors' files, but not used in their computation, and so never trained."""


class DimImporter(Importer):
    """`mmkit import-checkpoint dim FILE OUT`. The files do not contain CLIP, which keeps its pretrained weights."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """WikiMEL's recipe: all datasets have the same network, so a file does not show its dataset."""
        if "pedia_out_trans.1.weight" not in state:
            raise DataError(
                "this is not a DIM checkpoint: it has no pedia_out_trans, the layer that makes the query",
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

    `img_trans`, `img_att`, `text_att`, `gate` and both `logit_scale`s are left out: nothing that the authors compute
    depends on them. Raises a `DataError` that lists missing and unknown names.
    """
    return rename(state, NAMES, UNUSED, "DIM")
