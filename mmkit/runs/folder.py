"""The run folder: everything that a trained model needs, and a record of how it was trained.

recipe.cfg  labels.json  model.safetensors  encoders/<name>/  metrics.jsonl  predictions/<split>.jsonl  run.json
checkpoint/
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement

from mmkit.access.network import without_network
from mmkit.config.packages import DISTRIBUTION, distribution_of
from mmkit.data.jsonlines import write_jsonl
from mmkit.data.types import Entity, Prediction
from mmkit.encoders.items import MissingImages
from mmkit.errors import RunError, near_misses, one_line
from mmkit.files import atomic, explained, read_json, write_json
from mmkit.files.temporary import is_temporary, remove_leftovers
from mmkit.loading.knowledge import read_entities
from mmkit.loading.split import ENTITIES
from mmkit.model import Model, assemble
from mmkit.ops.sharded import gathered_whole
from mmkit.recipe import Recipe, load_recipe
from mmkit.runs.integrity import (
    BELOW,
    FILES,
    KNOWLEDGE,
    RECIPE,
    check_files,
    described,
    missing_files,
    run_files,
)
from mmkit.runs.weights import load_tensors, load_weights, read_metadata, save_tensors

FORMAT = 1
STOPPED = "stopped"
COMPLETE = ("completed", STOPPED)
"""The states of a run that is over, `stopped` by early stopping."""
IMPORTING = "importing"
"""The state of a run that `save_run` is writing."""
SEEDS_FILE = "seeds.json"
"""In a folder with the runs of several seeds."""
PROBE = ".writable"
"""A file that is written and removed to see whether the folder can be written."""
PACKAGES = (DISTRIBUTION, "torch", "transformers", "timm", "accelerate", "numpy")


class Run:
    """Paths of a run folder, and how its files are written and read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.recipe_file = self.folder / "recipe.cfg"
        self.labels_file = self.folder / "labels.json"
        self.weights_file = self.folder / "model.safetensors"
        self.metrics_file = self.folder / "metrics.jsonl"
        self.json_file = self.folder / "run.json"
        self.checkpoint = self.folder / "checkpoint"
        self.entities_file = self.folder / KNOWLEDGE / "entities.jsonl"
        """The knowledge base of a run that is handed on with it, which its recipe reads by `mmkit.kb_jsonl.v1`."""

    def holds(self, recipe: Path) -> bool:
        """Whether a recipe is this run's own, rather than one that a user wrote."""
        return recipe.name == self.recipe_file.name and (
            self.labels_file.exists() or self.json_file.exists() or self.weights_file.exists()
        )

    def predictions_file(self, split: str) -> Path:
        """Where the predictions of a split are."""
        return self.folder / "predictions" / f"{split}.jsonl"

    def is_empty(self) -> bool:
        """Whether the folder does not exist, or contains only temporary files of a killed process."""
        return not self.folder.exists() or (
            self.folder.is_dir() and all(_is_leftover(path) for path in self.folder.iterdir())
        )

    # writing

    def create(self) -> None:
        """Make the folder. Raises `RunError` if there is anything in it, or if it cannot be written."""
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.is_empty():
                raise RunError(
                    "the output folder is not empty",
                    where=self.folder,
                    hint="name another --output, or add --resume to resume the run in it",
                    code="run.folder-taken",
                )
            self.remove_leftovers()
            with atomic(self.folder / PROBE) as probe:  # a full or read-only disk shows before any work
                probe.write("")
            (self.folder / PROBE).unlink()

    def remove_leftovers(self) -> None:
        """Remove the temporary files that a killed process left behind, and the probe of `create`."""
        (self.folder / PROBE).unlink(missing_ok=True)
        remove_leftovers(self.folder.rglob(".*"))

    def discard_if_empty(self) -> None:
        """Remove the folder if the run wrote nothing."""
        with contextlib.suppress(OSError):  # not empty, or not there
            self.folder.rmdir()

    def save_recipe(self, recipe: Recipe, model: Model) -> None:
        """Write everything that rebuilds the model, except weights: recipe, labels and the encoders' configurations."""
        with atomic(self.recipe_file) as file:
            file.write(recipe.to_str())
        write_json(self.labels_file, model.labels)
        for kind, encoders in (("encoders", model.named_encoders), ("entities", model.entity_encoders)):
            for name, encoder in encoders.items():
                folder = self.folder / kind / name
                with explained(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    encoder.save(folder)

    def save_weights(
        self, model: Model, keep_frozen: bool = True, step: int = 0, *, write: bool = True
    ) -> None:
        """Write `model.safetensors`: all weights, or all but frozen encoders', and the number of the update.

        If weights are spread over processes, all of them must call it, and one is to `write`.
        """
        state = model.state_dict()
        names = set(state) if keep_frozen else _names_without_frozen(model)
        kept = gathered_whole({name: t for name, t in state.items() if name in names}, keep=write)
        if write:
            save_tensors(self.weights_file, kept, {"mmkit": version(DISTRIBUTION), "step": str(step)})

    def weights_step(self) -> int:
        """The update whose weights are in `model.safetensors`; 0 if there are none."""
        step = read_metadata(self.weights_file).get("step", "0")
        return int(step) if step.isdecimal() and len(step) < 20 else 0

    def save_predictions(self, split: str, predictions: Iterable[Prediction]) -> Path:
        """Write `predictions/<split>.jsonl` in the canonical form."""
        path = self.predictions_file(split)
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(path, predictions, "predictions")
        return path

    def save_json(self, facts: Mapping[str, Any]) -> None:
        """Write `run.json`."""
        write_json(self.json_file, {"format": FORMAT, **facts})

    def checksums(self) -> dict[str, Any]:
        """What `run.json` keeps of the files that predictions depend on."""
        return {FILES: described(self.folder)}

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return any(self.checkpoint.glob("step-*"))

    def remove_checkpoint(self) -> None:
        """Remove the files that only resuming needs."""
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        self.remove_leftovers()

    # reading

    def recipe(self) -> Recipe:
        """The filled recipe with which the run was trained.

        If the run has a knowledge base of its own (`entities_file`), the recipe names it where it is now. Raises
        `RunError` if this is not a run folder, or if the recipe has changed since the run was completed.
        """
        if (self.folder / SEEDS_FILE).is_file() and not self.recipe_file.is_file():
            runs = sorted(path.parent.name for path in self.folder.glob("*/recipe.cfg"))
            raise RunError(
                f"this folder holds the runs of several seeds, not one run ({SEEDS_FILE} has the mean of their scores)",
                where=self.folder,
                hint=f"name one of them: {', '.join(str(self.folder / name) for name in runs[:3]) or 'none is there'}",
                code="run.several-seeds",
            )
        if not self.recipe_file.is_file():
            raise not_a_run(self.folder)
        check_files(self.folder, self.facts_if_any(), [RECIPE])
        own = (
            {f"data.{ENTITIES}.root": str(self.entities_file.parent)} if self.entities_file.is_file() else {}
        )
        return load_recipe(self.recipe_file, own)

    def labels(self) -> dict[str, Any]:
        """The decoder's labels."""
        return self._json(self.labels_file)

    def figures(self) -> dict[str, dict[str, float]]:
        """The scores in `run.json` by split; empty if there are none. Raises `RunError` for a damaged `run.json`."""
        found = self.facts_if_any().get("figures")
        splits = found.items() if isinstance(found, dict) else ()
        return {str(split): scores for split, scores in splits if isinstance(scores, dict)}

    def facts(self) -> dict[str, Any]:
        """`run.json`. Raises `RunError` for a newer format."""
        facts = self._json(self.json_file)
        found = facts.get("format", FORMAT)
        if not isinstance(found, int) or found > FORMAT:
            raise RunError(
                f"this run has format {found}, this mmkit reads up to {FORMAT}",
                where=self.json_file,
                hint=f"pip install --upgrade {DISTRIBUTION}",
                code="run.newer-format",
            )
        return facts

    def model(
        self,
        recipe: Recipe | None = None,
        entities: Path | Sequence[Entity] | None = None,
        missing: MissingImages | None = None,
        *,
        allow_network: bool = False,
    ) -> Model:
        """The trained model on the CPU, in evaluation mode, built from this folder's files alone.

        Only a run trained with `save_frozen = false` takes its frozen backbones by name, from the Hub's cache. A
        knowledge base is read from where the recipe says, or from the jsonlines file `entities`, unless it is given.
        Missing images are as the recipe says, unless `missing` is given. Nobody is contacted for that, unless
        `allow_network`. Raises `RunError` if a file is missing or damaged, or has
        changed since the run was completed.
        """
        with without_network(self.folder, allow=allow_network):
            return self._model(recipe, entities, missing)

    def _model(
        self,
        recipe: Recipe | None,
        entities: Path | Sequence[Entity] | None,
        missing: MissingImages | None,
    ) -> Model:
        recipe = recipe or self.recipe()
        self.check()
        for kind, section in (("encoders", "model.encoders"), ("entities", "model.entities.encoders")):
            for name in recipe.parts(section):
                if not (self.folder / kind / name).is_dir():
                    raise _missing(self.folder, f"{kind}/{name}")
        state = load_tensors(self.weights_file)
        if entities is None or isinstance(entities, Path):
            entities = read_entities(recipe, entities)
        keep_frozen = recipe.training.save_frozen
        model = assemble(
            recipe,
            labels=self.labels(),
            entities=entities,
            saved=self.folder,
            fetch_frozen=not keep_frozen,
            missing=missing,
        )
        names = set(model.state_dict()) if keep_frozen else _names_without_frozen(model)
        load_weights(model, state, self.weights_file, only=names)
        return model.eval()

    def check(self) -> None:
        """See that the files that predictions depend on are there, and what they were when the run was completed.

        Raises `RunError`.
        """
        facts, there = self.facts_if_any(), run_files(self.folder)
        check_files(self.folder, facts, there)
        if missing := missing_files(facts, there):
            raise _missing(self.folder, missing[0])

    def facts_if_any(self) -> dict[str, Any]:
        """`run.json`, or nothing if there is none: what is needed to predict is in the other files."""
        return self.facts() if self.json_file.exists() else {}

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            content = read_json(path)
            if not isinstance(content, dict):
                raise ValueError(f"it contains a {type(content).__name__}")
        except FileNotFoundError as error:
            raise _missing(self.folder, path.name) from error
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path.name} is damaged: {one_line(error)}",
                where=self.folder,
                hint="copy the file again",
                code="run.damaged",
            ) from error
        return content


