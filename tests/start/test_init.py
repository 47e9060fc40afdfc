"""`mmkit init`: from a folder as people have it to a recipe that `mmkit check` accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import catalogue
import pytest

from initialized import refused, run, started
from mmkit import registry
from mmkit.data.jsonl import write_jsonl
from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Guess, Reader
from mmkit.data.types import Example, Image, Span
from mmkit.loading.splits import read_split
from mmkit.recipe import Recipe
from own_folders import by_characters, by_tokens, draw, jsonl, posts


def sizes(recipe: Recipe) -> dict[str, int]:
    return {split: len(read_split(recipe, split).examples) for split in recipe.parts("data")}


# -- one's own posts -----------------------------------------------------------------------------------------


def test_one_file_with_photos_beside_it(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts(pictures="")))
    draw(here / "mine")
    recipe, said = started("mine")
    assert recipe.part("data.train", "readers") == "mmkit.jsonl.v1"
    assert recipe.config["data"]["shares"] == {"train": 70, "dev": 15, "test": 15}
    assert sum(sizes(recipe).values()) == 60
    assert all(sizes(recipe).values())
    assert recipe.config["model"]["decoder"]["types"] == ["LOC", "PER", "ORG"]
    assert "task: entities; posts: train" in said
    assert "pictures: found for all 60 posts" in said
    assert "split by a hash of each text" in said
    text = Path("mine.cfg").read_text()
    assert all(
        line in text.replace("\n#   ", " ") for line in said.splitlines()[:-2]
    )  # the comment says the same


def test_what_init_writes_passes_check_and_trains(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts()))
    draw(here / "mine" / "photos")
    started("mine")
    checked = run("check", "mine.cfg", "--tiny")
    assert checked.exit_code == 0, checked.output
    assert "ready to train" in checked.stdout
    trained = run("train", "mine.cfg", "--tiny", "--quiet", "--training.epochs", "3", "--output", "runs/a")
    assert trained.exit_code == 0, trained.output
    assert "mine (tiny): completed" in trained.stdout


def test_three_files_by_characters_without_a_header(here: Path) -> None:
    all_posts = posts()
    for name, some in (("training", all_posts[:40]), ("valid", all_posts[40:50]), ("test", all_posts[50:])):
        jsonl(here / "mine" / f"{name}.jsonl", map(by_characters, some))
    draw(here / "mine" / "photos")
    recipe, _ = started("mine")
    assert recipe.config["data"]["shares"] is None
    assert sizes(recipe) == {"train": 40, "dev": 10, "test": 10}
    assert recipe.config["data"]["dev"]["file"] == "valid.jsonl"


def test_train_and_test_without_dev(here: Path) -> None:
    jsonl(here / "mine" / "train.jsonl", map(by_tokens, posts()[:50]))
    jsonl(here / "mine" / "test.jsonl", map(by_tokens, posts()[50:]))
    recipe, _ = started("mine", "--paper", "text-only")
    assert list(recipe.config["data"]["shares"]) == ["train", "dev"]
    found = sizes(recipe)
    assert found["train"] + found["dev"] == 50
    assert found["test"] == 10


def test_folders_may_name_the_splits(here: Path) -> None:
    for split, some in (("train", posts()[:40]), ("dev", posts()[40:])):
        jsonl(here / "mine" / split / "posts.jsonl", map(by_tokens, some))
    draw(here / "mine" / "photos")
    recipe, said = started("mine")
    assert sizes(recipe) == {"train": 40, "dev": 20}
    assert "found for all 60 posts" in said  # their paths are relative to the folder above


def test_a_file_in_place_of_a_folder(here: Path) -> None:
    jsonl(here / "mine" / "test.jsonl", map(by_tokens, posts()))
    jsonl(here / "mine" / "other.jsonl", map(by_tokens, posts()))
    draw(here / "mine" / "photos")
    recipe, _ = started("mine/test.jsonl")
    assert {s["file"] for s in recipe.config["data"].values() if isinstance(s, dict) and "file" in s} == {
        "test.jsonl"
    }


def test_pictures_elsewhere(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts(pictures="pics")))
    draw(here / "disk" / "pics")
    recipe, said = started("mine", "--images", "disk")
    assert "found for all 60 posts" in said
    assert read_split(recipe, "train").examples[0].images[0].path.endswith(".png")


def test_pictures_that_are_not_taken_from_the_folder_that_is_named(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts(pictures="pics")))
    draw(here / "mine" / "pics")
    draw(here / "other")
    assert (
        "--images other is not used: posts find pictures without it, such as mine/pics/"
        in started("mine", "--images", "other")[1]
    )
    assert "not used" not in started("mine", "--images", "mine/pics")[1]


def test_pictures_that_no_post_names(here: Path) -> None:
    draw(here / "mine" / "pics")
    name, *others = sorted(file.name for file in (here / "mine" / "pics").iterdir())
    unused = f"no post names a picture, so the {len(others) + 1} pictures in mine/pics are not used"
    comment = f"# image = pics/{name}\n"
    for before, told in ((comment, f"pics/{name}"), ("", "")):
        rows = (f"{before}Mara\tB-PER\nsings\tO\nsong\tO\n{i}\tO\n\n" for i in range(40))
        (here / "mine" / "train.txt").write_text("".join(rows), encoding="utf-8")
        said = " ".join(started("mine", "--force")[1].split())
        assert unused in said
        assert (
            f"but train.txt has {told!r}: a picture's name belongs" in said
            if told
            else "but train.txt" not in said
        )


def test_a_relation_of_each_post(here: Path) -> None:
    lines = [
        {
            "token": list(p.tokens),
            "h": {"name": p.tokens[2], "pos": [2, 3]},
            "t": {"name": "Rome", "pos": [4, 5]},
            "img_id": f"{i}.png",
            "relation": "no_relation" if i % 2 else "seen_at",
        }
        for i, p in enumerate(posts())
    ]
    (here / "mine").mkdir()
    (here / "mine" / "pairs.txt").write_text("".join(f"{line}\n" for line in lines))
    draw(here / "mine" / "img")
    recipe, said = started("mine")
    assert "task: relations" in said
    assert recipe.config["data"]["train"]["images"] == "img"
    assert recipe.config["metrics"]["relations"]["none_label"] == "no_relation"
    assert recipe.build("model.decoder").task.name == "relations"
    assert "no_relation is taken to mean that there is no relation" in said
    lines[0]["relation"] = lines[2]["relation"] = "Other"
    (here / "mine" / "pairs.txt").write_text("".join(f"{line}\n" for line in lines))
    recipe, said = started("mine")
    assert "may mean that there is no relation" in said
    assert recipe.config["metrics"]["relations"]["none_label"] == "None"


def test_entities_and_relations_together(here: Path) -> None:
    write_jsonl(here / "posts.jsonl", posts(relations=True), "examples")
    draw(here / "photos")
    recipe, said = started(".")
    assert recipe.build("model.decoder").task.name == "entities and relations"
    assert recipe.config["model"]["decoder"]["relations"] == ["seen_at"]
    assert "the model is that of TESGA" in said
    only, _ = started(".", "--task", "entities")
    assert only.build("model.decoder").task.name == "entities"


def test_mentions_and_a_knowledge_base(here: Path) -> None:
    mentions = [
        {
            "text": p.text,
            "mention": {
                "text": p.tokens[2],
                "span": {"start_char": 7, "end_char": 7 + len(p.tokens[2]), "label": "m"},
            },
            "entity": f"Q{i % 3}",
        }
        for i, p in enumerate(posts())
    ]
    jsonl(here / "mine" / "mentions.jsonl", mentions)
    jsonl(
        here / "mine" / "kb.jsonl",
        [
            {"format": 2, "kind": "entities"},
            *({"id": f"Q{i}", "name": n} for i, n in enumerate(["Jordan", "Paris", "Nike"])),
        ],
    )
    recipe, said = started("mine")
    assert "task: links" in said
    assert recipe.part("data.entities", "readers") == "mmkit.kb_jsonl.v1"
    (here / "mine" / "kb.jsonl").rename(here / "kb.jsonl")
    assert "--entities FILE" in refused("mine", "--output", "other.cfg")
    assert started("mine", "--entities", "kb.jsonl")[0].config["data"]["entities"]["file"] == "kb.jsonl"


def test_columns_with_and_without_images(here: Path) -> None:
    rows = [
        "".join(
            f"{t}\t{tag}\n"
            for t, tag in zip(p.tokens, ["O", "O", "B-PER", "O", "B-LOC", *["O"] * 9], strict=False)
        )
        for p in posts()
    ]
    (here / "mine").mkdir()
    (here / "mine" / "tweets.txt").write_text("\n".join(f"IMGID:{i}\n{r}" for i, r in enumerate(rows)))
    draw(here / "mine" / "pics")
    recipe, said = started("mine")
    assert recipe.part("data.train", "readers") == "mmkit.conll_images.v1"
    assert recipe.config["data"]["train"]["images"] == "pics"
    assert "found for all 60" in said
    (here / "plain").mkdir()
    (here / "plain" / "corpus.conll").write_text("\n".join(rows))
    recipe, said = started("plain")
    assert sum(sizes(recipe).values()) == 60
    assert "the model is that of text-only, because the posts have no pictures" in said


@pytest.fixture
def captions() -> Iterator[None]:
    """A reader of somebody else's package, for lines of `photo TAB words`, the first of which is a person."""
    before = dict(catalogue.REGISTRY)

    @registry.readers.register("t.captions.v1")
    class Captions(Reader):
        """Captions."""

        pictures_in = "photos"

        def __init__(self, root: str, file: str, blank_images: bool = False, photos: str = "photos") -> None:
            super().__init__(root, file, blank_images)
            self.photos = photos

        def __iter__(self) -> Iterator[Example]:
            for number, line in numbered_lines(self.path, self.source, self.repairs):
                photo, _, caption = line.partition("\t")
                images = () if self.blank_images else (Image(str(Path(self.root, self.photos, photo))),)
                spans = (Span(0, 1, "PER"),)
                yield Example.from_tokens(str(number), caption.split(), images=images, spans=spans)

        @classmethod
        def recognize(cls, path: Path, head: bytes) -> Guess | None:
            return Guess("captions") if path.suffix == ".captions" and head else None

    yield
    catalogue.REGISTRY.clear()
    catalogue.REGISTRY.update(before)


