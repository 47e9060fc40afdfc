"""Image files from anywhere: odd but sound ones are read, and what is no picture is told by its right name."""

from __future__ import annotations

import io
import os
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import features

from mmkit.data.image_files import MAX_RATIO, kind_of, raster_formats
from mmkit.data.image_report import scan_images
from mmkit.data.images import content_key, open_image
from mmkit.data.types import Example, Image
from mmkit.errors import ImageError
from raising import raises

CASES = Path(__file__).parents[3] / "shared" / "cases"
GRADIENT = np.stack(np.meshgrid(np.arange(24) * 10, np.arange(16) * 15), -1).astype(np.uint8)
COLOURS = np.concatenate([GRADIENT, GRADIENT[..., :1] // 2], axis=2)

WRITABLE = ["AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "MSP", "PCX"]
WRITABLE += ["PNG", "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM"]
GREY = {"MSP": "1", "XBM": "1", "SPIDER": "F"}


@pytest.mark.parametrize("name", WRITABLE)
def test_every_raster_format_that_pillow_writes_is_read(tmp_path: Path, name: str) -> None:
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF decoder")
    picture = Pillow.fromarray(COLOURS).convert(GREY.get(name, "RGB"))
    if name in ("ICO", "ICNS"):
        picture = picture.resize((32, 32))
    picture.save(
        tmp_path / "p.any", name
    )  # Pillow takes SPIDER for the format of any ending that it was saved with
    (tmp_path / "p.any").rename(tmp_path / "p.jpg")
    read = open_image(Image(str(tmp_path / "p.jpg")))
    assert read.mode == "RGB"
    if name not in ("ICNS",):
        assert read.size == picture.size
    if name not in (*GREY, "ICO", "ICNS"):
        difference = np.abs(np.asarray(read).astype(int) - COLOURS.astype(int))
        assert difference.mean() < 12, f"{name}: {difference.mean()}"


def test_formats_that_are_programs_are_not_read() -> None:
    assert not {"EPS", "WMF", "PDF", "FITS"} & set(raster_formats())
    assert {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"} <= set(raster_formats())


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image", "pillow-heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC image", "pillow-heif"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "a video", "a frame"),
        (b"\x1aE\xdf\xa3\x93B\x82\x88matroska", "a video", "a frame"),
        (b"  <!DOCTYPE html><title>403</title>", "an HTML page", "download the image again"),
        (b"\xef\xbb\xbf<html><body>", "an HTML page", "download the image again"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing", "convert it"),
        (b"<svg viewBox='0 0 1 1'></svg>", "an SVG drawing", "convert it"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML file", "download"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", "PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "an EPS drawing", "PNG"),
        (b'{"error": "not found"}', "JSON", "download"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer",
            "git lfs pull",
        ),
        (b"PK\x03\x04\x14\0", "a ZIP archive", "unpack"),
        (b"not found", "text", "download"),
    ],
)
def test_what_is_no_picture_is_told_by_name(tmp_path: Path, content: bytes, what: str, hint: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content + b" " * 30)
    with raises("image.format") as caught:
        open_image(Image(str(path)))
    assert what in caught.value.what and hint in caught.value.hint and caught.value.where == str(path)
    report = scan_images([Example.from_tokens("1", ["a"], images=(Image(str(path)),))])
    assert report.broken == 1 and what in report.faults()


def test_avif_without_a_decoder_is_told_as_such() -> None:
    assert "AVIF" in kind_of(b"\0\0\0\x1cftypavif\0\0\0\0")[0]
    assert kind_of(b"") == kind_of(b"\x00\x01\x02\x03") == ("", "")


def bad_exif(path: Path, exif: bytes, name: str) -> Image:
    Pillow.fromarray(COLOURS).save(path, name, exif=exif)
    return Image(str(path))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",  # an orientation of 99
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04six\0\0\0\0\0",  # one that is a word
    ],
)
def test_sound_pixels_with_broken_metadata_are_used(tmp_path: Path, exif: bytes, name: str) -> None:
    image = bad_exif(tmp_path / "p", exif, name)
    assert open_image(image).size == (24, 16)
    report = scan_images([Example.from_tokens("1", ["a"], images=(image,))])
    assert (report.present, report.bad) == (1, 0)
    if report.unoriented:
        assert "1 with an unreadable orientation" in report.summary()


def test_an_orientation_that_is_no_number_is_counted(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0"
    good = Image(str(tmp_path / "good.jpg"))
    Pillow.fromarray(COLOURS).save(good.path or "")
    images = (bad_exif(tmp_path / "p.jpg", exif, "JPEG"), good)
    assert scan_images([Example.from_tokens("1", ["a"], images=images)]).unoriented == 1


@pytest.mark.real_data
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the project")
def test_the_cases_of_broken_metadata_are_read() -> None:
    photos = sorted((CASES / "D1-sound-photo-broken-metadata" / "photos").iterdir())
    assert len(photos) == 5
    assert [open_image(Image(str(path))).mode for path in photos] == ["RGB"] * 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_devices_and_endless_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), Path("/dev/null"), Path("/proc/self/mem")):
        if path.exists():
            with pytest.raises(ImageError) as error:
                open_image(Image(str(path)))
            assert error.value.code in ("image.not-a-file", "image.empty", "image.unreadable")
    for of in (open_image, content_key):
        with raises("image.not-a-file", match="this is a folder, not an image file"):
            of(Image(str(tmp_path)))


@pytest.mark.skipif(shutil.which("gs") is None, reason="needs Ghostscript to be there, and not started")
def test_ghostscript_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_call", lambda *_: pytest.fail("a program was started"))
    (tmp_path / "p.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with raises("image.format", match="EPS"):
        open_image(Image(str(tmp_path / "p.jpg")))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + bytes(width)) * height, 9)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_strips_are_refused_by_their_shape(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(MAX_RATIO * 2 + 1, 2))
    with raises("image.too-thin"):
        open_image(Image(str(tmp_path / "p.png")))
    (tmp_path / "p.png").write_bytes(png(MAX_RATIO * 2, 2))
    assert open_image(Image(str(tmp_path / "p.png"))).size == (MAX_RATIO * 2, 2)


