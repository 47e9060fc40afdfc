"""What a model leaves unread is said and counted: text beyond the length limit, photos that it never looks at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image as Pillow

from mmkit.checking.check import check
from mmkit.checking.unread import unread, unread_entities
from mmkit.cli import main
from mmkit.data.problems import Problem
from mmkit.data.types import CUT, Entity, Example, Image, Mention, Relation, Span, TextView
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit.encoders.blip_multimodal import BlipMultimodalEncoder
from mmkit.encoders.blip_sample import write_tiny_blip
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit.encoders.clip_text import ClipTextEncoder
from mmkit.encoders.cut import Cut, cut_at
from mmkit.encoders.texts import cutting
from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.encoders.transformer_texts import TransformerTexts
from mmkit.entities.side import EntitySide
from mmkit.fusers.side_by_side import SideBySide
from mmkit.hooks import hookimpl
from mmkit.inference.evaluate import evaluate
from mmkit.inference.predictor import load
from mmkit.model import make_items, unseen
from mmkit.recipe import Recipe, load_recipe
from mmkit.scorers.cosine import CosineScorer
from mmkit.training.train import train

WORDS = ["look", "at", "Mara", "Okafor", "in", "Lisbon"]

RECIPE = """
[recipe]
format = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "."
file = "train.jsonl"

[data.dev]
@readers = "mmkit.jsonl.v1"
root = "."
file = "dev.jsonl"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "bert"
max_length = 16

[model.encoders.vision]
@encoders = "mmkit.timm.v1"
name = "timm"

[model.fuser]
@fusers = "mmkit.concat.v1"

[model.decoder]
@decoders = "mmkit.crf_tagger.v1"

[metrics.spans]
@metrics = "mmkit.span_f1.v1"

[training]
epochs = 1
score = "spans.f1"
"""


def post(id: str, before: int = 0, *images: str) -> dict[str, Any]:
    """A sentence with two spans, behind so many other words."""
    spans = [(before + 2, before + 4, "PER"), (before + 5, before + 6, "LOC")]
    told = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    return {"id": id, "tokens": ["at"] * before + WORDS, "spans": told, "images": list(images)}


def write(path: Path, *records: dict[str, Any]) -> None:
    lines = [{"format": 1, "kind": "examples"}, *records]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    example = Example.from_tokens("x", WORDS * 2)
    TransformerEncoder.sample(folder / "bert", 1, [example])
    TimmEncoder.sample(folder / "timm", 1, [example])
    return folder


@pytest.fixture(scope="module")
def recipe(models: Path) -> Callable[..., Recipe]:
    """A recipe whose training posts are: short with one photo, long, with three photos, without a photo."""
    for name in ("red", "green", "blue"):
        Pillow.new("RGB", (32, 32), name).save(models / f"{name}.png")
    write(
        models / "train.jsonl",
        *(post(f"short{i}", 0, "red.png") for i in range(4)),
        post("long0", 20, "red.png"),
        post("long1", 10, "red.png"),  # of which the second span is cut off
        post("three", 0, "red.png", "blue.png", "green.png"),
        post("none"),
    )
    write(models / "dev.jsonl", post("dev0", 0, "red.png"), post("dev1", 30, "red.png", "blue.png"))
    (models / "mine.cfg").write_text(RECIPE, encoding="utf-8")

    def load(**settings: Any) -> Recipe:
        at = {f"data.{split}.root": str(models) for split in ("train", "dev")}
        names = {
            f"model.encoders.{n}.name": str(models / d) for n, d in (("text", "bert"), ("vision", "timm"))
        }
        return load_recipe(models / "mine.cfg", {**at, **names, **settings})

    return load


class Heard:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        self.notes.append(message)


LOST = "2 of 8 texts are longer than model.encoders.text can read (16 subwords): 3 of 16 spans are cut off"
NEVER = "never reads 2 of 9 photos, those after the first ones of 1 example: "
BLANK = "1 example has no image that the model reads; a blank image is used"


@pytest.fixture(scope="module")
def run(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of the recipe, and what training noted."""
    folder, heard = tmp_path_factory.mktemp("runs") / "run", Heard()
    train(recipe(), folder, device="cpu", hooks=[heard])
    return folder, heard.notes


