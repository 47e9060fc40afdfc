"""Which trainings capture their updates, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.fit import Parts, fitting_parts
from mmkit.fusers.concat import Concat
from mmkit.training.graphs.choice import SILENT, captures, uncaptured, wants_graphs
from raising import raises

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Quiet(CrfTagger):
    """Somebody's tagger, which says nothing of itself."""


class Gathering(Concat):
    """Somebody's fuser, which knows that it cannot be captured."""

    captures = "it counts words"


@pytest.fixture
def asked(recipe) -> Any:
    """What is decided for the sample recipe with settings of `[training]`, and with parts replaced."""

    def ask(
        device: torch.device = GPU, processes: int = 1, parts: dict[str, Any] | None = None, **training: Any
    ) -> tuple[bool, str]:
        loaded = recipe(**{"graphs": "auto", **training})
        made = fitting_parts(loaded)
        replaced = {"fuser": made.fuser, "decoder": made.decoder, **(parts or {})}
        return wants_graphs(Parts(made.encoders, **replaced), loaded.training, device, processes)

    return ask


def test_core_parts_are_captured_on_a_gpu_alone(asked) -> None:
    assert asked() == (True, "")
    assert asked(graphs="on") == (True, "")
    assert asked(graphs="off") == (False, "")
    assert asked(CPU) == (False, "")
    wanted, note = asked(CPU, graphs="on")
    assert not wanted and "no effect on cpu" in note


def test_a_part_that_says_nothing_is_captured_only_if_asked_for(asked) -> None:
    wanted, note = asked(parts={"decoder": Quiet()})
    assert not wanted
    assert note == f"updates are not captured in CUDA graphs: model.decoder (Quiet): {SILENT}"
    assert asked(parts={"decoder": Quiet()}, graphs="on") == (True, "")


def test_a_part_that_cannot_be_captured_is_named_with_its_reason(asked) -> None:
    parts = {"fuser": Gathering(), "decoder": Quiet()}
    wanted, note = asked(parts=parts)
    assert not wanted and "model.fuser (Gathering): it counts words; model.decoder (Quiet)" in note
    with raises("recipe.not-captured", match="it counts words") as caught:
        asked(parts=parts, graphs="on")
    assert "Quiet" not in str(caught.value)
    with raises("recipe.not-captured"):  # whatever the device
        asked(CPU, parts=parts, graphs="on")


@pytest.mark.parametrize(
    ("training", "what"),
    [({"compile": True}, "training.compile"), ({"optimizer": "mine.sgd.v1"}, "'mine.sgd.v1'")],
)
def test_settings_that_cannot_be_captured_are_named(
    asked, recipe, training: dict[str, Any], what: str
) -> None:
    loaded = recipe(graphs="auto")
    for name, value in training.items():
        setattr(loaded.training, name, value)
    parts = fitting_parts(loaded)
    wanted, note = wants_graphs(parts, loaded.training, GPU, 1)
    assert not wanted and what in note
    loaded.training.graphs = "on"
    with raises("recipe.not-captured", match=what):
        wants_graphs(parts, loaded.training, GPU, 1)


def test_several_processes_train_without(asked) -> None:
    wanted, note = asked(processes=2)
    assert not wanted and "2 processes" in note
    assert asked(processes=2, graphs="on") == (wanted, note)


def test_encoders_whose_features_are_stored_are_captured_whatever_they_are(recipe) -> None:
    vision = fitting_parts(recipe({"model.encoders.vision.frozen": True})).encoders["vision"]

    class Mine(type(vision)):  # type: ignore[misc]
        """Somebody's network."""

        captures = "its network waits"

    class Own(Mine):
        """Somebody's encoder that does something else with stored features."""

        def forward(self, inputs: Any) -> Any:
            return super().forward(inputs)

    stored, anew = (object.__new__(kind) for kind in (Mine, Own))
    for made in (stored, anew):
        made.__dict__.update(vars(vision))
    assert captures(vision) is True and captures(stored) is True
    assert captures(anew) == "its network waits"
    stored.store = False
    assert captures(stored) == "its network waits"


def test_texts_in_windows_are_not_captured(recipe) -> None:
    parts = fitting_parts(
        recipe({"model.encoders.text.window_overlap": 4, "model.encoders.text.max_length": 32})
    )
    (said,) = uncaptured(parts)
    assert said.startswith("model.encoders.text (TransformerEncoder)") and "windows" in said
