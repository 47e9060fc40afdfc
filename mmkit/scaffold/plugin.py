"""Writes a plugin package with one small working part of each chosen kind."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from mmkit import __version__
from mmkit.config.packages import DISTRIBUTION
from mmkit.errors import MMKitError, did_you_mean
from mmkit.files import MARKER, written_once

STATIONS = {
    "reader": ("readers", "captions", "CaptionReader"),
    "annotator": ("annotators", "brightness", "Brightness"),
    "encoder": ("encoders", "colours", "Colours"),
    "fuser": ("fusers", "gate", "Gate"),
    "decoder": ("decoders", "tagger", "InsideTagger"),
    "metric": ("metrics", "sentences", "WholeSentences"),
}
"""Kind of part → its registry, the word in its name, and its class."""

PARTS = (*STATIONS, "hook")

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def write_plugin(folder: Path, name: str, parts: Sequence[str] = PARTS) -> Path:
    """Write the package `mmkit-<name>` into `folder`, and return its path.

    `parts` are some of `PARTS`. Raises `MMKitError` for an invalid name, for unknown parts, and if there is already
    something at this path.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise MMKitError(
            f"{name!r} cannot be a package's name",
            hint="use small letters, digits and dashes, as in my-method",
            code="plugin.name",
        )
    if unknown := sorted(set(parts) - set(PARTS)):
        raise MMKitError(
            f"there is no kind of part {unknown[0]!r}",
            hint=did_you_mean(unknown[0], PARTS),
            code="plugin.parts",
        )
    if not parts:
        raise MMKitError(
            "a plugin has at least one part", hint=f"--parts {','.join(PARTS)}", code="plugin.parts"
        )
    target = folder / f"mmkit-{name}"
    if target.exists():
        raise MMKitError(
            "there is already something here",
            where=target,
            hint="choose another name, or move it",
            code="plugin.folder-taken",
        )
    texts = plugin_files(name, parts)

    def write(made: Path) -> None:
        for path, text in texts.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")

    written_once(target, write)
    (target / MARKER).unlink()
    return target


def plugin_files(name: str, parts: Sequence[str]) -> dict[str, str]:
    """Path in the package → text."""
    word, package = name.replace("_", "-"), f"mmkit_{name.replace('-', '_')}"
    values = {
        "name": word,
        "word": word.replace("-", "_"),
        "package": package,
        "distribution": DISTRIBUTION,
        "version": ".".join(__version__.split(".")[:2]),
        "entries": _entries(word, package, parts),
        "table": "\n".join(f"| `{_part(word, kind)}` | {kind} |" for kind in STATIONS if kind in parts),
        "recipe": f"{package.removeprefix('mmkit_')}_sample",
        **_sections(word, parts),
    }

    def filled(template: str) -> str:
        text = files("mmkit.scaffold").joinpath("templates", f"{template}.txt").read_text(encoding="utf-8")
        return Template(text).substitute(values)

    made = {
        "pyproject.toml": filled("pyproject"),
        "README.md": filled("readme"),
        f"{package}/__init__.py": f'"""Parts for mmkit: {word}."""\n',
        f"{package}/py.typed": "",
        f"{package}/hooks.py": filled("hooks" if "hook" in parts else "hooks_recipes"),
        f"{package}/recipes/{values['recipe']}.cfg": filled("recipe"),
        f"tests/test_{package}.py": filled("test_recipe"),
    }
    for kind in STATIONS:
        if kind in parts:
            made[f"{package}/{kind}.py"] = filled(kind)
            made[f"tests/test_{package}_{kind}.py"] = filled(f"test_{kind}")
    if "hook" in parts:
        made[f"tests/test_{package}_hook.py"] = filled("test_hook")
    return made


def _part(word: str, kind: str) -> str:
    return f"{word.replace('-', '_')}.{STATIONS[kind][1]}.v1"


def _entries(word: str, package: str, parts: Sequence[str]) -> str:
    """The entry points, as TOML."""
    lines = []
    for kind, (registry, _, cls) in STATIONS.items():
        if kind in parts:
            lines += [
                f"[project.entry-points.mmkit_{registry}]",
                f'"{_part(word, kind)}" = "{package}.{kind}:{cls}"',
                "",
            ]
    return "\n".join([*lines, "[project.entry-points.mmkit]", f'{package} = "{package}.hooks"'])


def _sections(word: str, parts: Sequence[str]) -> dict[str, str]:
    """Values for the recipe's template: this package's parts, or the core's if it has none."""
    reader = _part(word, "reader") if "reader" in parts else "mmkit.conll_images.v1"
    ending = "tsv" if "reader" in parts else "txt"
    data = "\n\n".join(
        f'[data.{split}]\n@readers = "{reader}"\nroot = $${{paths.data}}\nfile = "{split}.{ending}"'.replace(
            "$$", "$"
        )
        for split in ("train", "dev", "test")
    )
    annotators = f'\n[annotators.brightness]\n@annotators = "{_part(word, "annotator")}"\n'
    vision = (
        f'@encoders = "{_part(word, "encoder")}"'
        if "encoder" in parts
        else '@encoders = "mmkit.timm.v1"\nname = "resnet50.tv_in1k"\nfrozen = true'
    )
    metric = f'\n[metrics.sentences]\n@metrics = "{_part(word, "metric")}"\n'
    return {
        "data": data,
        "annotators": annotators if "annotator" in parts else "",
        "vision": vision,
        "fuser": _part(word, "fuser") if "fuser" in parts else "mmkit.concat.v1",
        "decoder": _part(word, "decoder") if "decoder" in parts else "mmkit.crf_tagger.v1",
        "metrics": metric if "metric" in parts else "",
    }
