"""The authors' checkpoints as state dicts of mmkit's model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from mmkit.errors import DataError
from mmkit.runs.importing import Importer, check_names

Task = Literal["ner", "re"]

TYPES = ("MISC", "PER", "ORG", "LOC")
TAGS = ("[PAD]", "O", *(f"{prefix}-{type_}" for type_ in TYPES for prefix in "BI"), "X", "[CLS]", "[SEP]")
"""Entity types and tags in the order of the authors' NER layer."""

RELATIONS = (
    "None",
    "/per/per/parent",
    "/per/per/siblings",
    "/per/per/couple",
    "/per/per/neighbor",
    "/per/per/peer",
    "/per/per/charges",
    "/per/per/alumi",
    "/per/per/alternate_names",
    "/per/org/member_of",
    "/per/loc/place_of_residence",
    "/per/loc/place_of_birth",
    "/org/org/alternate_names",
    "/org/org/subsidiary",
    "/org/loc/locate_at",
    "/loc/loc/contain",
    "/per/misc/present_in",
    "/per/misc/awarded",
    "/per/misc/race",
    "/per/misc/religion",
    "/per/misc/nationality",
    "/misc/misc/part_of",
    "/misc/loc/held_on",
)
"""Relations in the order of the authors' classifier (MNRE's own `ours_rel2id.json`)."""

PREFIXES = {
    "bert.": "encoders.text.backbone.",
    "image_model.resnet.": "encoders.vision.backbone.",
    "encoder_conv.": "fuser.project.",
    "crf.": "decoder.crf.",
    "fc.": "decoder.linear.",
    "classifier.": "decoder.linear.",
}
"""The authors' modules → ours; the gates, one module for each layer, become one tensor."""

UNUSED = ("bert.pooler.", "image_model.resnet.fc.", "bert.embeddings.position_ids")
"""In the authors' files, but not used in their computation."""


class HvpnetImporter(Importer):
    """`mmkit import-checkpoint hvpnet FILE OUT`, for the authors' NER and relation checkpoints."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """The recipe of a file. NER files do not show whether they are of Twitter-2015 or Twitter-2017: the former is
        used."""
        return {"ner": "hvpnet_twitter15", "re": "hvpnet_mnre"}[task_of(state)]

    def labels(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        if task_of(state) == "re":
            return {"relations": list(RELATIONS)}
        return {"types": list(TYPES), "scheme": "bio", "subwords": "tagged", "tags": list(TAGS)}

    def convert_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert_state(state)


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an authors' NER or relation checkpoint under the names of mmkit's model.

    BERT's pooler, ResNet's classifier, `num_batches_tracked` and `position_ids` are left out: nothing uses them.
    Raises a `DataError` that lists missing and unknown names.
    """
    state = {name: tensor for name, tensor in state.items() if not _unused(name)}
    layers = _count(state, "bert.encoder.layer.")
    check_names(
        state,
        authors_names(task_of(state), layers),
        "HVPNeT",
        "only checkpoints of the authors' own models (bert-base, ResNet-50) can be imported",
    )
    converted = {
        "fuser.gates.weight": torch.cat([state[f"gates.{i}.weight"] for i in range(layers)]),
        "fuser.gates.bias": torch.cat([state[f"gates.{i}.bias"] for i in range(layers)]),
    }
    for name, tensor in state.items():
        for theirs, ours in PREFIXES.items():
            if name.startswith(theirs):
                converted[ours + name.removeprefix(theirs)] = tensor
    return converted


def task_of(state: Mapping[str, Tensor]) -> Task:
    """The one of the two models to which a state dict belongs. Raises `DataError` if it belongs to neither."""
    if "crf.transitions" in state:
        return "ner"
    if "classifier.weight" in state:
        return "re"
    raise DataError(
        "this is not an HVPNeT checkpoint: it has neither a CRF (entities) nor a classifier (relations)",
        hint="give the file that the authors' training code wrote, best_model.pth",
        code="import.not-of-paper",
    )


def _unused(name: str) -> bool:
    return name.startswith(UNUSED) or name.endswith(".num_batches_tracked")


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules there are under `prefix`."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
    return 1 + max((int(n) for n in numbers if n.isdecimal()), default=-1)


def authors_names(task: Task, layers: int) -> Iterator[str]:
    """Every tensor of the authors' model with `layers` BERT layers, without the unused ones."""
    yield from _bert_names(layers)
    yield from _resnet50_names()
    for module in ("encoder_conv.0", "encoder_conv.2", *(f"gates.{i}" for i in range(layers))):
        yield from _affine(module)
    if task == "ner":
        yield from ("crf.start_transitions", "crf.end_transitions", "crf.transitions")
        yield from _affine("fc")
    else:
        yield from _affine("classifier")


def _affine(module: str) -> tuple[str, str]:
    return f"{module}.weight", f"{module}.bias"


def _bert_names(layers: int) -> Iterator[str]:
    for table in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        yield f"bert.embeddings.{table}.weight"
    yield from _affine("bert.embeddings.LayerNorm")
    modules = (
        *(f"attention.self.{name}" for name in ("query", "key", "value")),
        *("attention.output.dense", "attention.output.LayerNorm"),
        *("intermediate.dense", "output.dense", "output.LayerNorm"),
    )
    for layer in range(layers):
        for module in modules:
            yield from _affine(f"bert.encoder.layer.{layer}.{module}")


def _resnet50_names() -> Iterator[str]:
    def convolution(conv: str, norm: str) -> Iterator[str]:
        yield f"image_model.resnet.{conv}.weight"
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"image_model.resnet.{norm}.{part}"

    yield from convolution("conv1", "bn1")
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            for i in (1, 2, 3):
                yield from convolution(f"{at}.conv{i}", f"{at}.bn{i}")
            if block == 0:
                yield from convolution(f"{at}.downsample.0", f"{at}.downsample.1")
