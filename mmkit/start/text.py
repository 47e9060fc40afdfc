"""The text of a new recipe: the model and training of a shipped one, with a person's data and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmkit import registry
from mmkit.config.parameters import parameters
from mmkit.config.text import literal
from mmkit.start.given import PLACE
from mmkit.start.template import Section

LABELS = {"types": "spans", "relations": "relations", "labels": "relations"}
"""Settings of decoders that list labels → the kind of label."""
FOREIGN = "bert-base-multilingual-cased"
"""The encoder of texts in other scripts, in place of an English BERT."""
SAME = "  # the settings of [data.train], for they are parts of its file"
WIDTH = 108


@dataclass
class Data:
    """What is put into a recipe: each split's reader and settings, the paths, and the labels by kind."""

    splits: Mapping[str, tuple[str, Mapping[str, Any]]]
    paths: Mapping[str, str]
    shares: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    blank: str = ""
    """Why missing images are blank, as a comment; empty if they are an error."""
    none_label: str = ""
    foreign: bool = False


def recipe_text(sections: Sequence[Section], data: Data, title: str, said: Sequence[str]) -> str:
    """The recipe's text. `sections` are those of the shipped recipe; `title` and `said` become the first comment."""
    kept = [
        s for s in sections if s.name not in ("about", "paths", "data") and not s.name.startswith("data.")
    ]
    used = {name for s in kept for name in re.findall(r"\$\{paths\.(\w+)\}", s.text)}
    paths = [f"{name} = {value(text)}" for name, text in data.paths.items()]
    for section in sections:
        if section.name == "paths":
            paths += [
                line
                for line in section.text.splitlines()[1:]
                if (name := line.partition("=")[0].strip()) in used and name not in data.paths
            ]
    text = comment([title, *said]) + "\n"
    put = False
    for section in kept:
        if section.name not in ("recipe", "backbones") and not put:
            text, put = text + _data_text(data, paths), True
        text += _fitted(section, data)
    return text.rstrip("\n") + "\n"


def comment(lines: Sequence[str]) -> str:
    """Lines as a comment; long ones go on in further lines."""
    out = []
    for line in lines:
        words, row = line.split(" "), "#"
        for word in words:
            if len(row) + len(word) + 1 > WIDTH and row.strip("# "):
                out.append(row)
                row = "#  "
            row += f" {word}"
        out.append(row)
    return "\n".join(out) + "\n"


def value(given: Any) -> str:
    """A value as a recipe writes it."""
    return json.dumps(literal(given), ensure_ascii=False)


def _data_text(data: Data, paths: Sequence[str]) -> str:
    """`[paths]` and all of `[data]`."""
    text = "[paths]\n" + "\n".join(paths) + "\n\n"
    same = [
        split for split, given in data.splits.items() if split != "train" and given == data.splits["train"]
    ]
    lines = [f'missing_images = "blank"  # {data.blank}'] if data.blank else []
    lines += [f"{split} = ${{data.train}}{SAME if split == same[0] else ''}" for split in same]
    if lines:
        text += "\n".join(["[data]", *lines]) + "\n\n"
    if data.shares:
        text += "[data.shares]  # a hash of its text decides which split a post belongs to; equal texts stay together\n"
        text += "\n".join(f"{split} = {share}" for split, share in data.shares.items()) + "\n\n"
    for split, (reader, settings) in data.splits.items():
        if split in same:
            continue
        known = data.splits["train"][1] if split not in ("train", "entities") else {}
        lines = [
            f"{name} = ${{data.train.{name}}}"
            if name not in PLACE and name in known and known[name] == given
            else f"{name} = {_referred(name, given, data.paths)}"
            for name, given in settings.items()
        ]
        text += "\n".join([f"[data.{split}]", f'@readers = "{reader}"', *lines]) + "\n\n"
    return text


def _referred(name: str, given: Any, paths: Mapping[str, str]) -> str:
    """A setting's value, by reference if it is one of the paths."""
    for path, text in paths.items():
        if given == text and name in ("root", "images"):
            return f"${{paths.{path}}}"
    return value(given)


def _fitted(section: Section, data: Data) -> str:
    """A section of the shipped recipe with the labels and the language of the data."""
    text = section.text
    if section.name == "model.decoder":
        for setting, kind in LABELS.items():
            if data.labels.get(kind):
                line = f"{setting} = {value(list(data.labels[kind]))}".replace("\\", r"\\")
                text = re.sub(rf"^{setting} = .*$", line, text, flags=re.MULTILINE)
    if data.none_label and (section.name == "model.decoder" or section.name.startswith("metrics.")):
        text = _with_none(text, data.none_label)
    if section.name == "backbones" and data.foreign:
        text = re.sub(
            r'^text = "bert-base-(?:un)?cased".*$',
            f"text = {value(FOREIGN)}  # most letters are not Latin",
            text,
            flags=re.MULTILINE,
        )
    return text


def _with_none(text: str, label: str) -> str:
    """A part's section with `none_label`, if the part takes it."""
    found = re.search(r'^@(\w+) = "([^"]+)".*$', text, re.MULTILINE)
    if found is None or "none_label" not in parameters(registry.get(found[1], found[2])):
        return text
    text = re.sub(r"^none_label = .*\n", "", text, flags=re.MULTILINE)
    return text[: found.end()] + f"\nnone_label = {value(label)}" + text[found.end() :]
