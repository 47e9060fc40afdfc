"""Twitter10000: which names have which boxes, how they are scaled, and the published counts."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from mmkit.data.jsonl import read_jsonl, write_jsonl
from mmkit.data.types import Image, Region
from mmkit.loading.split import fingerprints
from mmkit.testing import check_reader
from mmkit_gmner.reader import Twitter10000Reader
from raising import raises

POST = "IMGID:1\nAir\tB-PER\nJordan\tI-PER\nmeets\tO\nParis\tB-LOC\n,\tO\nParis\tB-OTHER\n\n"


def voc(objects: list[tuple[str, tuple[int, ...]]], size: tuple[float, float] = (100, 50)) -> str:
    sides = ("xmin", "ymin", "xmax", "ymax")
    told = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{side}>{at}</{side}>" for side, at in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for name, box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{told}</annotation>"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(
        objects: list[tuple[str, tuple[int, ...]]], photo: tuple[int, int] | None = None, text: str = POST
    ) -> Path:
        for name in ("txt", "xml", "images"):
            (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / "txt" / "a.txt").write_text(text, encoding="utf-8")
        (tmp_path / "xml" / "1.xml").write_text(voc(objects), encoding="utf-8")
        if photo is not None:
            Picture.new("RGB", photo).save(tmp_path / "images" / "1.jpg")
        return tmp_path

    return write


def reader(root: Path, **settings: Any) -> Twitter10000Reader:
    return Twitter10000Reader(str(root), "txt/a.txt", **settings)


def boxes(root: Path, **settings: Any) -> tuple[list[list[tuple[float, ...]]], Counter[str]]:
    own = reader(root, **settings)
    (example,) = own
    assert all(region.image == 0 for span in example.spans for region in span.regions)
    return [[region.box for region in span.regions] for span in example.spans], own.repairs


def test_boxes_belong_to_the_names_with_their_words(written: Callable[..., Path]) -> None:
    root = written([("Paris", (1, 2, 3, 4)), ("Paris", (5, 6, 9, 9)), ("air Jordan", (0, 0, 9, 9))])
    (example,) = reader(root)
    jordan, first, second = example.spans
    assert jordan.regions == ()  # its words are written in another way
    assert first.regions == second.regions == (Region(0, (1, 2, 3, 4)), Region(0, (5, 6, 9, 9)))
    assert example.images == (Image(str(root / "images" / "1.jpg")),)
    _, repairs = boxes(root)
    assert repairs == {"name of boxes that no entity of the post has, so that they are left out": 1}


@pytest.mark.parametrize(
    ("photo", "box", "scaled"),
    [
        (None, (10, 20, 30, 40), 0),
        ((100, 50), (10, 20, 30, 40), 0),
        ((50, 25), (5, 10, 15, 20), 1),
        ((200, 101), (20, 40.4, 60, 80.8), 1),
    ],
)
def test_boxes_are_scaled_to_the_photo(
    written: Callable[..., Path], photo: tuple[int, int] | None, box: tuple[float, ...], scaled: int
) -> None:
    (jordan, *_), repairs = boxes(written([("Air Jordan", (10, 20, 30, 40))], photo))
    assert jordan == [pytest.approx(box)]
    assert repairs == ({"post whose boxes were scaled to the size of its photo": 1} if scaled else {})


def test_a_photo_that_lies_on_its_side_is_read_as_it_is_shown(written: Callable[..., Path]) -> None:
    root = written([("Air Jordan", (10, 20, 30, 40))])
    exif = Picture.Exif()
    exif[0x0112] = 6
    Picture.new("RGB", (50, 100)).save(root / "images" / "1.jpg", exif=exif)
    assert boxes(root)[0][0] == [(10, 20, 30, 40)]


def test_a_photo_of_other_proportions_is_another_photo(written: Callable[..., Path]) -> None:
    with raises("gmner.other-photo", match="100 × 50 pixels.*has 100 × 60"):
        list(reader(written([("Paris", (1, 2, 3, 4))], (100, 60))))
    small = written([("Paris", (1, 2, 3, 4))], (21, 10))  # rounded to whole pixels
    assert boxes(small)[0][1] == [pytest.approx((0.21, 0.4, 0.63, 0.8))]
    own = reader(written([("Paris", (1, 2, 3, 4))], (100, 60)))
    own.errors = []
    assert list(own) == [] and len(own.errors) == 1  # `mmkit check` says all of them


def test_a_side_that_is_less_than_a_pixel_is_no_size(written: Callable[..., Path]) -> None:
    root = written([("Paris", (1, 2, 3, 4))], (50, 25))
    (root / "xml" / "1.xml").write_text(voc([("Paris", (1, 2, 3, 4))], (0.3, 50)), encoding="utf-8")
    (_, paris, _), repairs = boxes(root)
    assert paris == [(1, 2, 3, 4)] and list(repairs.values()) == [1]


def test_blank_photos_keep_their_boxes(written: Callable[..., Path]) -> None:
    root = written([("Paris", (1, 2, 3, 4))], (50, 25))
    (example,) = reader(root, blank_images=True)
    assert example.images == (Image(None),) and example.spans[1].regions == (Region(0, (1, 2, 3, 4)),)


@pytest.mark.parametrize("settings", [{"boxes": None}, {"images": None}])
def test_the_text_alone(written: Callable[..., Path], settings: dict[str, Any]) -> None:
    own = reader(written([("Paris", (1, 2, 3, 4))]), **settings)
    assert not any(span.regions for example in own for span in example.spans)
    assert own.files() == [own.path]
    left = "post whose boxes are left out, because no `images` are read"
    assert own.repairs == ({} if "boxes" in settings else {left: 1})


def test_the_files_that_decide_what_is_read(written: Callable[..., Path]) -> None:
    own = reader(written([], text=POST + POST.replace("IMGID:1", "IMGID:../2")))
    assert own.files() == [own.path, Path(own.root) / "xml" / "1.xml"]
    (Path(own.root) / "2.xml").write_text("<annotation/>", encoding="utf-8")
    assert own.files() == [own.path, Path(own.root) / "xml" / "1.xml"]  # nothing outside the folder


def test_a_folder_without_boxes_is_said(written: Callable[..., Path]) -> None:
    root = written([])
    (root / "xml" / "1.xml").unlink()
    _, repairs = boxes(root)
    assert repairs == {"post, none of which has a file of boxes": 1}
    with raises("file.missing", match="no such folder of boxes"):
        list(reader(root, boxes="no"))


def test_a_post_that_occurs_twice_has_its_boxes_twice(written: Callable[..., Path]) -> None:
    found = list(reader(written([("Paris", (1, 2, 3, 4))], text=POST + POST)))
    assert [example.id for example in found] == ["1", "1#2"]
    assert found[0].spans[1].regions == found[1].spans[1].regions != ()


def test_jsonlines_keep_the_boxes(written: Callable[..., Path], tmp_path: Path) -> None:
    found = list(reader(written([("Paris", (1, 2, 3, 4))], (50, 25))))
    write_jsonl(tmp_path / "out.jsonl", found, "examples")
    (again,) = read_jsonl(tmp_path / "out.jsonl", "examples")
    assert again == found[0] and again.spans[1].regions == found[0].spans[1].regions != ()


CONTEXT = "Air\tO\r\nJordan\tO\nmeets\tO\nParis\tO\n,\tO\nParis\tO\n<EOS>\tX\nAir\tX\nis\tX\n\n"


def test_contexts_belong_to_their_posts(written: Callable[..., Path]) -> None:
    root = written([("Paris", (1, 2, 3, 4))], text=POST + POST)
    bare = CONTEXT.partition("<EOS>")[0] + "\n"
    (root / "contexts.txt").write_text(CONTEXT + bare, encoding="utf-8")
    own = reader(root, contexts="contexts.txt")
    first, second = own
    assert first.notes["gmner.context"] == "Air is" and "gmner.context" not in second.notes
    assert first.spans[1].regions and own.repairs == {
        "post without a context": 1,
        "repeated post given its own id": 1,
    }
    assert root / "contexts.txt" in own.files()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTEXT, "ends before the post 1#2"),
        (CONTEXT + CONTEXT.replace("Paris", "Rome"), r"contexts.txt:11: .*Rome"),
        (CONTEXT * 3, r"contexts.txt:21: .*more posts than the text"),
    ],
)
def test_contexts_of_other_posts_are_refused(
    written: Callable[..., Path], content: str, message: str
) -> None:
    root = written([], text=POST + POST)
    (root / "contexts.txt").write_text(content, encoding="utf-8")
    with raises("gmner.contexts", match=message):
        list(reader(root, contexts="contexts.txt"))


def test_a_post_that_cannot_be_read_has_a_context_too(written: Callable[..., Path]) -> None:
    wrong = POST.replace("B-PER", "I-PER")
    root = written([], text=POST + wrong + POST.replace("Paris", "Rome") + wrong)
    content = CONTEXT + CONTEXT + CONTEXT.replace("Paris", "Rome") + CONTEXT
    for contexts, errors in ((content, 2), (content + CONTEXT, 3)):
        (root / "contexts.txt").write_text(contexts, encoding="utf-8")
        own = reader(root, contexts="contexts.txt", orphan_tags="error")
        own.errors = []
        assert [(x.tokens[3], x.notes["gmner.context"]) for x in own] == [
            ("Paris", "Air is"),
            ("Rome", "Air is"),
        ]
        assert len(own.errors) == errors


def test_a_name_that_no_file_can_have(written: Callable[..., Path]) -> None:
    own = reader(written([], text=POST.replace("IMGID:1", "IMGID:" + "7" * 300)))
    assert own.files() == [own.path]
    with raises("file.unreadable", match="777.xml: the file of boxes cannot be read"):
        list(own)


def test_a_number_sign_in_a_name(written: Callable[..., Path]) -> None:
    root = written([("Paris", (1, 2, 3, 4))], text=POST.replace("IMGID:1", "IMGID:1#b"))
    assert boxes(root)[0] == [[], [], []]  # those of 1.xml are of another post


def test_init_recognizes_the_folder(written: Callable[..., Path]) -> None:
    root = written([("Paris", (1, 2, 3, 4))])
    path, head = root / "txt" / "a.txt", (root / "txt" / "a.txt").read_bytes()
    guess = Twitter10000Reader.recognize(path, head)
    assert guess is not None and guess.settings == {"boxes": str(root / "xml")}
    made = Twitter10000Reader(str(root / "txt"), "a.txt", **guess.settings)
    assert next(iter(made)).spans[1].regions
    shutil.rmtree(root / "xml")
    assert Twitter10000Reader.recognize(path, head) is None


class TextAndBoxes(Twitter10000Reader):
    """Reads its sample without contexts, which would have to fit other texts."""

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        return {split: {**own, "contexts": None} for split, own in super().sample(folder, seed).items()}


def test_the_contract(tmp_path: Path) -> None:
    broken = ["IMGID:1\nword\n\n", "word\tO\n\n"]
    repaired = ["IMGID:1\nword\tI-PER\n\n", "IMGID:1\nIMGID:2\nword\tO\n\n"]
    check_reader("gmner.twitter10000.v1", folder=tmp_path / "all", broken=broken)
    check_reader(TextAndBoxes, folder=tmp_path / "text", repaired=repaired)


def test_in_the_sample_half_of_the_names_are_shown(tmp_path: Path) -> None:
    found = list(Twitter10000Reader(**Twitter10000Reader.sample(tmp_path, 3)["train"]))
    spans = [span for example in found for span in example.spans]
    assert 0.4 < sum(bool(span.regions) for span in spans) / len(spans) < 0.6
    assert any(len(span.regions) > 1 for span in spans)


PUBLISHED = {
    "train": (7000, 112542, 39, 358, 11779, (5019, 3035, 1918, 1807), 4733, (3266, 834, 168, 465)),
    "dev": (1500, 24199, 38, 87, 2450, (1072, 595, 407, 376), 991, (698, 139, 42, 112)),
    "test": (1500, 23738, 40, 82, 2543, (1104, 638, 404, 397), 1046, (711, 181, 40, 114)),
}
BOXES = {"train": (3925, 5652), "dev": (832, 1164), "test": (855, 1242)}


@pytest.mark.real_data
@pytest.mark.parametrize("split", PUBLISHED)
def test_the_published_counts(shared: Path, split: str) -> None:
    own = Twitter10000Reader(str(shared / "data" / "gmner"), f"txt/{split}.txt")
    found = list(own)
    assert not own.repairs
    spans = [span for example in found for span in example.spans]
    seen = [span for span in spans if span.regions]
    types = ("PER", "ORG", "LOC", "OTHER")
    by_type = [Counter(span.label for span in some) for some in (spans, seen)]
    assert PUBLISHED[split] == (
        len(found),
        sum(len(example.tokens) for example in found),
        max(len(example.tokens) for example in found),
        sum(not example.spans for example in found),
        len(spans),
        tuple(by_type[0][label] for label in types),
        len(seen),
        tuple(by_type[1][label] for label in types),
    )
    boxed = [example for example in found if any(span.regions for span in example.spans)]
    distinct = sum(len({r.box for span in example.spans for r in span.regions}) for example in boxed)
    posts, boxes = BOXES[split]
    assert len(boxed) == posts and distinct <= boxes  # boxes of different names may be the same
    assert len(own.files()) == 1 + posts
    assert [file["variant"] for file in fingerprints(own)] == [
        f"Twitter10000 {split}, version 2",
        f"Twitter10000 boxes of {split}, version 2",
    ]


@pytest.mark.real_data
def test_real_photos_fit_their_boxes(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    table = json.loads((data / "photos" / "ritual_to_imgid.json").read_text(encoding="utf-8"))
    photos = {id: data / "photos" / "twitter" / file for file, (*_, id) in table.items()}
    (tmp_path / "images").mkdir()
    for id, photo in photos.items():
        (tmp_path / "images" / f"{id}.jpg").symlink_to(photo)
    scaled, inside = 0, []
    for split in PUBLISHED:
        blocks = (data / "gmner" / "txt" / f"{split}.txt").read_text(encoding="utf-8").split("\n\n")
        own = [b for b in blocks if b.partition("\n")[0].strip().removeprefix("IMGID:") in photos]
        (tmp_path / f"{split}.txt").write_text("\n\n".join([*own, ""]), encoding="utf-8")
        made = Twitter10000Reader(str(tmp_path), f"{split}.txt", boxes=str(data / "gmner" / "xml"))
        for example in made:
            with Picture.open(str(example.images[0].path)) as picture:
                width, height = picture.size
            boxes = [region.box for span in example.spans for region in span.regions]
            inside += [
                0 <= left < right <= width + 1 and 0 <= top < bottom <= height + 1
                for left, top, right, bottom in boxes
            ]
        scaled += made.repairs["post whose boxes were scaled to the size of its photo"]
    assert scaled == 9 and len(inside) >= 9 and all(inside)


@pytest.mark.real_data
@pytest.mark.parametrize(("split", "file"), [("train", "train"), ("dev", "valid"), ("test", "test")])
def test_every_post_has_its_published_context(shared: Path, split: str, file: str) -> None:
    own = Twitter10000Reader(
        str(shared / "data" / "gmner"), f"txt/{split}.txt", boxes=None, contexts=f"contexts/{file}.txt"
    )
    words = sorted(len(example.notes["gmner.context"].split()) for example in own)
    assert len(words) == PUBLISHED[split][0] and not own.repairs
    assert words[len(words) // 2] == pytest.approx(88, abs=2)
