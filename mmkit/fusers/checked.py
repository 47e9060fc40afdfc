"""The first batch: do encoders and fuser give what they declare?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.encoders.base import Encoder
from mmkit.errors import PartError
from mmkit.fusers.base import Fuser
from mmkit.fusers.needs import features_of

MAIN = ("pooled", "tokens")
"""Names of features; the first of these that an encoder gives must be as wide as its `dim`."""


def checked_states(
    encoders: Mapping[str, Encoder],
    fuser: Fuser,
    batch: Batch,
    *,
    section: str = "model",
    watched: bool = True,
) -> States:
    """The fuser's states of a batch, after a check that encoders and fuser give what they declare.

    Used for the first batch only. Unless `watched`, encoders are not checked: compiled ones cannot be. Raises a
    `PartError` that names the part in the recipe's `section`: its author has to change it.
    """
    seen: dict[str, Features] = {}

    def keeping(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Features) -> None:
            seen.setdefault(name, output)

        return keep

    looked_at = encoders if watched else {}
    handles = [encoder.register_forward_hook(keeping(name)) for name, encoder in looked_at.items()]
    try:
        states: States = fuser(encoders, batch)
    finally:
        for handle in handles:
            handle.remove()
    for name, given in seen.items():
        encoder = encoders[name]
        widths = dict.fromkeys([feature for feature in MAIN if feature in given][:1], encoder.dim)
        _check_given(f"{section}.encoders.{name}", encoder, features_of(encoder.provides), widths, given)
    trained = fuser.provides_in_training if fuser.training and batch.targets else frozenset()
    _check_given(f"{section}.fuser", fuser, fuser.provides | trained, fuser.dims, states.tensors)
    return states


def _check_given(
    section: str,
    part: object,
    promised: Iterable[str],
    widths: Mapping[str, int],
    given: Mapping[str, Tensor],
) -> None:
    """Refuse names that are declared and not given, and tensors that do not have the declared width."""
    kind = type(part).__qualname__
    if lacking := sorted({*promised, *widths} - set(given)):
        raise PartError(
            f"{kind} says that it gives {', '.join(lacking)}, but gives {', '.join(sorted(given)) or 'nothing'}",
            where=section,
            hint="the author of the part must correct `provides` or `dims` (or `provides_in_training`)",
            code="part.not-as-said",
        )
    for name, width in widths.items():
        if given[name].shape[-1] != width:
            raise PartError(
                f"{kind} says that `{name}` is {width} wide, but its shape is {tuple(given[name].shape)}",
                where=section,
                hint="the author of the part must correct `dim` or `dims`",
                code="part.not-as-said",
            )
