"""What annotators with pretrained models share: how a model is known, and what is said when it cannot be had."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmkit.data.fingerprints import file_sha256
from mmkit.errors import PartError
from mmkit.network import network_hint


def model_identity(model: str) -> str:
    """A model's name on the Hub; for a folder a hash of its files, which may change under one name."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = [(str(path.relative_to(folder)), file_sha256(path)) for path in files]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


@contextmanager
def loading(what: str, name: str, hint: str) -> Iterator[None]:
    """Turn what transformers raises for a model that cannot be had or is of another kind into a `PartError`.

    `what` names the kind in the message: "the detector".
    """
    from mmkit.encoders.pretrained import LOADING_ERRORS

    try:
        yield
    except LOADING_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PartError(
            f"cannot load {what} {name!r}: {reason}",
            hint="; ".join(filter(None, (hint, network_hint()))),
            code="part.model-unloadable",
        ) from error
