"""Abilities: who has which, told by `isinstance`."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mmkit.encoders.abilities import OLD_NAMES, GivesScores, ReadsViews, TakesPrefix
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.runs.expert import RunEncoder


def test_the_text_encoder_takes_a_prefix_and_reads_views(tiny_bert: Path) -> None:
    encoder = TransformerEncoder(str(tiny_bert), extra_views=["plain"])
    assert isinstance(encoder, TakesPrefix) and isinstance(encoder, ReadsViews)
    assert encoder.extra_views == ("plain",) and not isinstance(encoder, GivesScores)
    encoder.build()
    assert encoder.prefix_shape() == [(4, 16)] * 2


def test_a_trained_run_gives_scores_and_says_so_before_it_is_built() -> None:
    encoder = RunEncoder("runs/anything")
    assert isinstance(encoder, GivesScores)
    assert not isinstance(encoder, TakesPrefix) and not isinstance(encoder, ReadsViews)


def test_another_module_has_no_ability() -> None:
    other = nn.Linear(2, 2)
    assert not any(isinstance(other, ability) for ability in (TakesPrefix, ReadsViews, GivesScores))


def test_the_old_words_name_them() -> None:
    assert {"prefix": TakesPrefix, "scores": GivesScores} == OLD_NAMES
