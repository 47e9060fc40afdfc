"""The original photos of `photos` under the names that the published files have, and which sentences are theirs."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmkit.data.images import open_image
from mmkit.data.types import Example

TWITTER = {"twitter2015": "twitter_2015", "twitter2017": "twitter_2017"}
SPLITS = {"twitter": ("train", "valid", "test"), "mnre": ("train", "val", "test")}


def linked(shared: Path, folder: Path) -> Path:
    """`folder` with a folder of photos for each dataset: `<IMGID>.jpg`, or the name in MNRE.

    The folders of `photos/mnre` are another division of MNRE than the published one, so all lie in one here.
    """
    photos = shared / "data" / "photos"
    names = json.loads((photos / "ritual_to_imgid.json").read_text(encoding="utf-8"))
    for file, (dataset, _, name) in names.items():
        put(photos / "twitter" / file, folder / dataset / f"{name}.jpg")
    for file in (photos / "mnre").glob("*/*.jpg"):
        put(file, folder / "mnre" / file.name)
    return folder


def put(file: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(file)


def with_photo(examples: Iterable[Example]) -> Iterator[tuple[Example, Path]]:
    """The examples whose photo is there, and its file; the photo must be one that opens."""
    for example in examples:
        (image,) = example.images
        if image.path is not None and Path(image.path).is_file():
            assert min(open_image(image).size) > 50
            yield example, Path(image.path)


def tweets(path: Path) -> dict[str, list[str]]:
    """The tokens under each `IMGID:` line of a file, read without any of mmkit's code."""
    found = {}
    for block in path.read_text(encoding="utf-8").split("IMGID:")[1:]:
        name, *lines = block.split("\n")
        found[name.strip()] = [line.split("\t")[0] for line in lines if line.strip(" ")]
    return found


def instances(path: Path) -> dict[str, dict[tuple[str, ...], set[str]]]:
    """The sentences of each photo in a file of MNRE, with the names of their relations."""
    found: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = ast.literal_eval(line)
        sentences = found.setdefault(record["img_id"], {})
        sentences.setdefault(tuple(record["token"]), set()).add(record["relation"])
    return found
