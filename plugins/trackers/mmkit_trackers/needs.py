"""The package that a tracker needs, and what to install when it is not there."""

from __future__ import annotations

import os
from importlib.util import find_spec

from mmkit.errors import PartError


def need(module: str, tracker: str) -> None:
    """Raise `PartError` unless the package `module` is installed; the extra is called like the tracker."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:  # a mere folder of this name, as W&B makes one, is no package
        raise PartError(
            f"training.trackers: the tracker {tracker!r} needs a package that is not installed: {module}",
            hint=f"pip install './plugins/trackers[{tracker}]' from mmkit's repository, or take it out of the setting",
            code="trackers.package",
        )


def prefer(**variables: str) -> None:
    """Set environment variables that the user has not set, before a library reads them."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
