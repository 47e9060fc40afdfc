"""mmkit: multimodal information extraction assembled from registered parts.

reader → annotators → encoders → fuser → decoder → metrics
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmkit import moved

if TYPE_CHECKING:
    from pathlib import Path

    from mmkit.inference.predictor import Predictor

moved.install()

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(run: str | Path, device: str = "auto", entities: str | Path | None = None) -> Predictor:
    """Load a trained run folder for prediction. Raises `RunError` if it is incomplete or damaged.

    A linker links to the knowledge base of its recipe, or to that in `entities`, a file of jsonlines.
    """
    from mmkit.inference.predictor import Predictor  # torch is imported only when a model is wanted

    return Predictor.from_run(run, device, entities)
