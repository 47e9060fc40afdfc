"""A pretrained model as a recipe names it. Its problems are reported before it is loaded, in one message."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from mmkit.errors import MMKitError, PartError, did_you_mean, gathered, near_misses
from mmkit.pretrained import hub, networks
from mmkit.pretrained.bad_files import BadFile, read_json_file
from mmkit.pretrained.checkpoints import check_weights
from mmkit.pretrained.folders import (
    CONFIG,
    INDEXES,
    PICTURES,
    TOKENIZER,
    UNLOADABLE,
    WEIGHTS,
    Trouble,
    config_trouble,
    files_of,
    folder_troubles,
    name_trouble,
    shards,
    shortened,
    size_of_weights,
    tokenizer_troubles,
    weights_troubles,
)
from mmkit.pretrained.folders import of_file as trouble_of_file

NEEDS = ("weights", "tokenizer", "pictures")
"""The files of a model: its weights, its tokenizer's files, the settings of its image processor."""


@dataclass(frozen=True)
class Pretrained:
    """A model of transformers: of the Hub (with an optional `revision`), or a local folder.

    `what` names its kind in messages ("the text encoder"), `known` has some names of such models for suggestions,
    `hint` says what to name instead. `code` is the code of errors without a code of their own. `saved` is the folder
    in which a run keeps the model's configuration: then all files except the weights are read from there. `timm` says
    that transformers may also read it in timm's format.
    """

    name: str
    what: str
    revision: str | None = None
    known: tuple[str, ...] = ()
    hint: str = ""
    code: str = UNLOADABLE
    needs: Sequence[str] = ("weights",)
    saved: Path | None = None
    timm: bool = False

    @property
    def source(self) -> str:
        """What is loaded from."""
        return str(self.saved or self.name)

    @property
    def folder(self) -> Path | None:
        """The folder of the files on this machine; None for a model of the Hub."""
        return Path(self.source) if self.source.strip() and Path(self.source).is_dir() else None

    @property
    def options(self) -> dict[str, Any]:
        """What every loader is given."""
        return networks.options_for(self.source, None if self.saved else self.revision)

    # What is wrong with it

    def problems(self) -> Iterator[PartError]:
        """All problems that can be found without loading or downloading weights."""
        for trouble in self._troubles(self.needs):
            yield self._error(trouble)

    def check(self, *needs: str) -> None:
        """Raise `PartError` for problems of a local folder (of the files in `needs`) or of the name itself."""
        if self.folder is not None or (found := name_trouble(self.name)) is None:
            local = self.folder is not None
            troubles = self._troubles(needs, ask=False) if local else ()
            errors = [self._error(trouble) for trouble in troubles]
        else:
            errors = [self._error(found)]
        if errors:
            raise gathered(errors)

    def _troubles(self, needs: Sequence[str], ask: bool = True) -> Iterator[Trouble]:
        if self.folder is not None:
            yield from self._in(self.folder, needs)
        elif (found := name_trouble(self.name)) is not None:
            yield found
        elif ask:
            kept = hub.kept(self.name, self.revision, WEIGHTS["transformers"])
            if kept is not None:
                yield from weights_troubles(kept, "transformers")
            elif (absent := hub.absent(self.name, self.revision, self._wanted(needs))) is not None:
                yield Trouble(absent.what, self._advice(absent.hint))

    def _in(self, folder: Path, needs: Sequence[str]) -> Iterator[Trouble]:
        if self.revision is not None and self.saved is None:
            hint = "leave revision out, or name a model of the Hub"
            yield Trouble(
                f"it is a folder and has no revision {self.revision!r}", hint, code="encoder.revision"
            )
        if self.timm and _is_timm(folder):
            yield from folder_troubles(folder, "timm", [n for n in needs if n == "weights"])
            return
        for trouble in folder_troubles(folder, "transformers", needs):
            yield self._of_no_texts(folder, trouble)
        yield from self._own_code(folder, needs)

    def _of_no_texts(self, folder: Path, trouble: Trouble) -> Trouble:
        """The trouble, or that the model reads no texts, if this is why it has no tokenizer."""
        if trouble.code != "encoder.no-tokenizer":
            return trouble
        try:
            kind = read_json_file(folder / CONFIG).get("model_type")
        except BadFile:
            return trouble
        if kind not in CONFIG_MAPPING or kind in TOKENIZER_MAPPING_NAMES:
            return trouble
        what = f"{trouble.what}, and models of the kind {kind!r} usually read no texts"
        return Trouble(what, f"name a model of texts; or, if it is one: {trouble.hint}", trouble.code)

    def _own_code(self, folder: Path, needs: Sequence[str]) -> Iterator[Trouble]:
        """The problem of a kind of model that transformers does not have, which would need code from the folder."""
        try:
            config = read_json_file(folder / CONFIG)
        except BadFile:
            return
        if (
            config_trouble(folder, config, "transformers") is None
            and config["model_type"] not in CONFIG_MAPPING
        ):
            yield _unknown_kind(config)

    def _wanted(self, needs: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
        wanted: list[tuple[str, Sequence[str]]] = [(CONFIG, (CONFIG,))]
        files = {
            "weights": WEIGHTS["transformers"],
            "tokenizer": (*TOKENIZER, "tiktoken.model"),
            "pictures": PICTURES,
        }
        words = {
            "weights": "weights that can be read here",
            "tokenizer": "tokenizer",
            "pictures": PICTURES[0],
        }
        return wanted + [(words[need], files[need]) for need in needs]

    def weight_bytes(self) -> int | None:
        """The size of its weights on this machine; None if they are not there."""
        at = self.folder or hub.kept(self.name, self.revision, WEIGHTS["transformers"])
        return None if at is None else size_of_weights(at, "transformers")

    # Loading

    def config(self) -> PreTrainedConfig:
        """Its configuration. Raises `PartError`."""
        self.check()
        with self.loading():
            return networks.load_config(self.source, None if self.saved else self.revision)

    def network(
        self,
        kind: Any,
        config: PreTrainedConfig | None = None,
        optional: tuple[str, ...] = (),
        dtype: torch.dtype | str = torch.float32,
        **options: Any,
    ) -> PreTrainedModel:
        """Its network with the pretrained weights (see `networks.load_network`). Raises `PartError`."""
        self.check("weights")
        with self.loading():
            self._check_fetched()
            return networks.load_network(
                kind, self.source, config, optional=optional, dtype=dtype, **self.options, **options
            )

    def initialised(self, kind: Any, config: PreTrainedConfig, **options: Any) -> PreTrainedModel:
        """Its network as its class initialises it. Raises `PartError`."""
        with self.loading():
            return networks.initialised(kind, config, **options)

    def tokenizer(self, **options: Any) -> PreTrainedTokenizerFast:
        """Its tokenizer, a fast one. Raises `PartError`."""
        self._check_tokenizer()
        with self.loading():
            return networks.load_tokenizer(self.source, **self.options, **options)

    def any_tokenizer(self, **options: Any) -> Any:
        """Its tokenizer, fast or not. Raises `PartError`."""
        self._check_tokenizer()
        with self.loading():
            return networks.load_any_tokenizer(self.source, **self.options, **options)

    def image_processor(self) -> Any:
        """Its image processor. Raises `PartError`."""
        if not (self.timm and self.folder is not None and _is_timm(self.folder)):
            self.check("pictures")
        with self.loading():
            return networks.load_image_processor(self.source, **self.options)

    def processor(self, kind: Any) -> Any:
        """Its processor of class `kind`. Raises `PartError`."""
        self.check()
        with self.loading():
            made = networks.load_processor(kind, self.source, **self.options)
        if hasattr(made, "tokenizer"):
            self._check_tokenizer()
        return made

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Turn any error of a library about a model that is missing or unreadable into a `PartError`."""
        try:
            yield
        except MMKitError:
            raise
        except BadFile as error:
            raise self._error(trouble_of_file(error)) from error
        except Exception as error:  # the libraries raise errors of all kinds for an unexpected file
            raise self._error(self._explained(error)) from error

    def _check_tokenizer(self) -> None:
        if self.folder is None:
            self.check()
        elif errors := [self._error(trouble) for trouble in tokenizer_troubles(self.folder)]:
            raise gathered(errors)

    def _check_fetched(self) -> None:
        """Download the weights of a model on the Hub, and check them before they are unpacked."""
        if self.folder is not None:
            return
        for name in WEIGHTS["transformers"]:
            found = networks.fetched(self.name, name, self.revision)
            if found is None:
                continue
            if name in INDEXES:
                self._check_shards(found)
            else:
                check_weights(found)
            return

    def _check_shards(self, index: Path) -> None:
        """Download and check each file that an index names."""
        for name in shards(index):
            found = networks.fetched(self.name, name, self.revision)
            if found is None:
                raise BadFile(index, "damaged", f"names {name}, which the model does not have")
            check_weights(found)

    # Words

    def _explained(self, error: Exception) -> Trouble:
        text = str(error).strip()
        reason = (text or type(error).__name__).splitlines()[0][:300]
        if "custom code" in text or "trust_remote_code" in text:
            return _own_code_trouble()
        if self.folder is not None:
            hint = f"the folder must contain {files_of('transformers', self.needs)}"
            return Trouble(reason, self.hint or hint, self.code)
        if hub.offline() and isinstance(error, OSError):
            absent = hub.not_here("some of its files are missing on this machine")
            return Trouble(absent.what, self._advice(absent.hint), self.code)
        return Trouble(reason, self._advice("a model of the Hub must be downloaded once"), self.code)

    def _advice(self, hint: str) -> str:
        near = near_misses(self.name, self.known)
        hints = [did_you_mean(self.name, self.known)] if near and self.name not in near else []
        hints += [] if "check the name" in hint else ["check the name"]
        return "; ".join([*hints, hint, *([self.hint] if self.hint else [])])

    def _error(self, trouble: Trouble) -> PartError:
        code = self.code if trouble.code == UNLOADABLE else trouble.code
        what = shortened(trouble.what, self.name)
        return PartError(f"cannot load {self.what} {self.name!r}: {what}", hint=trouble.hint, code=code)


def _is_timm(folder: Path) -> bool:
    try:
        config = read_json_file(folder / CONFIG)
    except BadFile:
        return False
    return "architecture" in config and "model_type" not in config


def _unknown_kind(config: dict[str, Any]) -> Trouble:
    kind = str(config["model_type"])[:60]
    if "auto_map" in config:
        return _own_code_trouble()
    near = did_you_mean(kind, list(CONFIG_MAPPING)) if near_misses(kind, list(CONFIG_MAPPING)) else ""
    version = importlib.import_module("transformers").__version__
    what = f"transformers {version} knows no models of the kind {kind!r}"
    return Trouble(what, near or "it may need a newer transformers; or take another model")


def _own_code_trouble() -> Trouble:
    what = "it needs its own code (auto_map in its configuration), which mmkit never runs"
    return Trouble(what, "take a model that transformers itself knows", code="encoder.needs-code")
