"""What annotators with pretrained models share: how a model is known, and what is said when it cannot be had."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmkit.data.fingerprints import file_sha256
from mmkit.errors import PartError


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
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PartError(f"cannot load {what} {name!r}: {reason}", hint=hint) from error


def load_model(auto_class: Any, name: str, revision: str | None = None, device: str = "cpu") -> Any:
    """A pretrained model of transformers in float32 and evaluation mode; never with freshly drawn weights.

    Raises `PartError` where the files lack weights of this kind of model; other errors are transformers' own,
    for `loading` to explain.
    """
    import torch

    model, report = auto_class.from_pretrained(
        name, dtype=torch.float32, output_loading_info=True, **({"revision": revision} if revision else {})
    )
    missing = sorted(set(report["missing_keys"]) & {key for key, _ in model.named_parameters()})
    if missing:
        raise PartError(
            f"the weights of {name!r} lack {len(missing)} tensors of {type(model).__name__}, {missing[0]} the first",
            hint="are they another kind of model's?",
        )
    return model.to(device).eval()
