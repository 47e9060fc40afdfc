"""The authors' checkpoints as state dicts of mmkit's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmkit.decoders.subword_tags import CLS, PAD, SEP, X
from mmkit.errors import DataError
from mmkit.runs.importing import Importer, check_names

TYPES = ("MISC", "PER", "ORG", "LOC")
TAGS = (PAD, "O", *(f"{prefix}-{type_}" for type_ in TYPES for prefix in "BI"), X, CLS, SEP)
"""Entity types and tags in the order of the authors' layer."""

LINEAR = {
    "aux_classifier": "decoder.span_linear",
    "vismap2text": "fuser.regions",
    "vismap2text_v2": "fuser.asking_regions",
    "gate": "fuser.gate",
    "classifier": "decoder.linear",
}
CRFS = {"crf": "decoder.crf", "aux_crf": "decoder.span_crf"}
LAYERS = {"self_attention.layer.0": "fuser.auxiliary", "self_attention_v2.layer.0": "fuser.main"}
STACKS = {
    "txt2img_attention.layer": "fuser.words_over_regions",
    "img2txt_attention.layer": "fuser.regions_over_words",
    "txt2txt_attention.layer": "fuser.words_over_aware_regions",
}
IN_LAYER = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "found",
    "attention.output.LayerNorm": "found_norm",
    "intermediate.dense": "widen",
    "output.dense": "narrow",
    "output.LayerNorm": "norm",
}
"""The authors' modules → ours; the names in a layer are BERT's."""

BACKBONES = {"bert.": "encoders.text.backbone.", "resnet.": "encoders.vision.backbone."}
UNUSED = ("bert.pooler.", "bert.embeddings.position_ids", "resnet.fc.")
"""In the authors' files, but not used in their computation."""


class UmtImporter(Importer):
    """`mmkit import-checkpoint umt FILE OUT`, for the authors' `pytorch_model.bin`.

    The tensors of their `pytorch_encoder.bin` (`resnet.*`) may be in the same file; without them the recipe's image
    encoder keeps its own weights.
    """

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """The recipe of a file. A file does not show whether it is of Twitter-2015 or Twitter-2017: the former is used.

        Raises `DataError` for a file of another model.
        """
        if "aux_crf.transitions" not in state:
            raise DataError(
                "this is not a UMT checkpoint: it has no CRF for spans, aux_crf",
                hint="give the file that the authors' training code wrote, pytorch_model.bin",
                code="import.not-of-paper",
            )
        return "umt_twitter15"

    def labels(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"types": list(TYPES), "scheme": "bio", "subwords": "tagged", "tags": list(TAGS)}

    def convert_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert_state(state)


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an authors' checkpoint under the names of mmkit's model.

    BERT's pooler, the ResNet's classifier and its counters of batches are left out: nothing uses them. Raises a
    `DataError` that lists missing and unknown names; those of the pretrained networks are compared when the tensors
    are loaded.
    """
    used = {n: t for n, t in state.items() if not n.startswith(UNUSED) and not n.endswith("batches_tracked")}
    converted, own = {}, {}
    for name, tensor in used.items():
        theirs = next((prefix for prefix in BACKBONES if name.startswith(prefix)), None)
        if theirs:
            converted[BACKBONES[theirs] + name.removeprefix(theirs)] = tensor
        else:
            own[name] = tensor
    names = authors_names({theirs: _count(own, theirs) for theirs in STACKS})
    bert = {"bert.embeddings.word_embeddings.weight"} & used.keys()
    check_names(own.keys() | bert, names.keys() | {"bert.embeddings.word_embeddings.weight"}, "UMT")
    return converted | {names[name]: tensor for name, tensor in own.items()}


def authors_names(stacks: Mapping[str, int]) -> dict[str, str]:
    """The authors' names of a network's tensors → ours, without the pretrained networks', for stacks of these
    depths."""
    layers = LAYERS | {
        f"{theirs}.{i}": f"{STACKS[theirs]}.{i}" for theirs, count in stacks.items() for i in range(count)
    }
    modules = LINEAR | {
        f"{theirs}.{a}": f"{ours}.{b}" for theirs, ours in layers.items() for a, b in IN_LAYER.items()
    }
    names = {f"{a}.{kind}": f"{b}.{kind}" for a, b in modules.items() for kind in ("weight", "bias")}
    kinds = ("start_transitions", "end_transitions", "transitions")
    return names | {f"{a}.{kind}": f"{b}.{kind}" for a, b in CRFS.items() for kind in kinds}


def _count(names: Mapping[str, Tensor], stack: str) -> int:
    """The number of layers of a stack: at least 1, so that an absent one is reported by name."""
    numbers = {name.removeprefix(f"{stack}.").split(".")[0] for name in names if name.startswith(f"{stack}.")}
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=1)
