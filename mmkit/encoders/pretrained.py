"""Pretrained networks of transformers: loaded whole or not at all, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from logging import ERROR
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from mmkit.errors import PartError, did_you_mean, near_misses
from mmkit.network import network_hint

LOADING_ERRORS = (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError)
"""What transformers raises for a model that is not there, damaged, or of another kind."""


def hub_options(revision: str | None) -> dict[str, Any]:
    """Options of every `from_pretrained`: a revision, and no code from the Hub."""
    return {"trust_remote_code": False, **({} if revision is None else {"revision": revision})}


def load_network(
    kind: Any, source: str, config: PreTrainedConfig, optional: tuple[str, ...] = (), **options: Any
) -> PreTrainedModel:
    """A network in float32 with its pretrained weights; those under a prefix in `optional` may be missing.

    Raises `PartError` for weights that lack a tensor, and `LOADING_ERRORS`.
    """
    with no_bars() if Path(source).is_dir() else nullcontext(), _no_report():
        loaded: tuple[PreTrainedModel, dict[str, Any]] = kind.from_pretrained(
            source, config=config, output_loading_info=True, dtype=torch.float32, **options
        )
    network, report = loaded
    missing = sorted(k for k in report["missing_keys"] if not k.startswith(optional))
    if missing:
        raise PartError(
            f"the weights of {source!r} lack {len(missing)} tensors of {type(network).__name__}, "
            f"{missing[0]} the first",
            hint="are they another model's?",
            code="encoder.missing-weights",
        )
    return network


def load_tokenizer(source: str, **options: Any) -> PreTrainedTokenizerFast:
    """A fast tokenizer. Raises `PartError` if it is another kind, and `LOADING_ERRORS`."""
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PartError(
            f"the tokenizer of {source!r} is not a fast one",
            hint="take another model",
            code="encoder.slow-tokenizer",
        )
    return tokenizer


def cannot_load(what: str, source: str, known: Iterable[str], files: str, error: Exception) -> PartError:
    """The user's error for one of `LOADING_ERRORS`.

    `what` names the kind ("the text encoder"), `known` some names of such, `files` what a folder must hold.
    """
    known = tuple(known)
    near = near_misses(source, known)
    hints = [did_you_mean(source, known)] if near and source not in known else []
    if Path(source).is_dir():
        hints.append(f"the folder must hold {files}")
    else:
        hints.append(
            network_hint()
            or "check the name; a model of the Hub needs the network once, or give a local folder's path"
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return PartError(
        f"cannot load {what} {source!r}: {reason}", hint="; ".join(hints), code="encoder.unloadable"
    )


def described(network: PreTrainedModel) -> dict[str, Any]:
    """What a network's configuration says of its computation."""
    skipped = ("_name_or_path", "architectures", "dtype", "transformers_version")
    return {key: value for key, value in network.config.to_dict().items() if key not in skipped}


@contextmanager
def no_bars() -> Iterator[None]:
    """Without transformers' progress bars, which here would only count a second's work."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _no_report() -> Iterator[None]:
    """Without the table of weights that a checkpoint has beside those asked for."""
    before = logging.get_verbosity()
    logging.set_verbosity(max(before, ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(before)
