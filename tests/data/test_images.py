from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from mmkit.data.image_report import scan_images
from mmkit.data.images import MAX_PIXELS, content_key, open_bytes, open_image
from mmkit.data.types import Example, Image
from mmkit.errors import ImageError
from mmkit.tasks.drawn import drawn_photos
from raising import raises

RED = (250, 10, 10)


def saved(path: Path, picture: Pillow.Image, **options: object) -> Image:
    picture.save(path, **options)
    return Image(str(path))


def huge(path: Path, width: int, height: int) -> Image:
    """A file whose header claims more pixels than it has."""
    raw = io.BytesIO()
    Pillow.new("1", (8, 8)).save(raw, "PNG")
    header = raw.getvalue()[12:16] + width.to_bytes(4) + height.to_bytes(4) + raw.getvalue()[24:29]
    path.write_bytes(raw.getvalue()[:12] + header + zlib.crc32(header).to_bytes(4) + raw.getvalue()[33:])
    return Image(str(path))


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGB", RED, RED),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (250, 10, 10, 255), RED),
        ("RGBA", (250, 10, 10, 0), (255, 255, 255)),
        ("LA", (0, 0), (255, 255, 255)),
        ("I;16", 65_535, (255, 255, 255)),
        ("I;16", 257 * 100, (100, 100, 100)),
    ],
)
def test_any_mode_becomes_rgb(tmp_path: Path, mode: str, colour: object, seen: tuple[int, ...]) -> None:
    picture = open_image(saved(tmp_path / "p.png", Pillow.new(mode, (4, 3), colour)))  # type: ignore[arg-type]
    assert (picture.mode, picture.size) == ("RGB", (4, 3))
    assert picture.getpixel((0, 0)) == seen


def test_palettes_cmyk_and_animations_become_rgb(tmp_path: Path) -> None:
    red, blue = Pillow.new("RGB", (4, 4), (255, 0, 0)), Pillow.new("RGB", (4, 4), (0, 0, 255))
    first = open_image(saved(tmp_path / "p.gif", red, save_all=True, append_images=[blue]))
    assert first.getpixel((0, 0)) == (255, 0, 0)
    palette = saved(tmp_path / "p.png", red.convert("P", palette=Pillow.Palette.ADAPTIVE), transparency=0)
    assert open_image(palette).getpixel((0, 0)) == (255, 255, 255)
    cmyk = open_image(saved(tmp_path / "p.jpg", red.convert("CMYK"), quality=100))
    assert np.allclose(cmyk.getpixel((0, 0)), (255, 0, 0), atol=6)


def test_pictures_are_turned_upright_before_they_are_cropped(tmp_path: Path) -> None:
    picture = Pillow.new("RGB", (40, 20), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 10, 20))  # the left quarter, on top once turned
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    image = saved(tmp_path / "p.png", picture, exif=exif)
    assert open_image(image).size == (20, 40)
    top = open_image(Image(image.path, box=(0.0, 0.0, 20.0, 10.0)))
    assert top.size == (20, 10)
    assert np.asarray(top).min() == 255


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((1, 1, 3, 2), (2, 1)),
        ((-5.0, -5.0, 2.5, 99.0), (3, 3)),
        ((1.2, 0.2, 1.4, 0.4), (1, 1)),
        ((0, 0, 1e300, 1), (4, 1)),
    ],
)
def test_a_box_is_clipped_to_the_picture(
    tmp_path: Path, box: tuple[float, ...], size: tuple[int, int]
) -> None:
    image = saved(tmp_path / "p.png", Pillow.new("RGB", (4, 3)))
    assert open_image(Image(image.path, "object", box)).size == size  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "box", [(4, 0, 9, 3), (2, 2, 1, 1), (float("nan"), 0, 1, 1), (0, 0, float("inf"), 1)]
)
def test_a_box_without_pixels_is_an_error(tmp_path: Path, box: tuple[float, float, float, float]) -> None:
    image = saved(tmp_path / "p.png", Pillow.new("RGB", (4, 3)))
    with raises("image.empty-box", match="holds no pixel of a 4×3 image"):
        open_image(Image(image.path, "object", box))


def test_a_box_in_fractions_is_an_error(tmp_path: Path) -> None:
    image = saved(tmp_path / "p.png", Pillow.new("RGB", (4, 3)))
    with raises("image.box", match="fractions of the image"):
        open_image(Image(image.path, "object", (0.1, 0.1, 0.5, 0.5)))
    assert open_image(Image(image.path, "object", (0, 0, 1, 1))).size == (1, 1)


@pytest.fixture
def jpeg() -> bytes:
    raw = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(raw, "JPEG")
    return raw.getvalue()


