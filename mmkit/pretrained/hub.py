"""Models of the Hugging Face Hub: which files are on this machine, and whether the Hub has the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not listed

from mmkit.access.network import network_hint

PATIENCE = 10.0
"""Seconds to wait for the Hub's answer whether it has a model."""


@dataclass(frozen=True)
class Absent:
    """Why a model of the Hub cannot be loaded: the message and the hint."""

    what: str
    hint: str


def offline() -> bool:
    """Whether the environment forbids asking the Hub."""
    return bool(constants.is_offline_mode())


def not_here(what: str) -> Absent:
    """The problem of a model with files missing on this machine, where the Hub may not be contacted."""
    if hint := network_hint():
        return Absent(f"{what}, and a loaded run does not download by itself", hint)
    return Absent(
        f"{what}, and the Hub may not be contacted (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)",
        "download it once with the network, or name a local folder",
    )


def kept(name: str, revision: str | None, files: Iterable[str]) -> Path | None:
    """The folder of this machine's cache that holds a model's files, if it holds one of `files`."""
    for file in files:
        try:
            found = try_to_load_from_cache(name, file, revision=revision)
        except (HFValidationError, ValueError, OSError):
            return None
        if isinstance(found, str) and Path(found).exists():
            return Path(found).parent
    return None


def absent(name: str, revision: str | None, wanted: Sequence[tuple[str, Sequence[str]]]) -> Absent | None:
    """Why a model cannot be downloaded from the Hub, or None; only the list of its files is requested.

    `wanted` maps the names of kinds of files to file names; of each kind one must be there.
    """
    try:
        validate_repo_id(name)
        if offline():
            return not_here("it is not on this machine")
        info = HfApi().model_info(name, revision=revision, timeout=PATIENCE)
    except HFValidationError as error:
        reason = str(error).splitlines()[0][:160]
        return Absent(f"no model of the Hub can be called so ({reason})", "check the name")
    except GatedRepoError:
        return Absent(
            "it is a gated model: its owner must give you access",
            f"ask for access at https://huggingface.co/{name}, then log in: hf auth login",
        )
    except RevisionNotFoundError:
        return Absent(f"it has no revision {revision!r}", f"see https://huggingface.co/{name}/commits")
    except RepositoryNotFoundError:
        return Absent(
            "the Hub has no such model, or the model is private",
            "check the name; for a private model: hf auth login",
        )
    except HfHubHTTPError as error:
        return Absent(f"the Hub refuses it ({' '.join(str(error).split())[:120]})", "try again later")
    except Exception as error:  # the client's transport may raise anything without a network
        return Absent(
            f"it is not on this machine, and the Hub does not answer ({type(error).__name__})",
            "check the network, or name a local folder",
        )
    there = {file.rfilename for file in info.siblings or ()}
    lacking = [what for what, files in wanted if not there.intersection(files)]
    if lacking:
        return Absent(
            f"on the Hub it has no {' and no '.join(lacking)}",
            f"see https://huggingface.co/{name}/tree/{revision or 'main'}, and name another model",
        )
    return None
