"""Authors' checkpoints: what is renamed, scaled, left out, and refused."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from mmkit_tesga.convert import (
    RELATIONS,
    TYPES,
    UNK,
    WORDS,
    Form,
    TesgaImporter,
    authors_names,
    convert_state,
    form_of,
)
from raising import raises

FORMS = get_args(Form)


def checkpoint(form: Form) -> dict[str, Tensor]:
    """A file of the authors' with everything that is no part of what it computes."""
    state = {name: torch.full((2,), float(i)) for i, name in enumerate(authors_names(form))}
    state |= {f"{name}._weight": torch.ones(2) for name in ("img_freature_transform", "text_input_transform")}
    state |= {"img_model.visual_encoder.cls_token": torch.ones(1), "bert.pooler.dense.weight": torch.ones(1)}
    state["bert.embeddings.word_embeddings.weight"] = torch.arange(240.0).view(120, 2)
    if form == "entities":
        state["get_re_ls_feature.weight_ih_l0"] = torch.ones(2)
    return state


@pytest.mark.parametrize("form", FORMS)
def test_every_tensor_finds_its_place(form: Form) -> None:
    state = checkpoint(form)
    assert form_of(state) == form
    converted = convert_state(state)
    assert len(converted) == len(authors_names(form)) + 1
    for theirs, ours in authors_names(form).items():
        scale = 0.9 if ours in ("fuser.from_visual.weight", "fuser.from_text.weight") else 1.0
        torch.testing.assert_close(converted[ours], state[theirs] * scale)


def test_markers_are_what_the_authors_made_of_them() -> None:
    words = convert_state(checkpoint("relations"))[WORDS]
    assert words.shape == (124, 2)
    assert torch.equal(words[120:], words[UNK].expand(4, -1))
    assert convert_state(checkpoint("joint"))[WORDS].shape == (120, 2)


def test_labels_and_recipes_belong_to_the_form() -> None:
    importer = TesgaImporter()
    labels = {form: importer.labels(checkpoint(form)) for form in FORMS}
    assert labels["joint"] == {"types": list(TYPES), "relations": list(RELATIONS)}
    assert labels["entities"] == {"types": ["PER", "MISC", "ORG", "LOC"]} and labels["relations"] == {
        "relations": list(RELATIONS)
    }
    recipes = {form: importer.recipe(checkpoint(form)) for form in FORMS}
    assert recipes == {"joint": "tesga_jmere", "entities": "tesga_twitter15", "relations": "tesga_mnre"}


def test_a_file_that_lacks_something_or_is_another_is_refused() -> None:
    state = checkpoint("joint")
    del state["re.r.weight"]
    with raises("import.not-of-paper", match=r"1 missing: re\.r\.weight"):
        convert_state(state)
    with raises("import.not-of-paper", match="1 unknown: more"):
        convert_state(checkpoint("joint") | {"more": torch.ones(1)})
    with raises("import.not-of-paper"):
        TesgaImporter().recipe({"fc.weight": torch.ones(1)})
