"""Tests marked `matrix` take minutes: they run only where they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest


def leave_out_matrix(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that are marked `matrix`, unless `-m` or `-k` contains the word or their file is named."""
    if "matrix" in config.option.markexpr or "matrix" in config.option.keyword:
        return
    named = {Path(argument.partition("::")[0]).name for argument in config.args}
    left_out = [x for x in items if x.get_closest_marker("matrix") and x.path.name not in named]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