def test_an_icon_is_as_large_as_the_picture_inside_it(tmp_path: Path) -> None:
    inside = png(12_000, 12_000)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22)
    (tmp_path / "p.ico").write_bytes(struct.pack("<HHH", 0, 1, 1) + entry + inside)
    with raises("image.too-large"):
        open_image(Image(str(tmp_path / "p.ico")))


@pytest.mark.parametrize("scans", [20, 20_000])
def test_a_jpeg_of_very_many_scans_is_refused(tmp_path: Path, scans: int) -> None:
    """Each scan takes as long as the whole picture: 20,000 of them are 2 MB, and half an hour."""
    file = io.BytesIO()
    Pillow.new("L", (1000, 1000), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    path = tmp_path / "p.jpg"
    path.write_bytes(content[:-2] + last * scans + b"\xff\xd9")
    if scans == 20:
        assert open_image(Image(str(path))).size == (1000, 1000)
        return
    with raises("image.too-large", match="scans"):
        open_image(Image(str(path)))


def test_a_gif_is_as_large_as_its_first_frame(tmp_path: Path) -> None:
    for screen, frame in (((1, 1), (9000, 9000)), ((9000, 9000), (1, 1)), ((1, 1), (65535, 65535))):
        header = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + bytes(6)
        first = b"," + struct.pack("<HHHH", 0, 0, *frame) + b"\0\x02\x02\x4c\x01\0;"
        (tmp_path / "p.gif").write_bytes(header + first)
        with raises("image.too-large"):
            open_image(Image(str(tmp_path / "p.gif")))


def test_text_that_inflates_is_refused(tmp_path: Path) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9))
    (tmp_path / "p.png").write_bytes(png(4, 4, text))
    with raises("image.broken"):
        open_image(Image(str(tmp_path / "p.png")))


PEAK = """
import resource, sys
from mmkit.data.images import open_image
from mmkit.data.types import Image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert open_image(Image(sys.argv[1])).mode == "RGB"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["I;16", "LA"])
def test_a_large_picture_needs_no_more_than_a_few_bytes_a_pixel(tmp_path: Path, mode: str) -> None:
    side = 5000
    Pillow.new(mode, (side, side)).save(tmp_path / "p.png", compress_level=1)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "p.png")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(result.stdout) * unit < side * side * 12
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime < 60


def test_bands_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    Pillow.fromarray(random.integers(0, 65_536, (50, 30), dtype=np.uint16)).save(tmp_path / "16.png")
    Pillow.fromarray(random.integers(0, 256, (50, 30, 4), dtype=np.uint8)).save(tmp_path / "rgba.png")
    palette = Pillow.fromarray(random.integers(0, 256, (50, 30, 3), dtype=np.uint8)).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=3)
    for name in ("16.png", "rgba.png", "palette.png"):
        whole = np.asarray(open_image(Image(str(tmp_path / name))))
        with monkeypatch.context() as patch:
            patch.setattr("mmkit.data.images.BAND", 90)
            assert np.array_equal(np.asarray(open_image(Image(str(tmp_path / name)))), whole)
    sixteen = np.asarray(Pillow.open(tmp_path / "16.png")).astype(np.float64)
    assert np.array_equal(
        np.asarray(open_image(Image(str(tmp_path / "16.png"))))[..., 0], (sixteen / 257).round()
    )


def test_warnings_of_pillow_stay_off_the_screen(tmp_path: Path) -> None:
    raw = io.BytesIO()
    Pillow.fromarray(COLOURS).save(raw, "TIFF")
    (tmp_path / "p.tif").write_bytes(raw.getvalue()[:-20])
    code = "import sys\nfrom mmkit.data.images import open_image\nfrom mmkit.data.types import Image\n"
    code += "try:\n    open_image(Image(sys.argv[1]))\nexcept Exception as error:\n    print(error)"
    command = [sys.executable, "-W", "default", "-c", code, str(tmp_path / "p.tif")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in result.stderr
