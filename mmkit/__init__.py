"""mmkit: multimodal information extraction assembled from registered parts.

reader → annotators → encoders → fuser → decoder → metrics

What this package exports is stable: `__init__.pyi` lists it, and docs/api.md describes it. A name is imported when it
is first asked for, so that `import mmkit` imports no torch.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

from mmkit import moved

moved.install()

__version__ = "0.1.0"


def _exports() -> dict[str, str]:
    """Name → the module that it is from, as the stub says."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    lines = [line for line in stub.body if isinstance(line, ast.ImportFrom) and line.module]
    return {alias.name: str(line.module) for line in lines for alias in line.names}


_EXPORTS = _exports()
__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604 - names all


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'mmkit' has no attribute {name!r}")
    home = _EXPORTS[name]
    if home == __name__:  # a module of this package
        return importlib.import_module(f"{home}.{name}")
    found = getattr(importlib.import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
