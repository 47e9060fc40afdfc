"""`[model.entities]` in recipes: texts and photos of entities, the simple case written out, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image as Pillow

import mimic_shape
import mmkit
from mmkit.data.jsonl import write_jsonl
from mmkit.data.types import Image
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import fitting_parts
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from mmkit.training.train import train
from raising import raises

mimic_shape.register()

FIT = "recipe.parts-do-not-fit"
SECTION = re.compile(r"(?s)\[model\.encoders\.entity\].*?\n\n")


@pytest.fixture(scope="module")
def simple():
    return sampled(load_recipe("text_only_wikimel")).with_overrides(
        {"training.epochs": 3, "training.batch_size": 64, "model.decoder.negatives": "random"}
    )


def changed(recipe, folder: Path, entities: str):
    """The recipe with other sections for its entities, in place of the encoder that its decoder names."""
    text = SECTION.sub("", recipe.to_str()) + "\n" + entities
    path = folder / "changed.cfg"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def entity_encoder(recipe, at: str = "model.entities.encoders.text") -> str:
    return SECTION.search(recipe.to_str()).group().replace("[model.encoders.entity]", f"[{at}]")


def test_the_simple_case_written_out_is_the_same(simple, tmp_path):
    written_out = changed(simple, tmp_path, entity_encoder(simple))
    figures = []
    for i, recipe in enumerate((simple, written_out)):
        train(recipe, tmp_path / str(i), device="cpu", quiet=True)
        figures.append(Run(tmp_path / str(i)).facts()["figures"])
    assert figures[0] == figures[1]
    ours, theirs = (set(Run(tmp_path / str(i)).model().state_dict()) for i in (0, 1))
    assert {n.replace("entity_side.encoders.text", "encoders.entity") for n in theirs} == ours


def test_entities_are_found_by_their_text_and_several_photos(simple, tmp_path):
    """CLIP of both kinds, frozen and stored; the nearer of an entity's vectors counts."""
    base = list(read_splits(simple, ["entities"])["entities"].entities)
    lines = []
    for i, entity in enumerate(base):
        photos = []
        for j in range(i % 3):  # none, one, two
            photos.append(Image(str(tmp_path / f"{i}-{j}.png")))
            Pillow.new("RGB", (8, 8), (20 * i % 255, 90 * j, 50)).save(photos[-1].path)
        lines.append(type(entity)(entity.id, entity.name, entity.aliases, entity.description, tuple(photos)))
    write_jsonl(tmp_path / "kb.jsonl", lines, "entities")
    text = SECTION.search(simple.to_str()).group()
    name = re.search(r'name = "(.*)"', text).group(1)
    sections = f"""
[model.entities]
batch_size = 9
block = 20

{entity_encoder(simple)}
[model.entities.encoders.photo]
@encoders = "mmkit.clip_image.v1"
name = "{name}"
slots = 2

[model.entities.fuser]
@fusers = "mmkit.pooled_query.v1"
encoders = ["text", "photo"]
hidden = 32
dropout = 0.0

[model.entities.scorer]
@scorers = "mmkit.cosine.v1"
entity = "query"
"""
    recipe = changed(simple, tmp_path, sections)
    text = re.sub(
        r"(?s)\[data\.entities\].*?\n\n",
        f'[data.entities]\n@readers = "mmkit.kb_jsonl.v1"\nroot = "{tmp_path}"\nfile = "kb.jsonl"\n\n',
        recipe.to_str(),
    )
    (tmp_path / "photos.cfg").write_text(text, encoding="utf-8")
    recipe = load_recipe(tmp_path / "photos.cfg")
    train(recipe, tmp_path / "run", device="cpu", quiet=True)
    run = Run(tmp_path / "run")
    model = mmkit.load(tmp_path / "run", device="cpu")
    assert any(name.startswith("entity_side.fuser.") for name in model.model.state_dict())
    figures, _ = mmkit.evaluate(tmp_path / "run", device="cpu")
    before = run.facts()["figures"]["test"]
    assert {key: figures[key] for key in before} == pytest.approx(before)
    assert model.link("look at Jordan !", "Jordan")[0].score > 0