def test_a_reader_of_another_package_is_asked_too(here: Path, captions: None) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "all.captions").write_text(
        "".join(f"{i}.png\t{p.tokens[2]} in {i}\n" for i, p in enumerate(posts()))
    )
    draw(here / "mine" / "jpegs" / "small")
    recipe, said = started("mine")
    assert "read as captions (t.captions.v1)" in said
    assert recipe.config["data"]["train"]["photos"] == "jpegs/small"
    assert "found for all 60 posts" in said


def test_json_is_recognized_by_its_content_not_its_name(here: Path) -> None:
    tasks = [
        {
            "text": p.text,
            "img_id": f"{i}.png",
            "triple_list": [[p.tokens[2], "seen_at", "Rome", "per", "loc"]],
            "ent_pair_list": [[[2, 3], [4, 5]]],
        }
        for i, p in enumerate(posts())
    ]
    (here / "mine").mkdir()
    (here / "mine" / "export.txt").write_text(json.dumps(tasks))
    recipe, _ = started("mine")
    assert recipe.part("data.train", "readers") == "mmkit.jmere.v1"


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "task", "said"),
    [
        pytest.param(
            "cp_mner", "entities", "pictures are missing for 4 of 1,188 posts", marks=pytest.mark.matrix
        ),
        ("twitter2017", "entities", "task: entities; posts: train 3,373, dev 723, test 723"),
        ("mnre", "relations", "task: relations; posts: train 12,247, dev 1,624, test 1,614"),
        pytest.param(
            "mel/wikimel.json",
            "links",
            "task: links; posts: train 20,574, dev 2,634, test 2,638",
            marks=pytest.mark.matrix,
        ),
    ],
)
def test_published_data(here: Path, shared: Path, folder: str, task: str, said: str) -> None:
    recipe, found = started(str(shared / "data" / folder))
    assert said in found
    assert recipe.build("model.decoder").task.name == task
