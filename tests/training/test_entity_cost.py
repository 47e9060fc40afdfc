"""How often a training encodes all entities again."""

from __future__ import annotations

import pytest

from mmkit.config.settings import TrainingSettings
from mmkit.training.entity_cost import encodings_of_all


@pytest.mark.parametrize(
    ("settings", "refresh", "times"),
    [
        ({"epochs": 20}, 1, 21),
        ({"epochs": 20, "eval_from": 2, "eval_epochs": 2}, 1, 11),
        ({"epochs": 20, "eval_from": 3, "eval_epochs": 2}, 1, 10),
        ({"epochs": 20, "eval_from": 20}, 1, 2),
        ({"epochs": 20}, 4, 6),
        ({"epochs": 4, "batch_size": 10, "eval_every": 5}, 1, 4 + 8 + 1),
        ({"epochs": 4, "batch_size": 10, "eval_every": 5, "eval_from": 3}, 1, 2 + 4 + 1),
    ],
)
def test_it_counts_evaluations_and_the_end(settings: dict[str, int], refresh: int, times: int) -> None:
    assert encodings_of_all(TrainingSettings(**settings), 100, refresh) == times
