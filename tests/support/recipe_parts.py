"""Parts and a recipe of the tests' own, with one of every kind of argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from mmkit.data.reader import Reader
from mmkit.encoders.base import Encoder
from mmkit.errors import RecipeError
from mmkit.fusers.base import Fuser
from mmkit.recipe import Recipe


def whole(base: type, **body: Any) -> type:
    """A subclass of a station's base with every abstract method there."""
    return type(base.__name__, (base,), dict.fromkeys(base.__abstractmethods__, lambda self, *_: None) | body)


@dataclass
class Window:
    size: int
    step: float = 1.0


class Everything(whole(Encoder)):  # type: ignore[misc]
    """Takes one of every kind of argument."""

    def __init__(
        self,
        name: str,
        *,
        width: int = 8,
        rate: float = 0.5,
        kind: Literal["big", "small"] = "small",
        layers: list[int] | None = None,
        box: tuple[int, int] = (1, 2),
        names: dict[str, float] | None = None,
        window: Window | None = None,
        folder: Path | str = "",
        loose: Any = None,
        tags: frozenset[str] = frozenset({"a"}),
        unsure: int = None,  # type: ignore[assignment]  # noqa: RUF013
    ) -> None:
        super().__init__()
        self.given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}


class Free(whole(Fuser)):  # type: ignore[misc]
    def __init__(self, text: str = "text", **more: Any) -> None:
        super().__init__()
        self.more = more


class Odd(whole(Encoder)):  # type: ignore[misc]
    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        if heads % 2:
            raise ValueError(f"heads must be even, not {heads}")


class Rows(whole(Reader)):  # type: ignore[misc]
    pass


RECIPE = """
[recipe]
format = 1
seed = 7

[paths]
data = "some/where"

[backbones]
text = "bert"

[data.train]
@readers = "t.rows.v1"
root = ${paths.data}
file = "train.txt"

[data.dev]
@readers = "t.rows.v1"
root = ${paths.data}
file = "dev.txt"

[model.encoders.text]
@encoders = "t.everything.v1"
name = ${backbones.text}

[model.fuser]
@fusers = "t.free.v1"

[model.decoder]
@decoders = "t.tagger.v1"

[metrics.spans]
@metrics = "t.f1.v1"

[training]
epochs = 3
score = "spans.f1"

[training.groups.crf]
pattern = "^decoder"
learning_rate = 5e-2

[training.groups.rest]
pattern = "."

[sample]
training.learning_rate = 1e-3
"""

Make = Callable[..., Recipe]


def refusal(make: Make, *replaced: tuple[str, str], more: str = "", **overrides: Any) -> str:
    with pytest.raises(RecipeError) as error:
        make(*replaced, more=more, **overrides)
    return str(error.value)