@pytest.mark.parametrize(
    ("sections", "code", "says"),
    [
        ("[model.entities]\nrefersh = 2\n", "recipe.invalid", "'refresh'"),
        ("[model.entities]\nrefresh = 0\n", "recipe.invalid", r"model\.entities\.refresh"),
        ("[model.entities]\n", "recipe.entity-side", r"\[model\.entities\.encoders\.text\]"),
        ('[model.entities]\nshare = {"txet": "text"}\n\nONE\n', FIT, r"encoders\.txet.*'text'"),
        ('[model.entities]\nshare = {"text": "txt"}\n\nONE\n', FIT, r"\[model\.encoders\.txt\]"),
        (
            'ONE\n[model.entities.scorer]\n@scorers = "mmkit.cosine.v1"\nentity = "vector"\n',
            FIT,
            r"mmkit\.cosine\.v1 .*vector",
        ),
        ('ONE\n[model.entities.scorer]\n@scorers = "mmkit.cosine.v1"\nquery = "asked"\n', FIT, "asked"),
        ('ONE\n[model.entities.scorer]\n@scorers = "mimic_shape.units.v1"\n', FIT, "cross_entropy"),
        ('ONE\n[model.entities.scorer]\n@scorers = "mmkit.concat.v1"\n', "recipe.invalid", "fusers"),
        ("ONE\nTWO\n", "recipe.entity-side", r"\[model\.entities\.fuser\]"),
        (
            'ONE\nTWO\n[model.entities.fuser]\n@fusers = "mmkit.pooled_query.v1"\nencoders = ["text"]\n',
            FIT,
            r"model\.entities\.encoders\.more: ",
        ),
        (
            'ONE\n[model.entities.fuser]\n@fusers = "mmkit.side_by_side.v1"\nencoders = ["text"]\n'
            'features = ["grid"]\n',
            FIT,
            "grid",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(simple, tmp_path, sections, code, says):
    sections = sections.replace("ONE", entity_encoder(simple))
    sections = sections.replace("TWO", entity_encoder(simple, "model.entities.encoders.more"))
    with raises(code, match=says):
        fitting_parts(changed(simple, tmp_path, sections))


def test_a_decoder_that_links_nothing_has_no_entities(simple, tmp_path):
    recipe = changed(simple, tmp_path, entity_encoder(simple))
    text = re.sub(r"(?s)\[sample\].*?(\n\n|\Z)", "", recipe.to_str())
    text = re.sub(
        r"(?s)\[model\.decoder\].*?\n\n", '[model.decoder]\n@decoders = "mmkit.crf_tagger.v1"\n\n', text
    )
    (tmp_path / "tagger.cfg").write_text(text, encoding="utf-8")
    with raises(FIT, match=r"model\.entities: mmkit\.crf_tagger\.v1"):
        fitting_parts(load_recipe(tmp_path / "tagger.cfg"))


def test_a_training_goes_on_with_the_run_s_entity_side(simple, tmp_path):
    """`init_from`: encoders of entities are built from the run's files, and taken whole."""
    recipe = changed(simple, tmp_path, entity_encoder(simple)).with_overrides(
        {"training.epochs": 1, "model.entities.encoders.text.frozen": False}
    )
    start = train(recipe, tmp_path / "start", device="cpu", quiet=True)
    still = {"training.init_from": start.run, "training.learning_rate": 0.0, "recipe.seed": 99}
    further = train(recipe.with_overrides(still), tmp_path / "further", device="cpu", quiet=True)
    section = "model.entities.encoders.text"
    taken = further["init_from"]
    assert taken["taken"][section]["whole"] == 37 and not taken["new"] and not taken["left"]
    assert further.figures == start.figures
