"""The feature store: computed once, read back exactly, whatever happens to processes, files and disks."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders import store
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.encoders.store import prepare
from mmkit.errors import ImageError
from raising import raises


class Given(ItemSource[Image, Tensor]):
    """A picture's path is a number n; "missing" does not exist, and "broken" cannot be loaded."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.loaded: list[str] = []

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Image]]:
        images = [*x.images, *[Image(None)] * self.slots][: self.slots]
        return [self._item(i, missing) for i in images]

    def _item(self, image: Image, missing: MissingImages) -> tuple[str, Image]:
        if image.path == "missing":
            missing.excuse(ImageError("no such image", where=image.path))
            return BLANK, self.blank()
        return (BLANK if image.path is None else f"key of {image.path}"), image

    def identity(self, x: Example | Entity) -> Any:
        return x.images

    def blank(self) -> Image:
        return Image(None)

    def load(self, raw: Image) -> Tensor:
        self.loaded.append(raw.path or BLANK)
        if raw.path == "broken":
            raise ImageError("the image is broken", where="broken")
        return torch.tensor(float(raw.path or 0))

    def stack(self, loaded: list[Tensor]) -> Features:
        return {"numbers": torch.stack(list(loaded))}


class Numbers(ItemEncoder):
    """A number n becomes n times a weight, fixed and ragged (n % 4 rows)."""

    version = "test.numbers.v1"
    ragged = frozenset({"rows_of"})
    source: Given

    def __init__(self, slots: int = 2, **options: Any) -> None:
        super().__init__(Given(slots), **options)
        self.weight = nn.Parameter(torch.arange(1.0, 4.0), requires_grad=False)

    @property
    def loaded(self) -> list[str]:
        return self.source.loaded

    def build(self, special_tokens=(), saved=None) -> None: ...

    def save(self, folder: Path) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}

    def network(self, items: Features) -> Features:
        numbers = items["numbers"]
        lengths = numbers.long() % 4
        real = torch.arange(3) < lengths[:, None]
        rows = numbers[:, None, None] * self.weight * real[..., None]
        return {"fixed": numbers[:, None] * self.weight, "rows_of": rows, "lengths": lengths}


def example(*paths: str | None) -> Example:
    return Example("x", "a", ("a",), ((0, 1),), images=tuple(Image(p) for p in paths))


EXAMPLES = [example("1", "2"), example("3"), example("2", "7"), example(), example("11", None)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def shard_files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def features(encoder: ItemEncoder, examples: list[Example]) -> Features:
    inputs = encoder.collate(examples, [{}] * len(examples))
    return encoder(inputs)


def assert_same(ours: Features, theirs: Features) -> None:
    assert set(ours) == set(theirs)
    for name in ours:
        a, b = ours[name], theirs[name]
        if name == "rows_of":  # padding may be of different lengths
            length = min(a.shape[2], b.shape[2])
            assert not a[:, :, length:].any() and not b[:, :, length:].any()
            a, b = a[:, :, :length], b[:, :, :length]
        torch.testing.assert_close(a, b, atol=0, rtol=0)


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
    assert "1 missing and 1 broken ones replaced by blanks: missing, broken" in str(report)
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


# Crashes, damage and disks


def test_a_truncated_shard_is_computed_again(cache: Path) -> None:
    prepare(Numbers(), EXAMPLES)
    (shard,) = shard_files(cache)
    shard.write_bytes(shard.read_bytes()[:-7])
    encoder = Numbers()
    report = prepare(encoder, EXAMPLES)
    assert report.damaged == [shard] and shard.name in str(report)
    assert report.computed == 6 and not shard.exists()
    assert_same(features(encoder, EXAMPLES), features(Numbers(), EXAMPLES))


@pytest.mark.parametrize("at", [0, 5, 60, -1, -30])
def test_an_altered_shard_is_computed_again(cache: Path, at: int) -> None:
    prepare(Numbers(), EXAMPLES)
    (shard,) = shard_files(cache)
    data = bytearray(shard.read_bytes())
    data[at] ^= 0x55
    shard.write_bytes(data)
    encoder = Numbers()
    prepare(encoder, EXAMPLES)
    assert_same(features(encoder, EXAMPLES), features(Numbers(), EXAMPLES))


def test_leftovers_of_a_killed_process_are_removed(cache: Path) -> None:
    prepare(Numbers(), EXAMPLES[:1])
    (shard,) = shard_files(cache)
    leftover = shard.with_name(f".{shard.name}.abc.tmp")
    leftover.write_bytes(shard.read_bytes()[:50])
    prepare(Numbers(), EXAMPLES)
    assert not leftover.exists()


def test_an_interruption_loses_nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Numbers()

    def interrupt(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(encoder, EXAMPLES, batch_size=2, progress=interrupt)
    assert prepare(Numbers(), EXAMPLES).computed == 2


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_shard(cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(store, "FLUSH_BYTES", 1)
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:  # the first shard and its folder still fit
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with raises("file.unwritable"):
        prepare(Numbers(), EXAMPLES, batch_size=2)
    monkeypatch.undo()
    monkeypatch.setenv("MMKIT_CACHE", str(cache.parent))
    assert len(shard_files(cache)) == 1 and not list(cache.rglob("*.tmp"))
    assert prepare(Numbers(), EXAMPLES).computed == 4


def test_a_store_that_cannot_be_made_is_explained(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / Numbers().fingerprint()).write_text("a file stands here")
    with raises("file.unwritable", match="stands where a folder is needed"):
        prepare(Numbers(), EXAMPLES)


def _prepare_in_a_process(counts: Any) -> None:
    encoder = Numbers()
    slow = encoder.source.load

    def load(raw: Image) -> Tensor:
        time.sleep(0.01)  # so that the processes do meet
        return slow(raw)

    encoder.source.load = load
    counts.put(prepare(encoder, EXAMPLES * 3, batch_size=2).computed)


def test_two_processes_share_the_work(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    processes = [context.Process(target=_prepare_in_a_process, args=(counts,)) for _ in range(2)]
    for process in processes:
        process.start()
    computed = sorted(counts.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert computed == [0, 6]


def _prepare_numbers(numbers: range, counts: Any) -> None:
    counts.put(prepare(Numbers(), [example(str(n)) for n in numbers], batch_size=2).computed)


def _ended_at_once(numbers: range, begun: Any) -> None:
    encoder = Numbers()
    load = encoder.source.load

    def last(raw: Image) -> Tensor:
        begun.put(None)
        time.sleep(60)
        return load(raw)

    encoder.source.load = last
    prepare(encoder, [example(str(n)) for n in numbers])


def test_many_processes_fill_one_store_whatever_becomes_of_one(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    begun, counts = context.Queue(), context.Queue()
    killed = context.Process(target=_ended_at_once, args=(range(24), begun))
    killed.start()
    begun.get(timeout=60)  # it holds the store's lock, and has computed nothing
    parts = [range(12), range(6, 18), range(12, 24), range(24), range(3)]
    processes = [context.Process(target=_prepare_numbers, args=(part, counts)) for part in parts]
    for process in processes:
        process.start()
    killed.kill()
    computed = [counts.get(timeout=60) for _ in processes]
    for process in (*processes, killed):
        process.join(60)
    assert sum(computed) == 25, "each number once, and the blank one of the second slot"
    everything = Numbers()
    assert prepare(everything, [example(str(n)) for n in range(24)]).computed == 0
    found = features(everything, [example("5"), example("23")])
    assert found["fixed"][:, 0].tolist() == [[5.0, 10.0, 15.0], [23.0, 46.0, 69.0]]
    assert not list(cache.rglob("*.tmp"))


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
