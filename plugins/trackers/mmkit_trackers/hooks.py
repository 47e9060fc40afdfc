"""Hooks: the trackers that `training.trackers` may name."""

from __future__ import annotations

from mmkit.hooks import hookimpl


@hookimpl
def mmkit_trackers() -> dict[str, str]:
    return {
        "tensorboard": "mmkit_trackers.tensorboard:TensorBoard",
        "mlflow": "mmkit_trackers.mlflow:MLflow",
        "wandb": "mmkit_trackers.wandb:WeightsAndBiases",
        "trackio": "mmkit_trackers.trackio:Trackio",
    }
