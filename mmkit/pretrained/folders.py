"""Find the problems of a local folder of a pretrained model, without loading it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmkit.errors import did_you_mean, near_misses
from mmkit.pretrained.bad_files import BadFile, check_not_foreign, read_json_file, regular
from mmkit.pretrained.checkpoints import check_weights

Format = Literal["transformers", "timm"]

CONFIG, PICTURES = "config.json", ("preprocessor_config.json", "processor_config.json")
TOKENIZER = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "tokenizer.model",
    "spm.model",
    "source.spm",
    "tekken.json",
)
"""Any one of these holds a vocabulary."""

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WEIGHTS = {
    "transformers": ("model.safetensors", INDEXES[0], "pytorch_model.bin", INDEXES[1]),
    "timm": (
        "model.safetensors",
        "pytorch_model.bin",
        "pytorch_model.pth",
        "model.pth",
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
        "open_clip_pytorch_model.bin",
        "open_clip_pytorch_model.pth",
    ),
}
"""File names in the order in which the libraries look for them."""
TIMM_ENDINGS = (".safetensors", ".pth", ".pth.tar", ".bin")
"""What timm uses if there is none of those."""

OTHERS = {
    "tf_model.h5": "TensorFlow's weights",
    "flax_model.msgpack": "Flax's weights",
    "model.ckpt.index": "TensorFlow 1's weights",
    "rust_model.ot": "weights for Rust",
    "model.onnx": "an ONNX model",
    "consolidated.00.pth": "weights in the authors' own format",
    "adapter_model.safetensors": "an adapter (PEFT), not a whole model",
    "adapter_model.bin": "an adapter (PEFT), not a whole model",
}
"""Weights in formats that cannot be read."""


UNLOADABLE = "encoder.unloadable"


@dataclass(frozen=True)
class Trouble:
    """A problem of a model: the message, the hint and the error's code."""

    what: str
    hint: str
    code: str = UNLOADABLE


def of_file(error: BadFile, where: str = "") -> Trouble:
    """The message for a file that is not what it should be."""
    what = f"{where or error.path} {error.what}"
    if error.kind == "code":
        return Trouble(what, error.hint, code="encoder.needs-code")
    return Trouble(what, error.hint)


# Names


def shortened(what: str, folder: str) -> str:
    """The message for a folder, without the folder's name at the beginning."""
    if what.startswith(f"{folder} ") and Path(folder).is_dir():
        return f"the folder {what.removeprefix(f'{folder} ')}"
    return what.removeprefix(f"{folder}/")


def looks_like_a_path(name: str) -> bool:
    """Whether a name can only be a local path, because no model of the Hub can have it."""
    endings = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".tar", ".zip", ".gguf", ".h5", ".onnx")
    return (
        not name.strip()
        or name.startswith(("/", "./", "../", "~", ".\\"))
        or name in (".", "..")
        or "\\" in name
        or name.count("/") > 1
        or name[1:2] == ":"
        or name.lower().endswith(endings)
    )


def name_trouble(name: str) -> Trouble | None:
    """The problem of a name that is not a folder: a file, an address, a path that does not exist."""
    if not name.strip():
        return Trouble("the name is empty", "check the name: give a model of the Hub or a local folder")
    if "://" in name:
        last = "/".join(name.partition("://")[2].split("/")[1:3])
        hint = f"check the name: give it without the address ({last!r})" if last else "check the name"
        return Trouble("this is a web address, not a name", hint)
    path = Path(name)
    if path.is_file() or (path.is_symlink() and not path.exists()):
        return _file_trouble(path)
    if not looks_like_a_path(name):
        return None
    if name.startswith("~"):
        return Trouble(
            "`~` is not replaced in a recipe", f"check the name: write the path in full ({path.expanduser()})"
        )
    what = (
        "there is no such folder"
        if path.suffix not in (".pth", ".safetensors", ".bin")
        else "there is no such file"
    )
    if "\\" in name:
        return Trouble(what, "check the name: write the path with /, not \\")
    return Trouble(what, f"check the name{_siblings(path)}")


