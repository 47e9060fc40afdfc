"""`mmkit predict` imports what its run uses, and nothing else: imports are most of the time of one prediction."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mmkit

UNUSED = {
    "timm", "faiss", "datasets", "pandas", "spacy", "optuna", "matplotlib", "fastapi", "uvicorn",
    "mmkit.training", "mmkit.checking", "mmkit.start", "mmkit.testing", "mmkit.encoders.timm_backbone",
    "mmkit.encoders.clip_backbone", "mmkit.encoders.blip_backbone", "mmkit.annotators.name_index",
    "mmkit_hvpnet.fuser", "mmkit_serve.app",
}  # fmt: skip
"""What a model of text alone does not need."""


def test_a_text_model_starts_without_what_it_does_not_use(tmp_path: Path) -> None:
    run = tmp_path / "run"
    mmkit.train(mmkit.sampled("text_only_twitter15"), {"training.epochs": 1}, output=run, device="cpu")
    arguments = ["mmkit", "predict", str(run), "--text", "look at Jordan !", "--device", "cpu"]
    code = (
        f"import sys; sys.argv = {arguments!r}\n"
        "from mmkit.cli import main\n"
        "try: main()\n"
        "finally: print('modules', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("look at Jordan !\n")
    modules = set(done.stdout.splitlines()[-1].split())
    assert "mmkit.encoders.transformer_words" in modules
    assert modules & UNUSED == set()
