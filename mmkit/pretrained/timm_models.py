"""The one place where timm's models are loaded: completely or not at all, with plain error messages."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model, load_model_config_from_hf
from torch import nn

from mmkit.errors import MMKitError, PartError, did_you_mean, gathered, near_misses
from mmkit.pretrained import hub, networks
from mmkit.pretrained.bad_files import BadFile, read_json_file
from mmkit.pretrained.checkpoints import check_weights
from mmkit.pretrained.folders import (
    CONFIG,
    WEIGHTS,
    Trouble,
    files_of,
    folder_troubles,
    looks_like_a_path,
    name_trouble,
    of_file,
    shortened,
    size_of_weights,
)

FOLDER, HUB = "local-dir:", "hf-hub:"
"""timm's names for where a model comes from."""

CHECK = "check the name"


@dataclass(frozen=True)
class TimmModel:
    """A model of timm: by its name there, `hf-hub:owner/repository` (with an optional `revision`), or a local folder.

    `saved` is the folder that a run keeps the model's configuration in: then nothing else is read.
    """

    name: str
    revision: str | None = None
    saved: Path | None = None

    @property
    def folder(self) -> Path | None:
        """Where the files lie on this machine; None for a model of timm's or the Hub's."""
        local = self.name.removeprefix(FOLDER)
        return self.saved or (Path(local) if local.strip() and Path(local).is_dir() else None)

    @property
    def source(self) -> str:
        """What `timm.create_model` is given."""
        if self.folder is not None:
            return f"{FOLDER}{self.folder}"
        if self.revision is None:
            return self.name
        return f"{self.name if self.name.startswith(HUB) else f'{HUB}timm/{self.name}'}@{self.revision}"

    @property
    def repository(self) -> str | None:
        """Where its weights lie on the Hub, if that is known."""
        if self.name.startswith(HUB):
            return self.name.removeprefix(HUB).partition("@")[0]
        config = _registered(self.name)
        return None if config is None else config.hf_hub_id

    # What is wrong with it

    def problems(self) -> Iterator[PartError]:
        """Everything that is wrong with it, as far as that can be seen without loading or fetching weights."""
        for trouble in self._troubles():
            yield self._error(trouble)

    def check(self) -> None:
        """Raise `PartError` for what is wrong with a local folder, or with the name itself."""
        if errors := [self._error(trouble) for trouble in self._troubles(ask=False)]:
            raise gathered(errors)

    def _troubles(self, ask: bool = True) -> Iterator[Trouble]:
        if self.folder is not None:
            if self.revision is not None and self.saved is None:
                what = f"it is a folder and has no revision {self.revision!r}"
                yield Trouble(what, "leave revision out", code="encoder.revision")
            yield from folder_troubles(self.folder, "timm", () if self.saved else ("weights",))
            yield from self._unknown_architecture(self.folder)
            return
        if (found := self._wrong_name()) is not None:
            yield found
        elif ask and (repository := self.repository) is not None:
            files = WEIGHTS["timm"]
            if (kept := hub.kept(repository, self.revision, files)) is None:
                wanted = [(CONFIG, (CONFIG,)), ("weights that can be read here", files)]
                absent = hub.absent(repository, self.revision, wanted)
                if absent is not None:
                    yield Trouble(absent.what, f"{CHECK}; {absent.hint}")
                return
            try:
                check_weights(next(kept / name for name in files if (kept / name).exists()))
            except BadFile as error:
                yield of_file(error)

    def _unknown_architecture(self, folder: Path) -> Iterator[Trouble]:
        try:
            architecture = read_json_file(folder / CONFIG).get("architecture")
        except BadFile:
            return
        if isinstance(architecture, str) and not is_model(architecture):
            yield Trouble(
                f"timm {timm.__version__} has no architecture {architecture[:60]!r}",
                _near(architecture, False),
            )

    def _wrong_name(self) -> Trouble | None:
        local = self.name.removeprefix(FOLDER)
        if self.name.startswith(FOLDER) and (found := name_trouble(local)) is None:
            return Trouble("there is no such folder", CHECK)
        if not self.name.startswith(HUB) and (found := name_trouble(local)) is not None:
            if "one file of weights" in found.what:
                hint = (
                    "weights alone do not say of which network they are: put the file into a folder as model.pth, "
                    'beside a config.json such as {"architecture": "resnet50", "num_classes": 1000, '
                    '"pretrained_cfg": {}}, and name the folder'
                )
                if local.endswith(".safetensors"):
                    hint = hint.replace("model.pth", "model.safetensors")
                return Trouble(found.what, hint)
            return found
        if self.name.startswith(HUB):
            return None
        if "/" in self.name or looks_like_a_path(self.name):
            hint = f"{CHECK}: a repository of the Hub is named {HUB}{self.name}, and a local folder has to be there"
            return Trouble("there is no such folder, and timm's own models have no / in their names", hint)
        config = _registered(self.name)
        if self.revision is None and (config is None or not config.has_weights):
            return Trouble("timm has no model of this name, or no weights for it", _near(self.name, True))
        return None

    def weight_bytes(self) -> int | None:
        """The size of its weights on this machine; None if they are not there."""
        at = self.folder
        if at is None and (repository := self.repository) is not None:
            at = hub.kept(repository, self.revision, WEIGHTS["timm"])
        return None if at is None else size_of_weights(at, "timm")

    def maps(self) -> int | None:
        """How many feature maps the network gives; None if it cannot be made. Reads no weights."""
        try:
            with torch.device("meta"):
                network: Any = timm.create_model(self.source, pretrained=False)
            return len(network.feature_info)
        except Exception:  # why it cannot be made, `create` says
            return None

    # Loading

    def create(self, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
        """The network, and its constructor's arguments beside the architecture; with weights, unless `saved`.

        Raises `PartError` if it cannot be had, or not all of its weights are pretrained ones.
        """
        self.check()
        with self._loading():
            if self.folder is None and self.repository is not None and self.saved is None:
                self._check_fetched(self.repository)
            arguments = self._arguments()
            with _words() as words:
                network = timm.create_model(self.source, pretrained=self.saved is None, **options)
        self._check_loaded(network, words)
        return network, arguments

    def _check_fetched(self, repository: str) -> None:
        for name in WEIGHTS["timm"][:2]:
            found = networks.fetched(repository, name, self.revision)
            if found is not None:
                check_weights(found)
                return

    def _arguments(self) -> dict[str, Any]:
        if self.folder is not None:
            arguments: dict[str, Any] = read_json_file(self.folder / CONFIG).get("model_args", {})
            return arguments
        if self.source.startswith(HUB):
            theirs: dict[str, Any] = load_model_config_from_hf(self.source.removeprefix(HUB))[2]
            return theirs
        return {}

    def _check_loaded(self, network: nn.Module, words: list[str]) -> None:
        """Refuse a network with weights that are not pretrained; tell of those that were left out."""
        for said in words:
            if found := re.match(_KEYS, said, re.S):
                names = [n for n in found[2].split(", ") if not n.endswith("num_batches_tracked")]
                if found[1] == "Missing":
                    self._check_missing(network, names)
                else:
                    self._tell_of_unused(network, names)
            elif "random init" in said:
                raise PartError(
                    f"not all weights of {self.name!r} are pretrained: {said}",
                    hint="name another model of timm, or other weights (a tag, as in resnet50.a1_in1k)",
                    code="encoder.missing-weights",
                )
            elif said.startswith("Multiple "):
                logging.getLogger(__name__).warning("%r holds several files of weights: %s", self.name, said)

    def _check_missing(self, network: nn.Module, names: list[str]) -> None:
        """Refuse missing tensors, except those of a classifier that timm took off after loading (for feature maps)."""
        held = [name.removeprefix("model.") for name in network.state_dict()]  # as in timm's FeatureGetterNet
        taken_off = tuple(c for c in _classifiers(network) if not any(name.startswith(c) for name in held))
        if missing := [name for name in names if not name.startswith(taken_off)]:
            raise PartError(
                f"the weights of {self.name!r} lack {len(missing)} tensors of the network, {missing[0]} the first",
                hint="are these the weights of another model? The missing ones would be random",
                code="encoder.missing-weights",
            )

    def _tell_of_unused(self, network: nn.Module, names: list[str]) -> None:
        if unused := [name for name in names if not name.startswith((*_classifiers(network), *HEADS))]:
            logging.getLogger(__name__).warning(
                "the weights of %r hold %d tensors that the network has no place for (%s the first): they are not used",
                self.name,
                len(unused),
                unused[0],
            )

    # Words

    @contextmanager
    def _loading(self) -> Iterator[None]:
        try:
            yield
        except MMKitError:
            raise
        except BadFile as error:
            raise self._error(of_file(error)) from error
        except Exception as error:  # timm raises all kinds for a file that it does not expect
            raise self._error(self._explained(error)) from error

    def _explained(self, error: Exception) -> Trouble:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "Error(s) in loading state_dict" in lines[0]:
            found = [line.strip() for line in lines[1:] if line.strip()]
            what = f"its weights are another network's: {found[0][:200]}" if found else lines[0]
            return Trouble(
                what, "do config.json and the weights belong together?", code="encoder.missing-weights"
            )
        if self.folder is not None:
            return Trouble(lines[0][:300], f"the folder must contain {files_of('timm', ())}")
        if hub.offline() and isinstance(error, OSError):
            absent = hub.not_here("it is not whole on this machine")
            return Trouble(absent.what, f"{CHECK}; {absent.hint}")
        return Trouble(lines[0][:300], f"{CHECK}; a model of the Hub needs the network once")

    def _error(self, trouble: Trouble) -> PartError:
        return PartError(
            f"cannot make the timm model {self.name!r}: {shortened(trouble.what, self.name.removeprefix(FOLDER))}",
            hint=trouble.hint,
            code=trouble.code,
        )


HEADS = ("head.", "head_dist.", "fc.", "classifier.", "fc_norm.")
"""Where timm's classifiers stand; an encoder has none."""

_KEYS = r"(Missing|Unexpected) keys \((.*)\) (?:discovered|found) while loading"
"""How timm says which tensors the weights and the network do not share."""


def _classifiers(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classifiers' tensors, by the architecture: a network for feature maps does not name them."""
    pretrained_cfg: Any = network.pretrained_cfg
    registered = _registered(pretrained_cfg["architecture"])
    names = (registered and registered.classifier) or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


def _registered(name: str) -> Any:
    """What timm knows of a name's weights; None if it knows no such model, or no such tag of it."""
    try:
        return get_pretrained_cfg(name)
    except RuntimeError:
        return None


def _near(name: str, weights: bool) -> str:
    known = timm.list_models(pretrained=weights)
    found = [did_you_mean(name, known)] if near_misses(name, known) else []
    return "; ".join([*found, f"{CHECK}; timm.list_models() lists them"])


@contextmanager
def _words() -> Iterator[list[str]]:
    """What timm's loaders log, collected instead of shown on the screen."""
    said: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, handler = logging.getLogger("timm.models"), Keeping()
    before = (logger.level, logger.propagate)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield said
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
