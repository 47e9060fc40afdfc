"""Encoders of items that were written for the contract of before: they work, or say what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders import base
from mmkit.encoders.item_encoder import ItemEncoder as NewItemEncoder
from mmkit.encoders.items import MissingImages
from mmkit.encoders.old_items import ItemEncoder
from mmkit.encoders.store import prepare
from mmkit.errors import ImageError
from raising import raises


class Old(ItemEncoder):
    """A picture's path is a number n; its feature is n times a weight."""

    version = "test.old.v1"
    provides = frozenset({"pooled", "mask"})
    reads_pictures = True

    def __init__(self, slots: int = 2) -> None:
        super().__init__()
        self.slots, self.frozen = slots, True
        self.weight = nn.Parameter(torch.arange(1.0, 4.0), requires_grad=False)

    def build(self, special_tokens=(), saved=None) -> None: ...

    def save(self, folder: Path) -> None: ...

    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        found = []
        for image in [*x.images, *[Image(None)] * self.slots][: self.slots]:
            if image.path != "missing":
                found.append((image.path or "blank", image))
            elif self.missing_images == "error":
                raise ImageError("no such image", where="missing")
            else:
                self.replaced["missing"] = "no such image"
                found.append(("blank", self.blank()))
        return found

    def load(self, raw: Image) -> Tensor:
        return torch.tensor(float(raw.path or 0))

    def blank(self) -> Image:
        return Image(None)

    def network(self, stack: Tensor) -> Features:
        return {"pooled": stack[:, None] * self.weight}

    def describe(self) -> dict[str, Any]:
        return {"old": True}


class OldWithoutBlanks(Old):
    drops_blanks = True


def example(*paths: str) -> Example:
    return Example.from_tokens("x", ["a"], images=tuple(Image(path) for path in paths))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path))


@pytest.mark.parametrize("kind", [Old, OldWithoutBlanks])
def test_one_computes_and_is_stored_as_it_was(kind: type[Old]) -> None:
    examples = [example("1", "2"), example("3"), example()]
    computing, storing = kind(), kind()
    assert isinstance(computing, NewItemEncoder) and computing.source.pictures
    computed = computing(computing.collate(examples, [{}] * 3))
    expected = torch.tensor([[1.0, 2], [3, 0], [0, 0]])[..., None] * torch.arange(1.0, 4)
    assert torch.equal(computed["pooled"], expected)
    assert computed["mask"].tolist() == [[True, True], [True, False], [False, False]]
    assert prepare(storing, examples).computed == (4 if kind is Old else 3)
    assert storing.stored is not None
    for budget in (0, 1e9):
        storing.stored.place("cpu", budget)
        stored = storing(storing.collate(examples, [{}] * 3))
        assert all(torch.equal(stored[name], computed[name]) for name in computed)


def test_its_stored_features_are_found_under_the_same_name() -> None:
    assert Old().fingerprint() == "af4d224e1148ee8565da386f299e65b9"  # of the contract of before


def test_one_is_asked_whether_a_picture_may_be_missing() -> None:
    encoder = Old()
    with pytest.raises(ImageError):
        encoder.collate([example("missing")], [{}])
    with raises("image.unusable", match="1"):
        prepare(encoder, [example("missing")])
    assert not encoder.missing.replaced
    encoder.missing = MissingImages("blank")
    assert encoder.collate([example("missing", "1")], [{}])["mask"].tolist() == [[False, True]]
    assert encoder.replaced == encoder.missing.replaced == {"missing": "no such image"}
    assert list(prepare(encoder, [example("missing")]).missing) == ["missing"]


def test_one_that_collated_for_itself_is_told_what_changed() -> None:
    with pytest.raises(
        TypeError, match=r"Own overrides collate, forward, .*give it a source \(docs/plugins.md"
    ):

        class Own(Old):
            def collate(self, examples, views):
                return {}

            def forward(self, inputs):
                return {}


def test_the_old_place_leads_to_it_and_says_where_it_is_now() -> None:
    with pytest.warns(DeprecationWarning, match=r"base\.ItemEncoder is now in mmkit\.encoders\.old_items"):
        assert base.ItemEncoder is ItemEncoder
    with pytest.warns(DeprecationWarning, match=r"base\.BLANK is now in mmkit\.encoders\.items"):
        assert base.BLANK == "blank"


def test_bases_that_are_gone_say_what_took_their_place() -> None:
    with pytest.raises(ImportError, match=r"source = Pictures\(photos, objects\)"):
        from mmkit.encoders.pictures import PictureEncoder  # noqa: F401
    with pytest.raises(ImportError, match=r"source = Texts\(source, slots\)"):
        from mmkit.encoders.texts import PlainTextEncoder  # noqa: F401
