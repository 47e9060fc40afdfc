"""The towers: padding, stretched photos, blanks, and which of an entity's photos a batch reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from mmkit.data.types import Entity, Example, Image, Mention
from mmkit.testing import check_encoder, check_fuser, stand_in_examples, written_images
from mmkit_mimic.picture import PictureTower, one_photo, stretched
from mmkit_mimic.text import TextTower


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("images")
    return [replace(x, mention=Mention(x.tokens[0])) for x in written_images(stand_in_examples(), folder)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> str:
    folder = tmp_path_factory.mktemp("clip")
    text = TextTower.sample(folder / "mimic.text.v1-1-x", 1, examples)
    assert text == PictureTower.sample(folder / "mimic.picture.v1-1-x", 1, examples)
    return str(text["name"])


@pytest.mark.parametrize("part", ["mimic.text.v1", "mimic.picture.v1"])
def test_they_keep_the_contract(part: str, examples: list[Example], tmp_path: Path) -> None:
    check_encoder(part, folder=tmp_path, examples=examples)


def test_the_fuser_keeps_the_contract(clip: str, examples: list[Example]) -> None:
    encoders = {"text": TextTower(clip, max_length=12), "picture": PictureTower(clip)}
    for encoder in encoders.values():
        encoder.build()
    check_fuser("mimic.towers.v1", encoders=encoders, examples=examples, blanks="none")


def test_a_text_is_a_name_and_what_is_said_of_it(clip: str) -> None:
    tower = TextTower(clip, max_length=20)
    tower.build()
    example = Example.from_tokens("1", ["Jordan", "flew"], mention=Mention("Jordan"))
    entity = Entity("Q1", "Jordan", description="a player")
    assert tower.source.identity(example) == ("Jordan [SEP] Jordan flew",)
    assert tower.source.identity(entity) == ("Jordan [SEP] a player",)
    assert tower.source.identity(Entity("Q1", "Jordan")) == ("Jordan [SEP] ",)
    with torch.no_grad():
        both = tower(tower.collate([example, entity], [{}, {}]))
        alone = tower(tower.collate([entity], [{}]))
    assert both["tokens"].shape == (2, 1, 20, tower.token_dim)
    torch.testing.assert_close(both["pooled"].norm(dim=-1), torch.ones(2, 1))
    torch.testing.assert_close(both["tokens"][1], alone["tokens"][0])
    assert 4 < both["token_mask"][1].sum() < 20 and both["mask"].all()


@pytest.mark.parametrize("reads", [True, False])
def test_padding_counts_only_if_asked(clip: str, reads: bool) -> None:
    tower = TextTower(clip, reads_padding=reads)
    tower.build()
    found = tower(tower.collate([Entity("Q1", "Jordan")], [{}]))
    assert bool(found["token_mask"].all()) is reads


def test_a_photo_is_stretched_and_normalised() -> None:
    picture = Pillow.new("RGB", (60, 20), (255, 0, 51))
    picture.paste((0, 255, 51), (30, 0, 60, 20))
    found = stretched(8, (0.5, 0.5, 0.2), (0.5, 0.25, 1.0))(picture)
    assert found.shape == (3, 8, 8)
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([1.0, -2.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, -1, -1], torch.tensor([-1.0, 2.0, 0.0]), atol=1e-6, rtol=0)


def test_without_a_photo_zeros_go_through_the_network(clip: str) -> None:
    tower = PictureTower(clip)
    tower.build()
    with torch.no_grad():
        found = tower(tower.collate([Entity("Q1", "x"), Entity("Q2", "y", images=(Image(None),))], [{}, {}]))
        side = tower.backbone.config.image_size
        expected = tower.network({"pixels": torch.zeros(1, 3, side, side)})
    assert not found["mask"].any()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.expand(2, *tensor.shape[1:])[:, None])


def entity(count: int) -> Entity:
    return Entity("Q1", "x", images=tuple(Image(f"{i}.jpg") for i in range(count)))


def test_training_reads_any_photo_by_the_updates_seed() -> None:
    chosen = []
    for seed in range(60):
        torch.manual_seed(seed)
        (image,) = one_photo(entity(3)).images
        torch.rand(1)  # what is drawn in the meantime changes nothing
        assert one_photo(entity(3)).images == (image,)
        chosen.append(image.path)
    assert all(chosen.count(f"{i}.jpg") > 10 for i in range(3))
    assert one_photo(entity(1)) == entity(1) and one_photo(entity(0)) == entity(0)


def test_evaluation_and_mentions_read_the_first_photo(clip: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        Pillow.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    images = tuple(Image(str(tmp_path / f"{i}.png")) for i in range(3))
    both = [Entity("Q1", "x", images=images), Example.from_tokens("1", ["x"], images=images)]
    tower = PictureTower(clip)
    tower.build()
    first = tower.source.stack([tower.source.load(images[0])])["pixels"][0]

    def read(seed: int) -> list[bool]:
        torch.manual_seed(seed)
        pixels = tower.collate(both, [{}, {}])["loaded.pixels"]
        return [torch.equal(one, first) for one in pixels]

    assert all(read(seed) == [True, True] for seed in range(5) if not tower.eval().training)
    tower.train()
    assert {tuple(read(seed)) for seed in range(20)} == {(True, True), (False, True)}
    tower.any_photo = False
    assert read(1) == [True, True] and tower.pictures_read(both[0]) == [images[0]]
    tower.any_photo = True
    assert tower.pictures_read(both[0]) == list(images) and tower.pictures_read(both[1]) == [images[0]]