def test_check_and_train_and_evaluate_say_the_same(
    recipe: Callable[..., Recipe], run: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, notes = run
    report = check(recipe())["train"]
    for wanted in (LOST, NEVER):
        [warning] = [w for w in report.warnings if wanted in w]
        assert f"data.train: warning: {warning}" in notes
    told = "".join(report.warnings)
    assert "(long0)" in told and "(long1)" in told and "window_overlap" in told
    [remark] = [line for line in report.lines if BLANK in line]
    assert f"data.train: {remark}" in notes
    heard = Heard()
    evaluate(folder, "dev", device="cpu", output=tmp_path, hooks=[heard])
    [told] = [note for note in heard.notes if "2 of 4 spans are cut off" in note]
    assert told in notes, "of the development set, which training scores too"
    assert any("1 of 3 photos" in note for note in heard.notes)


def test_nothing_is_said_where_all_is_read(recipe: Callable[..., Recipe], models: Path) -> None:
    write(models / "short.jsonl", *(post(f"s{i}", 0, "red.png") for i in range(3)))
    report = check(recipe(**{"data.train.file": "short.jsonl", "data.dev.file": "short.jsonl"}))["train"]
    assert not report.warnings and not report.lines
    windows = check(recipe(**{"model.encoders.text.window_overlap": 4}))["train"]
    assert not any("cut off" in warning for warning in windows.warnings)


def test_an_answer_says_what_was_not_read(run: tuple[Path, list[str]], models: Path) -> None:
    predictor = load(run[0], device="cpu")
    tokens = ["at"] * 30
    photos = [models / "red.png", models / "blue.png", models / "green.png"]
    answer = predictor.predict(tokens, photos)
    [unread] = answer.unread
    assert (unread.encoder, unread.limit, unread.token, unread.char) == ("text", 16, 14, 14 * 3)
    assert answer.unread_images == (1, 2) and not answer.without_image
    assert answer.to_dict()["unread"] == [{"encoder": "text", "limit": 16, "token": 14, "char": 42}]
    assert answer.to_dict()["unread_images"] == [1, 2] and answer.notes == {}
    html = predictor.task.html(answer)
    assert "from token 14" in html and html.count("not looked at") == 2
    bare = predictor.predict("look at Mara")
    assert bare.without_image and not bare.unread and not bare.unread_images
    whole = predictor.predict("look at Mara", [models / "red.png"])
    assert not {"unread", "unread_images", "without_image"} & set(whole.to_dict())
    [prediction] = predictor.predict_batch([Example.from_tokens("x", tokens)])
    assert prediction.notes[CUT] == [{"encoder": "text", "limit": 16, "token": 14}]


def test_the_command_says_it(run: tuple[Path, list[str]], models: Path, tmp_path: Path) -> None:
    call = ["predict", str(run[0]), "--device", "cpu"]
    red, blue = ("--image", str(models / "red.png")), ("--image", str(models / "blue.png"))
    shown = CliRunner().invoke(main, [*call, "--text", "at " * 30, *red, *blue]).output
    assert "the last 16 words" in shown and "token 14 (character 42)" in shown
    assert shown.count("not looked at by this model") == 1
    assert "a blank image was used" in CliRunner().invoke(main, [*call, "--text", "look at Mara"]).output
    done = CliRunner().invoke(
        main, [*call, "--input", str(models / "train.jsonl"), "--output", str(tmp_path / "found.jsonl")]
    )
    assert "2 of 8 texts are longer than model.encoders.text can read" in done.output
    assert "did not look at 2 of the photos" in done.output and "1 of 8 examples had no image" in done.output
    records = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [r["id"] for r in records if "unread" in r] == ["long0", "long1"]


# The kinds of texts


def said(
    items: list[Any], decoder: Any, encoders: dict[str, Any], **more: Any
) -> tuple[list[str], list[str]]:
    """Warnings and remarks."""
    found = unread(items, decoder, encoders, **more)
    warnings = [one.said({}) for one in found if isinstance(one, Problem)]
    return warnings, [one for one in found if isinstance(one, str)]


def items_of(decoder: Any, encoders: dict[str, Any], *examples: Example) -> list[Any]:
    for encoder in encoders.values():
        assert encoder.build_tokenizer(decoder.special_tokens)
    return make_items(decoder, encoders, examples)


def test_pairs_beyond_the_limit(models: Path) -> None:
    encoder = TransformerEncoder(str(models / "bert"), max_length=16)

    def pair(id: str, head: int, tail: int) -> Example:
        return Example.from_tokens(
            id,
            WORDS * 5,
            relations=(Relation(Span(head, head + 1, "PER"), Span(tail, tail + 1, "LOC"), "in"),),
        )

    decoder = PairClassifier()
    items = items_of(decoder, {"text": encoder}, pair("both", 20, 25), pair("tail", 2, 25), pair("ok", 2, 5))
    assert [set(item.cut) for item in items] == [{"text"}] * 3
    warnings, remarks = said(items, decoder, {"text": encoder})
    [warning] = warnings
    assert "2 of 3 relations are cut off" in warning and "window" not in warning
    assert not remarks


def test_a_context_behind_the_sentence(models: Path) -> None:
    encoder = TransformerEncoder(str(models / "bert"), max_length=16)
    example = Example.from_tokens("x", WORDS, spans=(Span(2, 4, "PER"),))

    class WithContext(CrfTagger):
        def views(self, example: Example) -> dict[str, TextView]:
            own = len(example.tokens)
            return {"text": TextView((*example.tokens, *["at"] * 20), (*range(own), *[-1] * 20))}

    decoder = WithContext()
    items = items_of(decoder, {"text": encoder}, example)
    assert items[0].cut == {"text": Cut(16, context=True, words=True)}
    warnings, remarks = said(items, decoder, {"text": encoder})
    assert not warnings and "1 further text" in remarks[0] and "read completely" in remarks[0]


@pytest.mark.parametrize(
    ("source", "mention", "text", "expected"),
    [
        ("sentence", "Mara", "at " * 20 + "Mara", Cut(16, 14, mention=True)),
        ("sentence", "Mara", "Mara" + " at" * 20, Cut(16, 14)),
        ("mention_sentence", "Mara", "Mara" + " at" * 20, Cut(16, 12)),
        ("mention_sentence", " ".join(["at"] * 20), "Mara", Cut(16, 0, mention=True)),
        ("mention", " ".join(["at"] * 20), "Mara", Cut(16, mention=True)),
        ("note:context", "Mara", "Mara", Cut(16, context=True)),
        ("sentence", "Mara", "Mara at Lisbon", None),
    ],
)
def test_mentions_of_linking(
    models: Path, source: str, mention: str, text: str, expected: Cut | None
) -> None:
    tokens = text.split()
    at = tokens.index("Mara")
    example = Example.from_tokens(
        "x",
        tokens,
        mention=Mention(mention, Span(at, at + 1, "mention")),
        entity="Q1",
        notes={"context": "at " * 30},
    )
    encoder = TransformerTexts(str(models / "bert"), source, max_length=16)
    decoder = EntityMatcher("entity")
    [item] = items_of(decoder, {"mention": encoder}, example)
    assert item.cut == ({} if expected is None else {"mention": expected})
    warnings, remarks = said([item], decoder, {"mention": encoder})
    lost = expected is not None and expected.mention
    assert any("the words of 1 of 1 mentions are cut off" in warning for warning in warnings) is lost
    assert bool(remarks) is (expected is not None and not lost)


def test_clip_and_blip_say_what_they_cut(tmp_path: Path) -> None:
    example = Example.from_tokens("x", WORDS * 20)
    clip = ClipTextEncoder(str(write_tiny_clip(tmp_path / "clip", 1, [example])), "sentence", max_length=20)
    blip = BlipMultimodalEncoder(str(write_tiny_blip(tmp_path / "blip", 1, [example])), max_length=20)
    for encoder in (clip, blip):
        assert encoder.build_tokenizer()
        cut = encoder.cut(example, {})
        assert cut is not None and cut.limit == 20 and not cut.words
        assert cut.token is not None and 0 < cut.token <= 20
        assert encoder.cut(Example.from_tokens("x", WORDS[:2]), {}) is None


def test_a_text_is_cut_where_its_tokens_end(models: Path) -> None:
    encoder = TransformerTexts(str(models / "bert"), "sentence", max_length=16)
    encoder.build_tokenizer()
    tokenizer = cutting(encoder.tokenizer, 8)
    for text in ("at at at at at at", "é at at at at at"):
        assert cut_at(tokenizer, text) is None
        assert cut_at(tokenizer, f"{text} at") == len(text)


# Pictures


def test_pictures_that_an_encoder_looks_at(models: Path) -> None:
    photos = [Image(f"{i}.jpg") for i in range(3)]
    crop, blank = Image("crop.jpg", "object"), Image(None)

    def of(*images: Image) -> Example:
        return Example.from_tokens("x", WORDS, images=images)

    text, timm = TransformerEncoder("bert"), TimmEncoder("timm")
    crops = ClipImageEncoder("clip", "objects", slots=2)
    assert unseen([text], of(photos[0])).left == (0,) and not unseen([text], of(photos[0])).looks
    assert unseen([text, timm], of(blank, *photos, crop)).left == (1, 2, 3, 4)
    assert unseen([text, timm], of(*photos, crop)).left == (1, 2, 3)
    assert unseen([timm, crops], of(photos[0], crop)).left == ()
    # Of the first photo, a box is looked at.
    box = Image("0.jpg", "object", (1, 1, 5, 5))
    assert unseen([crops], of(photos[0], photos[1], box)).left == (1,)
    assert unseen([timm], of()).blank and unseen([timm], of(blank)).blank
    assert not unseen([text], of()).blank

    class Unknown(TransformerEncoder):
        def pictures_read(self, example: Example) -> None:
            return None

    assert unseen([Unknown("bert"), timm], of(*photos)).left == (), "nothing is said that is not known"


def test_a_text_model_beside_photos(recipe: Callable[..., Recipe], models: Path) -> None:
    """It looks at none, which is no mistake; with an annotator that may look at them nothing is said."""
    text = TransformerEncoder(str(models / "bert"))
    examples = [Example.from_tokens(str(i), WORDS, images=(Image("a.jpg"),)) for i in range(3)]
    items = items_of(CrfTagger(), {"text": text}, *examples)
    warnings, remarks = said(items, CrfTagger(), {"text": text})
    assert not warnings and remarks == ["the model reads none of the 3 photos"]
    assert said(items, CrfTagger(), {"text": text}, annotated=True) == ([], [])


def test_long_texts_and_further_images_of_entities(models: Path) -> None:
    texts = TransformerTexts(str(models / "bert"), "description", max_length=16)
    photos = ClipImageEncoder("clip", slots=1)
    side = EntitySide({"texts": texts, "photos": photos}, SideBySide(["texts", "photos"]), CosineScorer())
    assert texts.build_tokenizer()
    images = (Image("a.jpg"), Image("b.jpg"))
    entities = [
        Entity("Q1", "Mara", description="at " * 30),
        Entity("Q2", "Mara", description="at", images=images),
        Entity("Q3", "Mara", description="at", images=images[:1]),
    ]
    remark, problem = unread_entities(side, entities)
    assert remark == "model.entities.encoders.texts reads only the beginning of the texts of 1 of 3 entities"
    assert isinstance(problem, Problem) and "never reads 1 image of 1 of 3 entities" in problem.what
    assert unread_entities(side, entities[2:]) == [] and unread_entities(None, entities) == []


def test_a_recipe_with_windows(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """It trains and predicts on long texts beside short ones, and reads all of them."""
    settings = {"model.encoders.text.window_overlap": 4, "data.dev.file": "train.jsonl"}
    heard = Heard()
    train(recipe(**settings), tmp_path / "run", device="cpu", hooks=[heard])
    assert not any("cut off" in note for note in heard.notes)
    predictor = load(tmp_path / "run", device="cpu")
    long = predictor.predict(["at"] * 30 + WORDS)
    assert not long.unread and len(long.tokens) == 36
