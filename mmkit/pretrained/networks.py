"""Load transformers' networks, tokenizers and processors, without running code of a model's own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging import CRITICAL, getLogger
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    dynamic_module_utils,
)
from transformers.utils import logging
from transformers.utils.hub import cached_file

from mmkit.errors import PartError
from mmkit.pretrained.folders import tokenizer_troubles


def hub_options(revision: str | None) -> dict[str, Any]:
    """Options of every `from_pretrained`: a revision, and no code of the model's own."""
    return {"trust_remote_code": False, **({} if revision is None else {"revision": revision})}


def options_for(source: str, revision: str | None) -> dict[str, Any]:
    """`hub_options`; for a local folder, missing files are not downloaded."""
    return hub_options(revision) | ({"local_files_only": True} if Path(source).is_dir() else {})


def load_config(source: str, revision: str | None = None) -> PreTrainedConfig:
    """A model's configuration. Raises what transformers raises."""
    with _guarded(source):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            source, trust_remote_code=False, **_without_trust(options_for(source, revision))
        )
    _check_no_kernels(config, source)
    _check_files(config, source)
    return config


def load_network(
    kind: Any,
    source: str,
    config: PreTrainedConfig | None = None,
    optional: tuple[str, ...] = (),
    dtype: torch.dtype | str = torch.float32,
    **options: Any,
) -> PreTrainedModel:
    """A network with its pretrained weights, in evaluation mode; those under a prefix in `optional` may be missing.

    `kind` is a class of models or one of the Auto classes. Raises `PartError` for weights that lack a tensor or have
    one of another shape, and what transformers raises. For tensors of further layers of the same kind there is a
    warning; others, such as those of a head for another task, are dropped.
    """
    given = _local(source, options)
    given["config"] = load_config(source, options.get("revision")) if config is None else config
    with _guarded(source):
        loaded: tuple[PreTrainedModel, dict[str, Any]] = kind.from_pretrained(
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            dtype=dtype,
            trust_remote_code=False,
            **given,
        )
    network, report = loaded
    _check_loaded(network, report, source, optional)
    return network


def initialised(kind: Any, config: PreTrainedConfig, **options: Any) -> PreTrainedModel:
    """A network as its class initialises it, in float32; `kind` as for `load_network`."""
    with _guarded(""):
        if hasattr(kind, "_model_mapping"):
            given = {k: v for k, v in options.items() if k not in ("trust_remote_code", "revision")}
            network: PreTrainedModel = kind.from_config(
                config, dtype=torch.float32, trust_remote_code=False, **given
            )
            return network
        made: PreTrainedModel = kind(config)
        return made


def load_tokenizer(source: str, **options: Any) -> PreTrainedTokenizerFast:
    """A fast tokenizer. Raises `PartError` if it is another kind, and what transformers raises."""
    tokenizer = load_any_tokenizer(source, **options)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PartError(
            f"the tokenizer of {source!r} ({type(tokenizer).__name__}) is not a fast one, so it does not say which "
            "word a subword belongs to",
            hint="take another model that has a tokenizer.json",
            code="encoder.slow-tokenizer",
        )
    return tokenizer


def load_any_tokenizer(source: str, **options: Any) -> Any:
    """A tokenizer, fast or not. Raises `PartError` for a folder without a vocabulary, and what transformers raises.

    For such a folder transformers makes a tokenizer without words.
    """
    if Path(source).is_dir():
        for trouble in tokenizer_troubles(Path(source)):
            what = f"cannot load the tokenizer of {source!r}: {trouble.what}"
            raise PartError(what, hint=trouble.hint, code=trouble.code)
    given = _local(source, options)
    with _guarded(source):
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **given)


def load_image_processor(source: str, **options: Any) -> Any:
    """The image processor of a network. Raises what transformers raises."""
    return load_processor(AutoImageProcessor, source, **options)


def load_processor(kind: Any, source: str, **options: Any) -> Any:
    """A processor of class `kind`. Raises what transformers raises."""
    given = _local(source, options)
    with _guarded(source):
        return kind.from_pretrained(source, trust_remote_code=False, **given)


def new_network(config: PreTrainedConfig, **options: Any) -> PreTrainedModel:
    """`initialised` with the class that the configuration names."""
    return initialised(AutoModel, config, **options)


def described(network: PreTrainedModel) -> dict[str, Any]:
    """The settings of a network's configuration that change its computation."""
    skipped = ("_name_or_path", "architectures", "dtype", "transformers_version")
    return {key: value for key, value in network.config.to_dict().items() if key not in skipped}


