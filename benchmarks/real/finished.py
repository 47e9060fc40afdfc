"""The JSON file of one finished run: scores with intervals, labels, kinds of errors, and all that they depend on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmkit.data.fingerprints import file_sha256
from mmkit.errors import RunError
from mmkit.files import read_json
from mmkit.metrics.bootstrap import f1_interval
from mmkit_report.analysis import calibrated, kinds, labels
from mmkit_report.scored import read_scored

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common import machine

if TYPE_CHECKING:
    from arms import Arm, Study

RESAMPLES = 10_000
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Finished:
    """The content of a result file."""

    content: Mapping[str, Any]

    @property
    def arm(self) -> str:
        return str(self.content["arm"])

    @property
    def seed(self) -> int:
        return int(self.content["seed"])

    @property
    def counts(self) -> NDArray[np.int64]:
        """`[N, 3]`: of each test example, correct, predicted and gold items."""
        rows = [row.split(" ") for row in self.content["counts"].split(",")]
        return np.array(rows, dtype=np.int64)


def write_finished(path: Path, study: Study, arm: Arm, folder: Path) -> Finished:
    """Take what is told from a complete run, and write it in one step."""
    scored = read_scored(folder, "test")
    counts = scored.example_counts[study.score]
    facts = scored.results.facts
    low, high = f1_interval(counts, RESAMPLES)
    what = next(iter({finding.what for found in scored.findings for finding in found}), "span")
    calibration = calibrated(scored, what)
    content = {
        "study": study.name,
        "arm": arm.name,
        "seed": facts["seed"],
        "recipe": facts["recipe"],
        "settings": study.told(arm),
        "encoders": {name: _encoder(folder) for name, folder in study.encoders.items()},
        "data": {split: _files(origin) for split, origin in facts["data"].items()},
        "scores": {
            split: {name: value for name, value in found.items() if type(value) in (int, float)}
            for split, found in facts["figures"].items()
        },
        "interval": {"score": study.score, "low": low, "high": high, "resamples": RESAMPLES},
        "labels": labels(scored, what),
        "kinds": kinds(scored, what),
        "calibration_error": None if calibration is None else calibration["error"],
        "best_epoch": facts["best_epoch"],
        "precision": facts["precision"],
        "seconds": facts["seconds"],
        "peak_memory_bytes": facts["peak_memory_bytes"],
        "machine": {**machine(), "load": round(os.getloadavg()[2], 1)},
        "python": facts["python"],
        "versions": facts["versions"],
        "git_commit": facts["git_commit"],
        "counts": ",".join(" ".join(map(str, map(int, row))) for row in counts),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".part")
    written.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written.replace(path)
    return Finished(content)


def read_finished(path: Path, study: Study, arm: Arm) -> Finished:
    """Read a result; raises `RunError` if it was made with other settings or encoders than the study's."""
    found = read_json(path)
    settings = json.loads(json.dumps(study.told(arm)))
    encoders = {name: _encoder(folder) for name, folder in study.encoders.items()}
    if (found["settings"], found["encoders"]) != (settings, encoders):
        raise RunError(
            "this result was made with other settings or encoders",
            where=path,
            hint="name another folder (--results), or delete this file to train again",
        )
    return Finished(found)


def _encoder(folder: Path) -> dict[str, str]:
    return {"folder": folder.name, "sha256": file_sha256(folder / WEIGHTS)[:12]}


def _files(origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a split without their folders, which are of this machine."""
    return [
        {"file": Path(file["file"]).name, "sha256": file["sha256"][:12], "variant": file.get("variant")}
        for file in origin["files"]
    ]
