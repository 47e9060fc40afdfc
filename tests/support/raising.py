"""Expecting an error by its code, so that a test does not depend on how the error is worded."""

from __future__ import annotations

import pytest

from mmkit.errors import MMKitError


def raises(code: str, match: str | None = None) -> pytest.RaisesExc[MMKitError]:
    """As `pytest.raises`, for the error of this code; `match` is for what is filled into its message."""

    def has_it(error: MMKitError) -> bool:
        assert error.code == code, f"{type(error).__name__} {error.code!r}, not {code!r}: {error}"
        return True

    return pytest.raises(MMKitError, match=match or None, check=has_it)
