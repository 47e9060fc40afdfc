"""The corpus of `--sample`: an article for each name that the examples mention."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmkit.data.types import Example, Image
from mmkit.files import written_once


def write_corpus(folder: Path, examples: Sequence[Example]) -> Path:
    """Write `corpus.jsonl` and its images to `folder`, unless they exist; return the path of `corpus.jsonl`.

    There is one article for each name. It gives the label of the name, and shows the photo of the first example that
    mentions it. If no spans are labelled, there is one article for each word.
    """
    return written_once(folder, lambda target: _write(target, examples)) / "corpus.jsonl"


def _write(folder: Path, examples: Sequence[Example]) -> None:
    """Write the corpus. Equal examples give equal bytes."""
    (folder / "images").mkdir()
    first: dict[tuple[str, str], Example] = {}
    for example in examples:
        for named in _named(example):
            first.setdefault(named, example)
    if not first:
        first = {(token, "word"): example for example in reversed(examples) for token in example.tokens}
    lines = []
    for number, ((name, label), example) in enumerate(first.items(), 1):
        article: dict[str, Any] = {"id": str(number), "title": name, "text": f"{name} : {label} ."}
        photo = next((image for image in example.images if _is_photo(image)), None)
        if photo is not None and photo.path is not None:
            file = f"images/{number}{Path(photo.path).suffix}"
            shutil.copyfile(photo.path, folder / file)
            article["images"] = [{"path": file, "caption": f"{name} , {label} ."}]
        lines.append(json.dumps(article, ensure_ascii=False) + "\n")
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")


def _named(example: Example) -> Iterator[tuple[str, str]]:
    """(name, label) of all spans."""
    ends = (span for relation in example.relations for span in (relation.head, relation.tail))
    for span in (*example.spans, *ends):
        yield " ".join(example.tokens[span.start : span.end]), span.label or "name"


def _is_photo(image: Image) -> bool:
    return image.role == "photo" and image.path is not None and Path(image.path).is_file()
