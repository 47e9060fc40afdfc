"""The authors' checkpoints as state dicts of mmkit's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from mmkit.errors import DataError
from mmkit.runs.importing import Importer, check_names

Form = Literal["joint", "entities", "relations"]

TYPES = ("per", "misc", "org", "loc")
RELATIONS = (
    "couple", "part_of", "alumi", "race", "locate_at", "siblings", "held_on", "contain", "nationality", "religion",
    "member_of", "place_of_birth", "place_of_residence", "subsidiary", "present_in", "awarded", "parent", "neighbor",
    "peer", "charges", "alternate_names",
)  # fmt: skip
"""Labels in the order of the authors' layers."""

KEPT = 0.9
"""Share of their input layers' weights that the authors keep: they evaluate with 0.9 · W, we with W."""

UNK = 100
"""Id of [UNK] in BERT's vocabularies: the authors' tokenizer turns the four markers into it."""

WORDS = "encoders.text.backbone.embeddings.word_embeddings.weight"

INPUT = {"img_freature_transform": "fuser.from_visual", "text_input_transform": "fuser.from_text"}
ATTENTION = {
    "attention.query_linear": "query",
    "attention.key_linear": "key",
    "attention.value_linear": "value",
    "attention.final_linear": "out",
    "feed_forward.0": "feed_forward.0",
    "feed_forward.2": "feed_forward.2",
    "layer_norm1": "norm",
    "layer_norm2": "last_norm",
}
HEADS = {
    "entities": {"n": "summary", "hid2hid": "pair", "ln": "norm", "hid2tag": "labels"},
    "relations": {"r": "summary", "hid2hid": "pair", "ln": "norm", "hid2rel": "labels"},
}
SHORT = {"entities": "NER", "relations": "RE"}


class TesgaImporter(Importer):
    """`mmkit import-checkpoint tesga FILE OUT`, for the authors' joint, entity and relation checkpoints."""

    def recipe(self, state: Mapping[str, Tensor]) -> str:
        """The recipe of a file's form. Files of entities do not show which Twitter dataset they are of: Twitter-2015
        is used."""
        recipes = {"joint": "tesga_jmere", "entities": "tesga_twitter15", "relations": "tesga_mnre"}
        return recipes[form_of(state)]

    def labels(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        form = form_of(state)
        types = (
            [name.upper() for name in TYPES] if form == "entities" else list(TYPES)
        )  # as in Twitter's files
        labels = {"types": types, "relations": list(RELATIONS)}
        return {
            name: labels[name]
            for name in labels
            if form == "joint" or (name == "types") == (form == "entities")
        }

    def convert_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert_state(state)


def form_of(state: Mapping[str, Tensor]) -> Form:
    """The one of the three networks to which a state dict belongs. Raises `DataError` if it belongs to none."""
    there = {task for task, short in SHORT.items() if f"selftrans{short}.layer_norm1.weight" in state}
    if not there:
        raise DataError(
            "this is not a TESGA checkpoint: it has neither selftransNER nor selftransRE",
            hint="give the state dict that the authors' training code wrote",
            code="import.not-of-paper",
        )
    return "joint" if len(there) == 2 else "entities" if "entities" in there else "relations"


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an authors' checkpoint under the names of mmkit's model.

    Raw weights of dropconnect (`*._weight`), their copy of BLIP (`img_model.*`) and BERT's pooler are left out; the
    input layers' weights are scaled by what dropconnect keeps. In files of relations the markers, which the authors
    read as [UNK], get the embedding of [UNK]. Raises `DataError` that lists missing or unknown names.
    """
    form = form_of(state)
    names = authors_names(form)
    own = {name: tensor for name, tensor in state.items() if not _unused(name, form)}
    bert = {name for name in own if name.startswith("bert.")}
    check_names(own.keys() - bert, names, "TESGA")
    converted = {names[name]: own[name] for name in names}
    for theirs in INPUT:
        weight = names[f"{theirs}.weight"]
        converted[weight] = KEPT * converted[weight]
    converted |= {f"encoders.text.backbone.{name.removeprefix('bert.')}": own[name] for name in bert}
    if form == "relations" and WORDS in converted:
        words = converted[WORDS]
        converted[WORDS] = torch.cat([words, words[UNK].expand(4, -1)])
    return converted


def _unused(name: str, form: Form) -> bool:
    idle = form == "entities" and name.startswith("get_re_ls_feature.")
    pooler = name.startswith("bert.pooler.") or name == "bert.embeddings.position_ids"
    return idle or pooler or name.endswith("._weight") or name.startswith("img_model.")


def authors_names(form: Form) -> dict[str, str]:
    """The authors' names of a network's tensors → ours, without BERT's."""
    names = {}
    for task, short in SHORT.items():
        if form not in ("joint", task):
            continue
        lstm = "get_ls_feature" if form == "entities" else f"get_{short.lower()}_ls_feature"
        for layer in (0, 1):
            for tensor in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                names[f"{lstm}.{tensor}_l{layer}"] = f"fuser.temporal.{task}.{tensor}_l{layer}"
        for theirs, ours in (("self", "self_attention"), ("cross", "cross_attention")):
            names |= _affine(
                {f"{theirs}trans{short}.{a}": f"fuser.{ours}.{task}.{b}" for a, b in ATTENTION.items()}
            )
        head = "decoder.head" if form == "relations" else f"decoder.heads.{task}"
        names |= _affine({f"{short.lower()}.{a}": f"{head}.{b}" for a, b in HEADS[task].items()})
    return names | _affine(INPUT)


def _affine(modules: Mapping[str, str]) -> dict[str, str]:
    return {f"{a}.{t}": f"{b}.{t}" for a, b in modules.items() for t in ("weight", "bias")}