def _siblings(path: Path) -> str:
    """Folders with similar names, beside a path that does not exist."""
    at = path.parent
    while not at.exists() and at != at.parent:
        path, at = at, at.parent
    try:
        folders = [f.name for f in at.iterdir() if f.is_dir()]
    except OSError:
        return ""
    near = f"; {did_you_mean(path.name, folders)}" if near_misses(path.name, folders) else ""
    return f": {'the working directory' if at == Path() else at} has no folder {path.name!r}{near}"


def _file_trouble(path: Path) -> Trouble:
    hint = "name the folder that holds it beside config.json"
    try:
        regular(path)
        check_weights(path)
    except BadFile as error:
        return of_file(error, str(path))
    if path.suffix != ".safetensors":
        hint = (
            "weights do not say which network they belong to: put the file into a folder as pytorch_model.bin, "
            "together with the model's config.json, and name the folder"
        )
    return Trouble(f"{path} is one file of weights, not a folder with a model", hint)


# Folders


def folder_troubles(folder: Path, form: Format, needs: Sequence[str]) -> Iterator[Trouble]:
    """All problems of a folder that should hold a model in a library's format.

    `needs` are `weights`, `tokenizer`, `pictures` (an image processor's settings), as the encoder requires.
    """
    try:
        config = read_json_file(folder / CONFIG)
    except BadFile as error:
        if error.kind != "missing":
            yield of_file(error)
        else:
            yield no_config(folder, form, needs)
            return
        config = {}
    if config and (found := config_trouble(folder, config, form)) is not None:
        yield found
        return
    if "weights" in needs:
        yield from weights_troubles(folder, form)
    if "tokenizer" in needs:
        yield from tokenizer_troubles(folder)
    if "pictures" in needs:
        yield from _json_troubles(folder, PICTURES, "no settings of an image processor")


def files_of(form: Format, needs: Sequence[str]) -> str:
    """What a folder must contain, in words."""
    wanted = [CONFIG, "model.safetensors"]
    wanted += ["the tokenizer's files"] if "tokenizer" in needs else []
    wanted += [PICTURES[0]] if "pictures" in needs else []
    return f"{', '.join(wanted[:-1])} and {wanted[-1]}" + (" in timm's format" if form == "timm" else "")


def no_config(folder: Path, form: Format, needs: Sequence[str]) -> Trouble:
    """The problem of a folder without a configuration."""
    hint = f"the folder must contain {files_of(form, needs)}"
    inside = sorted(p.parent for p in [*folder.glob(f"*/{CONFIG}"), *folder.glob(f"snapshots/*/{CONFIG}")])
    if inside:
        hint = f"the model is in {inside[0]}: name that folder"
    elif (folder / "adapter_config.json").exists():
        return Trouble(
            f"{folder} holds an adapter (PEFT), not a whole model",
            "merge it into its model, and save the result",
        )
    elif (folder / "open_clip_config.json").exists():
        hint = "this is open_clip's format: take the model's folder in transformers' format"
    elif (folder / "params.json").exists():
        hint = "this is the authors' own format: take the model's folder in transformers' format"
    elif not any(folder.iterdir()):
        return Trouble(f"{folder} is empty", hint)
    return Trouble(f"{folder} has no {CONFIG}", hint)


def config_trouble(folder: Path, config: dict[str, Any], form: Format) -> Trouble | None:
    """The problem of a configuration in another library's format."""
    theirs = "architecture" in config and "model_type" not in config
    ours = "model_type" in config or ("architectures" in config and not theirs)
    kind = config.get("model_type") or config.get("architecture") or ""
    if form == "transformers" and theirs:
        hint = "mmkit.timm.v1 and mmkit.timm_pyramid.v1 read this format; name a folder in transformers' format here"
        return Trouble(f"{folder} is in timm's format ({str(kind)[:60]})", hint)
    if form == "timm" and ours:
        hint = (
            "take the model from timm itself, by its name there (resnet50.a1_in1k, say), or a folder whose "
            'config.json says "architecture"'
        )
        return Trouble(f"{folder} is in transformers' format ({str(kind)[:60]})", hint)
    if form == "timm" and not isinstance(config.get("architecture"), str):
        return Trouble(f"{folder / CONFIG} does not name the model's `architecture`", "is it timm's?")
    if form == "transformers" and not isinstance(config.get("model_type"), str):
        hint = "is it the model's own? download it again"
        return Trouble(f"{folder / CONFIG} has no `model_type`", hint)
    return None