def _without_trust(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k != "trust_remote_code"}


def _local(source: str, options: dict[str, Any]) -> dict[str, Any]:
    given = _without_trust(options)
    if Path(source).is_dir():
        given.setdefault("local_files_only", True)
    return given


def _check_no_kernels(config: PreTrainedConfig, source: str) -> None:
    """Refuse a configuration that names a repository of kernels (compiled code) for its attention or experts."""
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        for setting in ("_attn_implementation", "_experts_implementation"):
            named = getattr(part, setting, None)
            if isinstance(named, str) and "/" in named:
                raise PartError(
                    f"config.json of {source!r} asks for compiled code from the Hub ({named[:60]}), which "
                    "mmkit never runs",
                    hint=f"take {setting.removeprefix('_')} out of config.json",
                    code="encoder.needs-code",
                )


def _check_files(config: PreTrainedConfig, source: str) -> None:
    """Refuse a configuration that names another file of weights than those that were checked."""
    named = getattr(config, "transformers_weights", None)
    if named is not None and not str(named).endswith((".safetensors", ".safetensors.index.json")):
        raise PartError(
            f"config.json of {source!r} takes the weights from {str(named)[:60]!r}, which is no safetensors file",
            hint="take transformers_weights out of config.json",
            code="encoder.unloadable",
        )


# What was loaded


def _check_loaded(
    network: PreTrainedModel, report: dict[str, Any], source: str, optional: tuple[str, ...]
) -> None:
    """Raise `PartError` if some tensors of a network are not the pretrained ones."""
    what = type(network).__name__
    missing = sorted(k for k in report["missing_keys"] if not k.startswith(optional))
    if missing:
        raise PartError(
            f"the weights of {source!r} lack {len(missing)} tensors of {what}, {missing[0]} the first",
            hint="are they another model's? the missing tensors would start at random",
            code="encoder.missing-weights",
        )
    if mismatched := sorted(report.get("mismatched_keys") or (), key=lambda found: str(found[0])):
        name, there, wanted = mismatched[0][:3]
        raise PartError(
            f"{len(mismatched)} tensors of {what} have another shape in the weights of {source!r}: {name} is "
            f"{tuple(there)} there, but config.json asks for {tuple(wanted)}",
            hint="check that config.json and the weights belong together",
            code="encoder.missing-weights",
        )
    if further := _further(report["unexpected_keys"], network):
        getLogger(__name__).warning(
            "the weights of %r have %d more tensors of the same kind than its config.json asks for (%s is the first): "
            "those layers are not used",
            source,
            len(further),
            further[0],
        )


def _further(unexpected: Any, network: nn.Module) -> list[str]:
    """Unused tensors that belong to layers beyond the network's number of layers."""

    def kind(name: str) -> str:
        return ".".join("#" if part.isdigit() else part for part in name.split("."))

    numbered = {kind(name) for name, _ in network.named_parameters()}
    return sorted(
        name
        for name in unexpected
        if "#" in (own := kind(name)) and any(own == known or own.endswith("." + known) for known in numbered)
    )


# Quiet, and without code


@contextmanager
def _guarded(source: str) -> Iterator[None]:
    """Without the library's messages, without progress bars for local files, and without questions whether to run
    code."""
    with ExitStack() as stack:
        stack.enter_context(_no_words())
        if not source or Path(source).is_dir():
            stack.enter_context(no_bars())
        # Some classes do not pass `trust_remote_code=False` on. Without it they would ask on the terminal.
        stack.enter_context(_replaced(dynamic_module_utils, "TIME_OUT_REMOTE_CODE", 0))
        stack.enter_context(_replaced(dynamic_module_utils, "get_class_in_module", _no_code))
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _no_code(*arguments: Any, **options: Any) -> Any:
    raise ValueError("custom code is never run")


@contextmanager
def no_bars() -> Iterator[None]:
    """Without transformers' progress bars, because this takes only a second."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _no_words() -> Iterator[None]:
    """Without transformers' messages and warnings: mmkit itself checks and reports what matters."""
    before = logging.get_verbosity()
    logging.set_verbosity(max(before, CRITICAL))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def fetched(name: str, file: str, revision: str | None) -> Path | None:
    """The local path of a file of a model on the Hub, downloaded if necessary; None if the model has no such file.

    Raises what transformers raises.
    """
    found = cached_file(
        name,
        file,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)
