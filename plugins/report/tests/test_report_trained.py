"""A trained run: the error file of an evaluation, and a report with blank images."""

from __future__ import annotations

import json
import re

import pytest
import torch

import mmkit
from mmkit import evaluate, load_recipe, sampled
from mmkit_report.scored import read_scored
from mmkit_report.write_report import write_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """HVPNeT, which looks at photos, trained for a while on the sample."""
    try:
        recipe = load_recipe("hvpnet_twitter15")
    except mmkit.MMKitError:
        pytest.skip("the plugin mmkit-hvpnet is not installed")
    folder = tmp_path_factory.mktemp("trained") / "run"
    recipe = sampled(recipe).with_overrides({"training.epochs": 5})
    mmkit.train(recipe, folder, device="cpu", quiet=True)
    return folder


def test_evaluating_writes_the_errors(trained, tmp_path):
    _, predictions = evaluate(trained, "test", device="cpu", output=tmp_path)
    head, *lines = (tmp_path / "errors" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(head)["examples"] == len(predictions) == 80
    scored = read_scored(trained, "test")
    wrong = {
        x.id
        for x, found in zip(scored.examples, scored.findings, strict=True)
        if any(f.is_error for f in found)
    }
    assert {json.loads(line)["id"] for line in lines} == wrong


def test_blank_images_are_as_an_evaluation_with_blank_images(trained, tmp_path):
    write_report([trained], "test", tmp_path / "report.html", blank=True, device="cpu")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])
    recipe = read_scored(trained, "test").recipe.with_overrides({"data.test.blank_images": True})
    figures, _ = evaluate(trained, "test", recipe=recipe, device="cpu", output=tmp_path / "blank")
    with_photos, without = ({f["name"]: f["value"] for f in run["figures"]} for run in found["runs"])
    assert without["spans.f1"] == pytest.approx(figures["spans.f1"])
    assert with_photos["spans.f1"] == read_scored(trained, "test").figures["spans.f1"]
    changed = [x for x in found["examples"] if x["p"][0].get("spans") != x["p"][1].get("spans")]
    assert changed and all(x["change"] >= 1 for x in changed)


def test_the_gates_that_are_shown_are_those_of_the_modules(trained, tmp_path):
    said = []
    write_report(
        [trained], "test", tmp_path / "r.html", blank=True, inspect=True, device="cpu", note=said.append
    )
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    found = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])
    assert said == []  # the predictions are those that training wrote
    model = mmkit.load(trained, device="cpu").model
    items = model.items(read_scored(trained, "test").examples[:3])
    batch = model.collate(items, targets=False)
    with torch.inference_mode():
        vision = model.encoders["vision"](batch.inputs["vision"])
        gates = model.fuser.weights(model.fuser.offer(vision["grid"]))
    for i, example in enumerate(found["examples"][:3]):
        shown, blank = example["p"][0]["shown"], example["p"][1]["shown"]
        real = [j for j in range(gates.shape[1]) if vision["mask"][i, j]]
        assert real and list(shown) == [f"gates, image {j + 1}" for j in real]
        assert list(blank) == ["gates, image 1"]
        for j in real:
            values = torch.tensor(shown[f"gates, image {j + 1}"]["values"])
            torch.testing.assert_close(values, gates[i, j], atol=1e-4, rtol=0)
    (first, *_) = found["runs"][0]["shown"]
    everything, *by_label = first["tables"]
    own = [x["p"][0]["shown"][first["name"]]["values"] for x in found["examples"]]
    assert everything["count"] == len(own) == 80
    torch.testing.assert_close(
        torch.tensor(everything["values"]), torch.tensor(own).mean(0), atol=2e-4, rtol=0
    )
    labels = sorted({span[2] for x in found["examples"] for span in x["spans"]})
    assert [table["group"] for table in by_label] == labels
