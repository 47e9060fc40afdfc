"""A section in a process of its own: it has its own peak memory, and nothing it breaks breaks the others."""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import multiprocessing
import resource
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from gpu_sections import Section
from gpu_sections.context import Context, Skip

PRELOAD = ("torch", "transformers", "timm", "mmkit.training.train", "mmkit.loading.sample")
"""Imported before the first section, so that forked processes have them at once."""


def preload() -> None:
    """Import what sections need. What cannot be imported is told by the sections that need it."""
    for name in PRELOAD:
        try:
            importlib.import_module(name)
        except ImportError:
            return


def run_section(section: Section, context: Context, limit: float, start: str) -> dict[str, Any]:
    """Run a section and return what came of it: status, seconds, facts, checks, rows and the error, if any.

    `start` is how its process starts, "fork" or "spawn". After `limit` seconds it is ended ("out of time"), and so
    it is by Ctrl-C ("interrupted"); what it had found stays.
    """
    began = time.perf_counter()
    process = multiprocessing.get_context(start).Process(target=_child, args=(section, context))
    process.start()
    ended = {}
    try:
        process.join(limit)
        if process.is_alive():
            ended = {"status": "out of time", "note": f"it was ended after {limit:.0f} s"}
    except KeyboardInterrupt:
        ended = {"status": "interrupted", "note": "it was ended by Ctrl-C"}
    _end(process)
    found: dict[str, Any] = {"facts": {}, "checks": [], "rows": []}
    if context.file.exists():
        found = json.loads(context.file.read_text(encoding="utf-8"))
    if not ended and "status" not in found:  # killed from outside, or by the system
        ended = {"status": "failed", "error": f"its process ended with exit code {process.exitcode}"}
    return {**found, **ended, "seconds": round(time.perf_counter() - began, 2)}


def _end(process: Any) -> None:
    if process.is_alive():
        process.terminate()
        process.join(5)
    if process.is_alive():
        process.kill()
    process.join()


def _child(section: Section, context: Context) -> None:
    """The section's process: its function, with whatever goes wrong recorded."""
    faulthandler.enable()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        absent = [name for name in section.needs if importlib.util.find_spec(name) is None]
        if absent:
            raise Skip(f"{', '.join(absent)} is not installed")
        if ":" in context.device_name:  # timers and memory are then the current device's, too
            import torch

            torch.cuda.set_device(context.device)
        function(section.target)(context)
        failed = [f"{c['what']}: {c['error']:.3g} > {c['tolerance']:.3g}" for c in context.failed]
        outcome = {"status": "failed", "error": "; ".join(failed)} if failed else {"status": "ok"}
    except Skip as reason:
        outcome = {"status": "skipped", "note": str(reason)}
    except BaseException as error:  # also `SystemExit`, and Ctrl-C, of which the parent knows more
        outcome = {
            "status": "failed",
            "error": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }
    context.write(**outcome, **_peaks(context))


def function(target: str) -> Callable[[Context], None]:
    """What a section's `target` names."""
    place, _, name = target.rpartition(":")
    return getattr(module(Path(place)) if place.endswith(".py") else importlib.import_module(place), name)


def module(file: Path) -> ModuleType:
    """A Python file as a module that is called by its path, so that equal file names stay apart."""
    name = "_".join(file.resolve().with_suffix("").parts[-3:]).replace("-", "_")
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise ImportError(f"{file} is no Python file")
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    return made


def _peaks(context: Context) -> dict[str, float]:
    """Peak memory of this process, and what it had of the GPU's."""
    peaks = {"peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if context.device_name.startswith("cuda"):
        from common import GPU_MEMORY

        try:
            peaks["peak GPU memory, GiB"] = GPU_MEMORY.highest(context.device) / 2**30
        except Exception as error:  # the device no longer answers after some errors
            peaks["peak GPU memory"] = str(error)  # type: ignore[assignment]
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in peaks.items()}
