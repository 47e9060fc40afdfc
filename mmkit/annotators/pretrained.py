"""Helpers for annotators with pretrained models: a model's identity, and the error if it cannot be loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmkit.access.network import network_hint
from mmkit.data.fingerprints import file_sha256
from mmkit.errors import MMKitError, PartError, gathered

if TYPE_CHECKING:
    from mmkit.pretrained.source import Pretrained


def model_identity(model: str) -> str:
    """A model's name on the Hub; for a folder a hash of its files, which may change while the name stays."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = [(str(path.relative_to(folder)), file_sha256(path)) for path in files]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def model_version(model: str, revision: str | None, identity: str) -> str:
    """Which version of a model it is, as far as that is known: its revision, else the start of a folder's hash.

    `identity` is its `model_identity`, which may take long to compute.
    """
    return revision or (identity[:16] if identity != model else "")


def annotators_model(
    what: str,
    name: str,
    revision: str | None = None,
    hint: str = "",
    needs: Sequence[str] = ("weights",),
    timm: bool = False,
) -> Pretrained:
    """A model of transformers that an annotator asks: loaded without running code, and known before it is loaded.

    `what` names its kind in messages ("the detector"), `hint` says what to name instead. See
    `mmkit.pretrained.source.Pretrained` for `needs` and `timm`.
    """
    from mmkit.pretrained.source import Pretrained

    code = "part.model-unloadable"
    return Pretrained(name, what, revision, hint=hint, code=code, needs=needs, timm=timm)


def check_available(*models: Pretrained) -> None:
    """Raise `PartError` for all problems of models that can be found without loading or downloading weights.

    For `Annotator.check_computable`: the Hub is asked for a list of files.
    """
    if errors := [error for model in models for error in model.problems()]:
        raise gathered(errors)


@contextmanager
def loading(what: str, name: str, hint: str) -> Iterator[None]:
    """Turn whatever a library raises for a model that cannot be had or is of another kind into a `PartError`.

    `what` names the kind in the message: "the detector". For models of transformers take `annotators_model`.
    """
    try:
        yield
    except MMKitError:
        raise
    except Exception as error:  # the libraries raise all kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PartError(
            f"cannot load {what} {name!r}: {reason}",
            hint="; ".join(filter(None, (hint, network_hint()))),
            code="part.model-unloadable",
        ) from error
