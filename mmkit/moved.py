"""Old names of modules: an import of one still works, and says what the module is called now."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "mmkit.check": "mmkit.checking.check",
    "mmkit.check_linking": "mmkit.tasks.link_report",
    "mmkit.distributed": "mmkit.ops.distributed",
    "mmkit.encoders.pretrained": "mmkit.pretrained.networks",
    "mmkit.evaluate": "mmkit.inference.evaluate",
    "mmkit.expert": "mmkit.runs.expert",
    "mmkit.importing": "mmkit.runs.importing",
    "mmkit.inference.evaluation": "mmkit.metrics.scoring",
    "mmkit.knowledge": "mmkit.loading.knowledge",
    "mmkit.losses": "mmkit.ops.losses",
    "mmkit.precision": "mmkit.ops.precision",
    "mmkit.predict": "mmkit.inference.predictor",
    "mmkit.run": "mmkit.runs.folder",
    "mmkit.sample": "mmkit.loading.sample",
    "mmkit.score": "mmkit.inference.score",
    "mmkit.splits": "mmkit.loading.splits",
    "mmkit.training.devices": "mmkit.inference.devices",
    "mmkit.training.evaluation": "mmkit.metrics.scoring",
    "mmkit.training.features": "mmkit.inference.features",
    "mmkit.training.memory": "mmkit.inference.memory",
    "mmkit.training.settings": "mmkit.config.settings",
}
"""What a module was called → what it is called now."""


class CallableModule(ModuleType):
    """A module under a name that is now a function's, such as `mmkit.check`: it can also be called like the function.

    Importing it puts it where the function was, in the package.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


class OldNames(MetaPathFinder, Loader):
    """Finds a module under its old name; `moved` is a table like `MOVED`."""

    def __init__(self, moved: Mapping[str, str]) -> None:
        self.moved = moved

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.moved else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = self.moved[spec.name]
        warnings.warn(f"{spec.name} is now called {new}", DeprecationWarning, stacklevel=2)
        content = {k: v for k, v in vars(importlib.import_module(new)).items() if k[:2] != "__"}
        function = content.get(spec.name.rpartition(".")[2])
        module = (CallableModule if callable(function) else ModuleType)(spec.name, f"Now called {new}.")
        module.__dict__.update(content)
        if callable(function):
            module.__dict__.update(__wrapped__=function, __signature__=inspect.signature(function))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing: the module of the new name was executed."""


def install(moved: Mapping[str, str] = MOVED) -> None:
    """Let old names be imported from now on; a package with moved modules passes its own table."""
    if not any(isinstance(finder, OldNames) and finder.moved == moved for finder in sys.meta_path):
        sys.meta_path.append(OldNames(moved))