def test_broken_files_say_what_is_wrong(tmp_path: Path, jpeg: bytes) -> None:
    contents = {
        "empty": b"",
        "text": b"<html>not found</html>",
        "cut": jpeg[: len(jpeg) // 2],
        "head": jpeg[:30],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    messages = {"empty": "empty", "text": "not an image", "cut": "truncated", "head": "not an image|broken"}
    for name, message in messages.items():
        with pytest.raises(ImageError, match=f"{name}: .*({message})"):
            open_image(Image(str(tmp_path / name)))
    with raises("image.missing"):
        open_image(Image(str(tmp_path / "missing")))
    with raises("image.blank"):
        open_image(Image(None))
    for odd in (str(tmp_path), "a\0b", "\ud800"):
        with pytest.raises(ImageError):
            open_image(Image(odd))


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_hundred_megapixels_are_refused_by_the_header(tmp_path: Path, side: int) -> None:
    image = huge(tmp_path / "p.png", side, side)
    with raises("image.too-large", match=f"more than {MAX_PIXELS // 1_000_000} megapixels"):
        open_image(image)
    assert scan_images([Example.from_tokens("1", [], images=(image,))]).broken == 1


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_damaged_files_are_read_or_refused(tmp_path: Path, jpeg: bytes, at: int, damage: bytes) -> None:
    at %= len(jpeg)
    (tmp_path / "p.jpg").write_bytes(jpeg[:at] + damage + jpeg[at + len(damage) :])
    try:
        assert open_image(Image(str(tmp_path / "p.jpg"))).mode == "RGB"
    except ImageError as error:
        assert error.where == str(tmp_path / "p.jpg")


def test_equal_content_and_box_mean_equal_keys(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.png", Pillow.new("RGB", (4, 4), RED))
    same = saved(tmp_path / "b.png", Pillow.new("RGB", (4, 4), RED))
    other = saved(tmp_path / "c.png", Pillow.new("RGB", (4, 4), "blue"))
    assert content_key(one) == content_key(same) != content_key(other)
    cropped = Image(one.path, "object", (0, 0, 2, 2))
    assert content_key(cropped) == content_key(Image(same.path, "photo", (0.0, 0.0, 2.0, 2.0)))
    assert len({content_key(one), content_key(cropped), content_key(Image(one.path, box=(0, 0, 2, 3)))}) == 3
    assert content_key(Image(None)) == content_key(Image(None, "object")) == "blank"
    for missing in (str(tmp_path / "missing.png"), "a\0b"):
        with pytest.raises(ImageError):
            content_key(Image(missing))


def test_a_file_written_anew_gets_a_new_key(tmp_path: Path) -> None:
    image = saved(tmp_path / "a.png", Pillow.new("RGB", (4, 4), RED))
    before = content_key(image)
    saved(tmp_path / "a.png", Pillow.new("RGB", (40, 40), RED))
    assert content_key(image) != before


def test_a_scan_counts_files_and_names_the_first_few(tmp_path: Path, jpeg: bytes) -> None:
    good = saved(tmp_path / "good.png", Pillow.new("RGB", (4, 4)))
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    bad = [Image(str(tmp_path / name)) for name in ("empty.jpg", "cut.jpg", "text.jpg")]
    missing = [Image(str(tmp_path / f"{i}.jpg")) for i in range(5)]
    examples = [
        Example.from_tokens("1", [], images=(good, *bad)),
        Example.from_tokens("2", [], images=(good, *missing, Image(None))),
    ]
    report = scan_images(examples)
    assert report.counts() == {"present": 2, "missing": 5, "empty": 1, "broken": 1, "blank": 1}
    assert (report.bad, report.total) == (7, 9)
    assert report.names["missing"] == [i.path for i in missing]
    assert f"5 missing: {missing[0].path}, " in report.faults()
    assert f"1 empty: {bad[0].path};" in report.faults()
    assert (
        f"1 broken: {bad[2].path} (the file is text, not an image → download the image again)"
        in report.faults()
    )
    assert report.summary() == "9 files: 2 readable, 5 missing, 1 empty, 1 broken; 1 blank"
    assert scan_images(examples, decode=True).counts()["broken"] == 2
    assert scan_images([]).summary() == "none"
    assert scan_images([Example.from_tokens("3", [], images=(good,))]).summary() == "1 file, all readable"
    assert scan_images([]).counts() == dict.fromkeys(("present", "missing", "empty", "broken", "blank"), 0)


def test_no_comment_and_no_exif_stays(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x010E] = "secret place"
    path = tmp_path / "1.jpg"
    Pillow.new("RGB", (8, 8)).save(path, comment=b"secret name", exif=exif)
    assert b"secret name" in path.read_bytes() and b"secret place" in path.read_bytes()
    for image in (Image(str(path)), Image(str(path), box=(0, 0, 4, 4))):
        assert open_image(image).info == {}
    shown = drawn_photos([str(path)], (), ())
    copy = base64.b64decode(shown.partition("base64,")[2].partition('"')[0])
    assert copy.startswith(b"\xff\xd8") and b"secret" not in copy


def test_a_file_in_memory_is_read_as_one_on_disk(tmp_path: Path) -> None:
    turned = Pillow.Exif()
    turned[0x0112] = 6
    picture = Pillow.new("RGB", (30, 20), RED)
    picture.putpixel((0, 0), (0, 0, 250))
    image = saved(tmp_path / "photo.png", picture, exif=turned)
    content = (tmp_path / "photo.png").read_bytes()
    assert open_bytes(content, "a photo").size == (20, 30)
    assert open_bytes(content, "a photo").tobytes() == open_image(image).tobytes()


def test_limits_hold_in_memory_too(tmp_path: Path) -> None:
    huge(tmp_path / "huge.png", 10_000, 10_000)
    for code, content in (
        ("image.too-large", (tmp_path / "huge.png").read_bytes()),
        ("image.empty", b""),
        ("image.format", b"%PDF-1.7"),
    ):
        with raises(code, match="a photo"):
            open_bytes(content, "a photo")
