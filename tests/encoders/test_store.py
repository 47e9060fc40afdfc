"""The feature store: computed once, and read back exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.items import MissingImages
from mmkit.encoders.store import prepare
from mmkit.errors import ImageError
from number_encoder import EXAMPLES, Numbers, assert_same, example, features, shard_files
from raising import raises

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("where", ["disk", "table"])
def test_stored_features_are_what_the_network_computes(where: str) -> None:
    encoder, fresh = Numbers(), Numbers()
    report = prepare(encoder, EXAMPLES)
    assert (report.items, report.computed) == (6, 6)
    assert encoder.stored.place("cpu", 1e9 if where == "table" else 10) == (where == "table")
    assert encoder.stored.placed == (where == "table")
    for batch in (EXAMPLES, EXAMPLES[::-1], EXAMPLES[3:4]):
        encoder.loaded.clear()
        ours = features(encoder, batch)
        assert encoder.loaded == []
        assert_same(ours, features(fresh, batch))
    assert ours["mask"].tolist() == [[False, False]]


def test_mask_says_which_items_are_real() -> None:
    encoder = Numbers()
    prepare(encoder, EXAMPLES)
    expected = [[True, True], [True, False], [True, True], [False, False], [True, False]]
    assert features(encoder, EXAMPLES)["mask"].tolist() == expected


def test_a_second_run_computes_nothing(cache: Path) -> None:
    prepare(Numbers(), EXAMPLES)
    again = Numbers()
    report = prepare(again, EXAMPLES)
    assert report.computed == 0 and again.loaded == []
    assert len(shard_files(cache)) == 1
    assert_same(features(again, EXAMPLES), features(Numbers(), EXAMPLES))


def test_examples_can_be_added(cache: Path) -> None:
    encoder = Numbers()
    prepare(encoder, EXAMPLES[:2])
    assert encoder.stored.place("cpu", 1e9)
    report = prepare(encoder, EXAMPLES)
    assert report.computed == 2 and len(shard_files(cache)) == 2
    assert not encoder.stored.placed  # the table lacks the new rows
    assert_same(features(encoder, EXAMPLES), features(Numbers(), EXAMPLES))
    assert encoder.stored.place("cpu", 1e9)
    assert_same(features(encoder, EXAMPLES), features(Numbers(), EXAMPLES))


def test_unknown_examples_are_computed() -> None:
    encoder = Numbers()
    prepare(encoder, EXAMPLES)
    batch = [EXAMPLES[0], example("99")]
    assert_same(features(encoder, batch), features(Numbers(), batch))
    assert "99" in encoder.loaded


def test_other_weights_and_dtypes_have_their_own_features(cache: Path) -> None:
    other = Numbers()
    other.weight.data[0] = 5
    for encoder in (Numbers(), other, Numbers(feature_dtype="float16")):
        assert prepare(encoder, EXAMPLES).computed == 6
    assert len(list(cache.iterdir())) == 3
    assert features(encoder, EXAMPLES)["fixed"].dtype == torch.float32  # float16 only on disk


class Products(Numbers):
    """Features that a product makes, which is what a precision changes."""

    ragged = frozenset()

    def network(self, items: Features) -> Features:
        made = super().network(items)
        return {"product": (made["fixed"] + 0.123) @ torch.full((3, 2), 1.001)}


def test_features_are_computed_in_their_own_precision() -> None:
    rounded, full = Products(feature_precision="bf16"), Products()
    batch = EXAMPLES[:2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = features(full, batch)["product"]
    exact = features(full, batch)["product"]
    assert torch.equal(found, exact)  # whatever the precision around it
    inexact = features(rounded, batch)["product"]
    assert inexact.dtype == torch.float32 and not torch.equal(inexact, exact)
    torch.testing.assert_close(inexact, exact, rtol=2**-7, atol=2**-7)
    for encoder in (rounded, full):
        assert prepare(encoder, EXAMPLES).computed == 6  # each has its own store
        stored = features(encoder, batch)["product"]
        torch.testing.assert_close(stored, inexact if encoder is rounded else exact, rtol=1e-3, atol=1e-3)
    assert torch.equal(features(Products(feature_precision="tf32"), batch)["product"], exact)  # without a GPU


def test_stale_features_are_not_used_after_weights_change() -> None:
    encoder = Numbers()
    prepare(encoder, EXAMPLES)
    encoder.weight.data *= 2
    prepare(encoder, EXAMPLES)
    assert features(encoder, EXAMPLES)["fixed"][0, 0].tolist() == [2, 4, 6]


def test_the_state_dict_is_the_same_with_features_attached() -> None:
    encoder = Numbers()
    before = set(encoder.state_dict())
    prepare(encoder, EXAMPLES)
    encoder.stored.place("cpu", 1e9)
    assert set(encoder.state_dict()) == before


def test_nbytes_is_what_the_tables_take() -> None:
    encoder = Numbers()
    prepare(encoder, EXAMPLES)
    needed = encoder.stored.nbytes
    assert needed == 6 * (3 * 4 + 8) + (1 + 2 + 3 + 3 + 3) * 3 * 4
    assert not encoder.stored.place("cpu", needed - 1) and encoder.stored.place("cpu", needed)


def test_progress_counts_what_is_to_be_computed() -> None:
    seen: list[tuple[int, int]] = []
    prepare(Numbers(), EXAMPLES, batch_size=4, progress=lambda *a: seen.append(a))
    assert seen == [(4, 6), (6, 6)]


def test_trainable_encoders_are_not_stored() -> None:
    encoder = Numbers()
    encoder.frozen = False
    with pytest.raises(ValueError, match="frozen"):
        prepare(encoder, EXAMPLES)


# Missing and broken items


def test_all_missing_items_are_named_in_one_error() -> None:
    with raises("image.unusable", match=r"1 images are missing:\n  missing: no such image") as error:
        prepare(Numbers(), [*EXAMPLES, example("missing"), example("1", "missing")])
    assert 'missing_images = "blank"' in error.value.hint


def test_broken_items_are_an_error_but_the_rest_is_stored() -> None:
    with raises("image.unusable", match="1 images are broken"):
        prepare(Numbers(), [*EXAMPLES, example("broken")])
    assert prepare(Numbers(), EXAMPLES).computed == 0


@pytest.mark.parametrize("more", [EXAMPLES, [example("1", "2")]], ids=["with blanks", "without blanks"])
def test_blanks_stand_in_when_asked_to(more: list[Example]) -> None:
    encoder = Numbers()
    encoder.missing.policy = "blank"
    examples = [*more, example("missing", "broken")]
    report = prepare(encoder, examples)
    assert set(report.missing) == {"missing"} and set(report.broken) == {"broken"}
    assert "blank ones replace 1 missing and 1 broken: missing, broken" in str(report)
    ours = features(encoder, examples)
    assert ours["mask"][-1].tolist() == [False, False] and not ours["fixed"][-1].any()
    again = Numbers()
    with raises("image.unusable"):  # what is broken is not hidden by what was stored
        prepare(again, [example("broken")])


def test_computing_on_the_fly_follows_the_same_policy() -> None:
    encoder = Numbers()
    with pytest.raises(ImageError):
        encoder.collate([example("broken")], [{}])
    encoder.missing.policy = "blank"
    assert encoder.collate([example("broken")], [{}])["mask"].tolist() == [[False, False]]
    assert encoder.missing.replaced == {"broken": "the image is broken"}


class Dropping(Numbers):
    """As `Numbers`, without blank items."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.source.drops_blanks = True


PATHS = st.sampled_from(["1", "2", "3", "6", "11", "missing", "broken", None])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    batches=st.lists(
        st.lists(st.lists(PATHS, max_size=4).map(lambda paths: example(*paths)), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_blank_items_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, batches: list[list[Example]]
) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    computing, storing = Dropping(slots=3), Dropping(slots=3)
    computing.missing = storing.missing = MissingImages("blank")
    prepare(storing, [x for batch in batches for x in batch])
    for batch in batches:
        real = [[float(i.path) for i in x.images[:3] if i.path and i.path.isdigit()] for x in batch]
        width = max([1, *map(len, real)])
        for budget in (None, 0, 1e9):
            if budget is not None:
                storing.stored.place("cpu", budget)
            found = features(computing if budget is None else storing, batch)
            assert found["mask"].tolist() == [[k < len(own) for k in range(width)] for own in real]
            numbers = torch.tensor([own + [0.0] * (width - len(own)) for own in real])
            assert torch.equal(found["fixed"], numbers[..., None] * storing.weight)
            assert torch.equal(found["lengths"], numbers.long() % 4)
            assert torch.equal(found["rows_of"].sum(2), (numbers * (numbers % 4))[..., None] * storing.weight)
