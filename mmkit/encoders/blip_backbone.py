"""BLIP's networks (Li et al. 2022): pictures, texts, texts grounded in pictures, and its two scores of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from transformers import AutoConfig, BlipConfig, BlipForImageTextRetrieval, PreTrainedConfig

from mmkit.encoders.pretrained import LOADING_ERRORS, cannot_load, hub_options, load_network
from mmkit.encoders.sharing import shared
from mmkit.errors import PartError

WELL_KNOWN = (
    "Salesforce/blip-itm-base-coco",
    "Salesforce/blip-itm-base-flickr",
    "Salesforce/blip-itm-large-coco",
    "Salesforce/blip-itm-large-flickr",
)
"""Those of the Hub that have the text encoder; also for the hint when a name cannot be found."""


def blip_network(
    name: str, revision: str | None, saved: Path | None, frozen: bool
) -> BlipForImageTextRetrieval:
    """BLIP for retrieval: pretrained or, given `saved`, as initialised from the configuration there.

    Frozen ones of one checkpoint are shared (see `sharing`). Raises `PartError` if it cannot be had, is another
    kind of model, or one of BLIP's that lacks the text encoder, as those for captions do.
    """

    def make() -> BlipForImageTextRetrieval:
        return _load(name, revision) if saved is None else _initialised(saved)

    if not frozen:
        return make()
    return shared(
        (BlipForImageTextRetrieval, name, revision, saved is None), lambda: make().requires_grad_(False)
    )


def blip_error(source: str, error: Exception) -> PartError:
    """What to tell of a BLIP checkpoint that cannot be loaded."""
    files = "config.json, model.safetensors, the tokenizer's files and preprocessor_config.json"
    return cannot_load("the BLIP model", source, WELL_KNOWN, files, error)


def _load(name: str, revision: str | None) -> BlipForImageTextRetrieval:
    options = hub_options(revision)
    try:
        config = _of_blip(AutoConfig.from_pretrained(name, **options), name)
        return cast(
            BlipForImageTextRetrieval, load_network(BlipForImageTextRetrieval, name, config, **options)
        )
    except LOADING_ERRORS as error:
        raise blip_error(name, error) from error


def _initialised(saved: Path) -> BlipForImageTextRetrieval:
    try:
        return BlipForImageTextRetrieval(_of_blip(AutoConfig.from_pretrained(saved), str(saved)))
    except LOADING_ERRORS as error:
        raise blip_error(str(saved), error) from error


def _of_blip(config: PreTrainedConfig, source: str) -> BlipConfig:
    """The configuration, if it is that of a BLIP with a text encoder and both scores."""
    kind = (config.architectures or [BlipForImageTextRetrieval.__name__])[0]
    if isinstance(config, BlipConfig) and kind == BlipForImageTextRetrieval.__name__:
        return config
    raise PartError(
        f"{source!r} is a {config.model_type} model ({kind}), not BLIP for image-text retrieval",
        hint=f"take such a one: {WELL_KNOWN[0]}, say",
        code="encoder.wrong-model",
    )