def not_a_run(
    folder: Path,
    what: str = "a run folder (no recipe.cfg)",
    hint: str = "name the folder that `mmkit train` wrote",
) -> RunError:
    """The error for a folder that is not `what` was asked for, or is not there; then with similar names beside it."""
    if folder.exists():
        return RunError(f"this is not {what}", where=folder, hint=hint, code="run.not-a-run")
    beside = (
        [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    )
    if near := near_misses(folder.name, beside):
        hint = f"did you mean {' or '.join(str(folder.with_name(name)) for name in near)}? Otherwise {hint}"
    return RunError("there is no such folder", where=folder, hint=hint, code="run.not-a-run")


def _is_leftover(path: Path) -> bool:
    """Whether something was about to be put in place when a process was killed, or is the probe of `create`."""
    return is_temporary(path) or (path.is_file() and path.name == PROBE)


def _missing(folder: Path, name: str) -> RunError:
    return RunError(
        f"{name} is missing", where=folder, hint="the run folder is incomplete", code="run.missing-file"
    )


def _names_without_frozen(model: Model) -> set[str]:
    named = {f"encoders.{name}.": encoder for name, encoder in model.named_encoders.items()}
    named |= {f"entity_side.encoders.{name}.": encoder for name, encoder in model.entity_encoders.items()}
    frozen = tuple(prefix for prefix, encoder in named.items() if encoder.frozen)
    return {name for name in model.state_dict() if not name.startswith(frozen)}


def save_run(folder: str | Path, recipe: Recipe, model: Model, facts: Mapping[str, Any] | None = None) -> Run:
    """Write a model, such as an imported checkpoint, as a new run folder, or finish one that was cut off.

    Raises `RunError` if there is anything else in the folder, or if it cannot be written.
    """
    run = Run(folder)
    if run.json_file.is_file() and run.facts().get("status") == IMPORTING:
        for kind in BELOW:
            shutil.rmtree(run.folder / kind, ignore_errors=True)
        run.remove_leftovers()
    else:
        run.create()
    facts = {**environment(recipe), "status": "imported", **(facts or {})}
    run.save_json({**facts, "status": IMPORTING})
    run.save_recipe(recipe, model)
    run.save_weights(model, recipe.training.save_frozen)
    run.save_json({**facts, **run.checksums()})
    return run


def default_folder(recipe: Recipe) -> Path:
    """`runs/<recipe>/<time>` under the working directory."""
    return Path("runs") / recipe.name / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def environment(recipe: Recipe, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Everything on which a run's scores depend, besides its data: versions, device, seed, the code's commit."""
    device = torch.device(device)
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    packages = {
        *PACKAGES,
        *(distribution_of(Requirement(r).name) for r in recipe.config["recipe"].get("requires") or []),
    }
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        **({"tiny": True} if recipe.config["recipe"]["tiny"] else {}),
        "device": str(device),
        "device_name": name,
        "python": sys.version.split()[0],
        "versions": {p: v for p in sorted(packages) if (v := _version(p))},
        "git_commit": _git_commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the code in use (not of the working directory); None outside a checkout."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "log", "-1", "--format=%H", "--", "."]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
