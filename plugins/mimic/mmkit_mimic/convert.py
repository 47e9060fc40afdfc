"""The authors' checkpoints as state dicts of mmkit's model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from torch import Tensor

from mmkit.errors import DataError
from mmkit.runs.importing import Importer, check_names

CLIP = "encoder.clip."
TOWERS = {"text_": "text", "vision_": "picture", "visual_": "picture"}
"""How the names of CLIP's tensors begin → the tower that has them."""

SCORER = "entity_side.scorer."

UNUSED = ("matcher.cmfu.context_layer_norm.", "encoder.clip.logit_scale")
"""In the authors' files, but not used in their computation."""

POSITIONS = "embeddings.position_ids"
"""Buffers of older versions of transformers: 0, 1, 2, ..."""

LINEAR = ("weight", "bias")
OF_DIRECTION = ("fc", "gate_fc", "cls_fc", "tokens_fc", "add_layer_norm", "layer_norm")
MODULES = (
    "encoder.image_cls_fc",
    "encoder.image_tokens_fc",
    *(f"matcher.{x}_layernorm" for x in ("text_cls", "text_tokens", "image_cls", "image_tokens")),
    *(f"matcher.tglu.{name}" for name in ("fc_query", "fc_key", "fc_value", "fc_cls", "layer_norm")),
    *(f"matcher.vdlu.{d}.{m}" for d, m in product(("dual_ent2men", "dual_men2ent"), OF_DIRECTION)),
    *(f"matcher.cmfu.{name}" for name in ("text_fc", "image_fc", "gate_fc", "gate_layer_norm")),
)
"""Beside CLIP: Linears and LayerNorms, which have the same names here."""

NAMES = frozenset(f"{module}.{tensor}" for module, tensor in product(MODULES, LINEAR))


class MimicImporter(Importer):
    """`mmkit import-checkpoint mimic FILE OUT`, of a file that Lightning wrote."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """That of RichpediaMEL as released: the authors published this checkpoint, and all have the same network."""
        if "matcher.tglu.fc_query.weight" not in state:
            raise DataError(
                "this is not a MIMIC checkpoint: it has no matcher.tglu, the unit of texts",
                hint="give the file that the authors' code writes (`epoch=...ckpt`)",
                code="import.not-of-paper",
            )
        return "mimic_richpedia_released"

    def labels(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return {}

    def convert_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert_state(state)


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an authors' checkpoint under the names of mmkit's model.

    Mentions and entities share CLIP, so each of its tensors has two names. `context_layer_norm`, `logit_scale` and
    `position_ids` are left out: the authors compute nothing with them. A file without CLIP gives the layers beside it.
    Raises a `DataError` that lists missing and unknown names; whether all of CLIP is there, the model says.
    """
    used = {k: v for k, v in state.items() if not k.startswith(UNUSED) and not k.endswith(POSITIONS)}
    clip = {name.removeprefix(CLIP): tensor for name, tensor in used.items() if name.startswith(CLIP)}
    layers = {name: tensor for name, tensor in used.items() if not name.startswith(CLIP)}
    unknown = [CLIP + name for name in clip if not name.startswith(tuple(TOWERS))]
    check_names([*layers, *unknown], NAMES, "MIMIC")
    converted = {SCORER + name: tensor for name, tensor in layers.items()}
    for name, tensor in clip.items():
        tower = next(tower for begin, tower in TOWERS.items() if name.startswith(begin))
        for side in ("encoders", "entity_side.encoders"):
            converted[f"{side}.{tower}.backbone.{name}"] = tensor
    return converted
