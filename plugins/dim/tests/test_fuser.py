"""The dynamic query in both forms, against a reading one mention at a time."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linking import Given
from mmkit.batch import Batch, Features
from mmkit.encoders.base import Encoder
from mmkit_dim.fuser import DynamicQuery
from raising import raises

NAMES = ("mention", "text", "photo", "caption")
WIDTH = 8


def encoders(**widths: int) -> dict[str, Encoder]:
    return {name: Given(widths.get(name, WIDTH)) for name in NAMES}


def built(form: str, **widths: int) -> DynamicQuery:
    torch.manual_seed(0)
    fuser = DynamicQuery(form=form, heads=2)  # type: ignore[arg-type]
    fuser.build(encoders(**widths))
    return fuser.eval()


def inputs(real: dict[str, list[list[bool]]], **widths: int) -> dict[str, Features]:
    torch.manual_seed(1)
    masks = {name: torch.tensor(mask) for name, mask in real.items()}
    return {
        name: {"pooled": torch.randn(*mask.shape, widths.get(name, WIDTH)), "mask": mask}
        for name, mask in masks.items()
    }


def query(fuser: DynamicQuery, given_: dict[str, Features]) -> torch.Tensor:
    return fuser(encoders(), Batch((), given_))["query"]


def real_things(slots: int) -> st.SearchStrategy[list[bool]]:
    return st.lists(st.booleans(), min_size=slots, max_size=slots)


examples = st.lists(
    st.fixed_dictionaries({name: real_things(2 if name == "photo" else 1) for name in NAMES}),
    min_size=1,
    max_size=4,
)


def batched(drawn: list[dict[str, list[bool]]]) -> dict[str, Features]:
    return inputs({name: [example[name] for example in drawn] for name in NAMES})


@settings(max_examples=25, deadline=None)
@given(drawn=examples)
def test_released_adds_raw_features_and_the_projected_caption(drawn: list[dict[str, list[bool]]]) -> None:
    fuser, given_ = built("released"), batched(drawn)
    found = query(fuser, given_)
    for i, example in enumerate(drawn):
        m, x, v, c = (
            sum(
                (p for p, real in zip(given_[n]["pooled"][i], example[n], strict=True) if real),
                torch.zeros(WIDTH),
            )
            for n in NAMES
        )
        torch.testing.assert_close(found[i], fuser.head(m + x + v + fuser.project_text(c)))


@settings(max_examples=25, deadline=None)
@given(drawn=examples)
def test_the_papers_form_attends_to_what_there_is(drawn: list[dict[str, list[bool]]]) -> None:
    fuser, given_ = built("paper"), batched(drawn)
    found = query(fuser, given_)
    for i, example in enumerate(drawn):
        m = fuser.project_text(given_["mention"]["pooled"][i, 0] * example["mention"][0])
        keys = [
            project(vector)
            for name, project in (
                ("text", fuser.project_text),
                ("photo", fuser.project_image),
                ("caption", fuser.project_text),
            )
            for vector, real in zip(given_[name]["pooled"][i], example[name], strict=True)
            if real
        ] or [fuser.project_text(torch.zeros(WIDTH))]
        attended = fuser.interact(m[None], torch.stack(keys)[None])[0]
        torch.testing.assert_close(found[i], fuser.head(m + attended))


def test_features_that_are_added_have_one_width() -> None:
    with raises("part.widths", match="photo 4"):
        built("released", photo=4)
    assert built("released", caption=5).dims == {"query": WIDTH}


def test_the_papers_form_takes_pictures_of_any_width() -> None:
    ones = {name: [[True], [True]] for name in NAMES}
    assert query(built("paper", photo=4), inputs(ones, photo=4)).shape == (2, WIDTH)
    with raises("part.widths", match="caption 5"):
        built("paper", caption=5)
    with raises("part.heads", match="2 heads"):
        built("paper", mention=7, text=7, caption=7)


def test_the_query_may_be_as_wide_as_the_entities() -> None:
    fuser = DynamicQuery(dim=5)
    fuser.build(encoders())
    assert fuser.dims == {"query": 5}
    assert query(fuser, inputs({name: [[True]] for name in NAMES})).shape == (1, 5)
