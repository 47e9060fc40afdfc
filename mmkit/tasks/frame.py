"""Answers as a table of pandas, which need not be installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mmkit.errors import PartError


def frame(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> Any:
    """A pandas `DataFrame` of rows, with these columns in this order. Raises `PartError` if pandas is missing."""
    try:
        import pandas
    except ImportError as error:
        raise PartError(
            "a table of answers needs pandas, which is not installed",
            where="to_frame",
            hint="pip install pandas; or use answer.to_dict(), which needs nothing",
            code="part.no-pandas",
        ) from error
    return pandas.DataFrame(list(rows), columns=list(columns))
