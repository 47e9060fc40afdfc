"""The sample's datasets, cut to a few records, in their own formats."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from mmkit.data.mel import split_of
from mmkit.data.types import Entity, Example

SIDE = 48
"""Width and height of kept pictures in pixels, at most."""


def tweets(source: Path, target: Path, counts: dict[str, int]) -> None:
    """Blocks of CoNLL lines and, where there are any, tables of crops. `counts`: file stem → posts to keep."""
    for stem, count in counts.items():
        blocks = (source / f"{stem}.txt").read_text(encoding="utf-8").split("\n\n")[:count]
        _write(target / f"{stem}.txt", "\n\n".join(blocks) + "\n\n")
        table = source / f"{stem}_crops.json"
        if table.exists():
            crops = json.loads(table.read_text(encoding="utf-8"))
            named = [f"{block.strip().splitlines()[0].partition(':')[2]}.jpg" for block in blocks]
            _write(target / table.name, json.dumps({name: crops[name] for name in named if name in crops}))


def pairs(source: Path, target: Path, counts: dict[str, int]) -> None:
    """Lines of MNRE's form, all those of a photo, with tables of crops by line. `counts`: file stem → photos."""
    for stem, count in counts.items():
        lines = (source / f"{stem}.txt").read_text(encoding="utf-8").splitlines()
        photos = [ast.literal_eval(line)["img_id"] for line in lines]
        wanted = list(dict.fromkeys(photos))[:count]
        kept = [i for i, photo in enumerate(photos) if photo in wanted]
        _write(target / f"{stem}.txt", "".join(f"{lines[i]}\n" for i in kept))
        crops = json.loads((source / f"{stem}_crops.json").read_text(encoding="utf-8"))
        _write(target / f"{stem}_crops.json", json.dumps({i: crops[str(k)] for i, k in enumerate(kept)}))


def mentions(source: Path, target: Path, counts: dict[str, int], others: int) -> None:
    """WikiMEL's records, candidates and entities: the gold ones, and some `others`. `counts`: split → records."""
    records = _json(source / "wikimel.json")
    kept = {
        id: records[id]
        for split, count in counts.items()
        for id in [id for id in records if split_of(id) == split][:count]
    }
    gold = {answer for record in kept.values() for answer in record["answer"]}
    aliases = _json(source / "aliases.json")
    names = {name for record in kept.values() for name in record["mentions"]}
    like = {id for id, (name, *_) in aliases.items() if name in names}
    entities = [id for id in aliases if id in gold | like]
    entities += [id for id in aliases if id not in entities][:others]
    _write(target / "wikimel.json", json.dumps(kept, indent=1))
    candidates = _json(source / "search_top100.json")
    listed = {name: [id for id in candidates[name] if id in entities] for name in sorted(names)}
    _write(target / "search_top100.json", json.dumps(listed))
    for file in ("property.json", "brief.json", "names.json", "aliases.json"):
        texts = _json(source / file)
        _write(target / file, json.dumps({id: texts[id] for id in entities}, indent=1))


def corpus(source: Path, target: Path, words: set[str], others: int) -> None:
    """The articles that have one of `words` in their title, and some `others`, with their pictures."""
    lines = source.read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if words & set(json.loads(line)["title"].split())]
    kept = [line for line in lines if line in found or line in lines[:others]]
    _write(target / "corpus.jsonl", "".join(f"{line}\n" for line in kept))
    for line in kept:
        for image in json.loads(line)["images"]:
            picture(source.parent / image["path"], target / image["path"])


def pictures(records: Iterable[Example | Entity], target: Path, source: Path) -> None:
    """What records name under `target` is copied from under `source`, smaller."""
    for record in records:
        for image in record.images:
            if image.path is not None:
                within = Path(image.path).relative_to(target)
                picture(source / within, target / within)


def picture(source: Path, target: Path) -> None:
    """Copy a picture, smaller. One that is not there is left out."""
    if target.exists() or not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with Pillow.open(source) as opened:
        small = opened.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        small.save(target, "JPEG", quality=75)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