def weights_files(folder: Path, form: Format) -> list[Path]:
    """The files from which the library would read weights, with a file of shards' names first; empty if there are
    none."""
    found = next((folder / name for name in WEIGHTS[form] if (folder / name).exists()), None)
    if found is None and (dangling := [folder / n for n in WEIGHTS[form] if (folder / n).is_symlink()]):
        found = dangling[0]
    if found is None and form == "timm":
        endings = (sorted(folder.glob(f"*{ending}")) for ending in TIMM_ENDINGS)
        found = next((files[0] for files in endings if files), None)
    if found is None:
        return []
    if found.name not in INDEXES:
        return [found]
    return [found, *(folder / name for name in shards(found))]


def shards(index: Path) -> list[str]:
    """The names of the files that an index of weights names. Raises `BadFile` for a damaged index."""
    files = read_json_file(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(n, str) and "/" not in n for n in files.values()):
        raise BadFile(index, "damaged", "is damaged: it does not say which tensor is in which file")
    return sorted(set(files.values()))


def size_of_weights(folder: Path, form: Format) -> int | None:
    """Bytes of the weights in a folder; None if some are missing."""
    try:
        sizes = [regular(file) for file in weights_files(folder, form)]
    except BadFile:
        return None
    return sum(sizes) if sizes else None


def weights_troubles(folder: Path, form: Format) -> Iterator[Trouble]:
    """The problems of the weights in a folder."""
    try:
        files = weights_files(folder, form)
    except BadFile as error:
        yield of_file(error)
        return
    if not files:
        there = [f"{name} ({what})" for name, what in OTHERS.items() if (folder / name).exists()]
        there += [f"{p.name} (a GGUF file)" for p in sorted(folder.glob("*.gguf"))[:1]]
        beside = f"; there is {', '.join(there)}" if there else ""
        hint = "download model.safetensors (or pytorch_model.bin) of the same model into it"
        yield Trouble(f"{folder} has no weights{beside}", hint)
    for file in files:
        if file.name in INDEXES:
            continue
        try:
            check_weights(file)
        except BadFile as error:
            yield of_file(error)


def tokenizer_troubles(folder: Path) -> Iterator[Trouble]:
    """The problems of the tokenizer's files in a folder."""
    there = [name for name in TOKENIZER if (folder / name).exists()]
    if not there:
        hint = (
            "download the tokenizer's files of the same model: tokenizer.json and tokenizer_config.json, "
            "or vocab.txt, or vocab.json and merges.txt, or a sentencepiece model"
        )
        yield Trouble(
            f"{folder} has no tokenizer: none of its files has a vocabulary",
            hint,
            code="encoder.no-tokenizer",
        )
        return
    if "vocab.json" in there and "tokenizer.json" not in there and not (folder / "merges.txt").exists():
        hint = "download merges.txt of the same model into the folder"
        yield Trouble(f"{folder} has vocab.json, but no merges.txt", hint, code="encoder.no-tokenizer")
    pieces = [name for name in there if name.endswith(".model") or name == "source.spm"]
    if pieces == there and importlib.util.find_spec("sentencepiece") is None:
        hint = "pip install sentencepiece, or take a model that has a tokenizer.json"
        what = f"the tokenizer in {folder} is a sentencepiece model ({there[0]}), which needs the package sentencepiece"
        yield Trouble(what, hint, code="encoder.no-tokenizer")
    for name in (*there, "tokenizer_config.json", "special_tokens_map.json", "merges.txt"):
        file = folder / name
        if not file.exists():
            continue
        try:
            if file.suffix == ".json":
                read_json_file(file)
            else:
                check_not_foreign(file)
        except BadFile as error:
            yield of_file(error)


def _json_troubles(folder: Path, names: Sequence[str], lacking: str) -> Iterator[Trouble]:
    """The problems of the first of these files that a folder has; if it has none, `lacking` is the message."""
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        hint = f"fetch {names[0]} of the same model into the folder"
        yield Trouble(f"{folder} has {lacking} ({names[0]})", hint)
        return
    try:
        read_json_file(found)
    except BadFile as error:
        yield of_file(error)
