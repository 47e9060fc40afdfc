"""Converts the authors' checkpoints to state dicts of mmkit's model."""

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
"""Names in the authors' checkpoint → names in our model (fuser in the form "released")."""

UNUSED = ("img_trans.", "img_att.", "text_att.", "gate.", "logit_scale", "clip_loss.logit_scale")
"""Weights in the authors' files that their computation never uses, so they are not trained."""


class DimImporter(Importer):
    """`mmkit import-checkpoint dim FILE OUT`. The files do not contain CLIP: it keeps its pretrained weights."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """The recipe of WikiMEL. The network is the same for all datasets, so the file does not tell which it was."""
        if "pedia_out_trans.1.weight" not in state:
            raise DataError(
                "this is not a DIM checkpoint: it has no pedia_out_trans, the last layer of the query",
                hint="give the file with the authors' `nel_model`",
                code="import.not-of-paper",
            )
        return "dim_wikimel"

    def labels(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return {}

    def convert_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert_state(state)


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an authors' checkpoint, under the names of mmkit's model (fuser in the form "released").

    `img_trans`, `img_att`, `text_att`, `gate` and both `logit_scale`s are left out, because nothing depends on them.
    Raises a `DataError` that lists missing and unknown names.
    """
    return rename(state, NAMES, UNUSED, "DIM")
