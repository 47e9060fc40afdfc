"""What parts show of their work: tables of each example, from the same forward pass as the predictions."""

from __future__ import annotations

import math

import pytest
import torch

import mmkit
from mmkit.batch import Batch, States
from mmkit.data.types import Example
from mmkit.inspection import Table, inspected, tables
from raising import raises

EXAMPLES = [Example.from_tokens(f"x{i}", ["Ada"] * (1 + i % 3)) for i in range(5)]


class Lengths:
    """Shows how long each example is."""

    def inspect(self, states: States, batch: Batch) -> list[dict[str, Table]]:
        return [{"length": Table(["tokens"], ["number"], [[len(x.tokens)]])} for x in batch.examples]


def test_a_table_names_all_its_values() -> None:
    own = tables(torch.tensor([[[0.25, 0.75]], [[1.0, math.nan]]]), ["gate"], ["a", "b"])
    assert own[0].to_dict() == {"rows": ["gate"], "columns": ["a", "b"], "values": [[0.25, 0.75]]}
    assert own[1].to_dict()["values"] == [[1.0, None]]
    assert Table(["x"], ["a"], [[1.0]], by_token=True).to_dict()["by_token"] is True
    for values in ([[1.0]], [[1.0, 2.0], [1.0, 2.0]], []):
        with pytest.raises(ValueError, match="1 rows and 2 columns"):
            Table(["x"], ["a", "b"], values)


def test_what_parts_show_is_put_together_by_example() -> None:
    batch = Batch(tuple(EXAMPLES[:2]), {})

    class Ends(Lengths):
        def inspect(self, states: States, batch: Batch) -> list[dict[str, Table]]:
            return [{}, {"end": Table([], [], [])}]

    found = inspected([Lengths(), object(), Ends()], States({}), batch)
    assert [list(each) for each in found] == [["length"], ["length", "end"]]
    with raises("part.not-as-said", match="tables for 2 examples of 5"):
        inspected([Ends()], States({}), Batch(tuple(EXAMPLES), {}))
    with raises("part.not-as-said", match="length"):
        inspected([Lengths(), Lengths()], States({}), batch)


def test_a_batch_on_a_device_still_says_that_parts_are_to_show() -> None:
    batch = Batch((), {"text": {"x": torch.zeros(1)}}, inspecting=True)
    assert batch.to("cpu").inspecting and not Batch((), {}).inspecting


@pytest.fixture
def model(tagger, monkeypatch: pytest.MonkeyPatch) -> mmkit.Predictor:
    """A trained run whose fuser shows the width of its states, which it gives only if it is asked."""
    made = mmkit.load(tagger, device="cpu")
    fuser = made.model.fuser
    forward, asked = fuser.forward, []

    def showing(encoders, batch):
        states = forward(encoders, batch)
        asked.append(batch.inspecting)
        if batch.inspecting:
            states.tensors["widths"] = states["mask"].sum(1)
        return states

    def inspect(states, batch):
        return [{"width": own} for own in tables(states["widths"].view(-1, 1, 1), ["mask"], ["sum"])]

    monkeypatch.setattr(fuser, "forward", showing)
    fuser.inspect, made.asked = inspect, asked
    return made


def test_predictions_are_the_same_and_tables_come_in_order(model) -> None:
    assert model.model.inspectable
    usual = model.predict_batch(EXAMPLES)
    assert model.asked == [False]
    found = list(model.inspect(EXAMPLES, batch_size=2))
    assert [x for x, _, _ in found] == EXAMPLES and [p for _, p, _ in found] == usual
    assert model.asked[1:] == [True] * 3  # one forward pass for each batch
    for batch_size in (1, 5):
        again = [tables for _, _, tables in model.inspect(EXAMPLES, batch_size)]
        assert again == [tables for _, _, tables in found]
    one, two = (found[i][2]["width"].values[0][0] for i in (0, 1))
    assert two > one  # x1 has a word more


def test_a_model_whose_parts_show_nothing(tagger) -> None:
    model = mmkit.load(tagger, device="cpu")
    assert not model.model.inspectable
    assert [tables for _, _, tables in model.inspect(EXAMPLES)] == [{}] * len(EXAMPLES)
