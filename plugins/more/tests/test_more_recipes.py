"""The recipes: the released settings, parts that fit, and experts that the mixtures can build on."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from mmkit.model import fitting_parts
from mmkit.recipe import Recipe, load_recipe

NER = ("twitter15", "twitter17", "snap", "wikidiverse")
DATASETS = (*NER, "mnre")
EXPERTS = ("baseline", "text", "image")
FIGURES = {
    "twitter15": ("77.04", "77.79", "77.57"),
    "twitter17": ("89.11", "89.49", "90.28"),
    "snap": ("89.65", "90.06", "90.46"),
    "wikidiverse": ("76.58", "78.29", "77.81"),
}
"""What the paper reports for the baseline, text retrieval and image retrieval."""

CRF_RATES = {
    "twitter15": (0.05, 0.01, 0.025),
    "twitter17": (0.05, 0.01, 0.05),
    "snap": (0.05, 0.025, 0.01),
    "wikidiverse": (0.05, 0.025, 0.025),
}
ANNOTATORS = {
    "baseline": {},
    "text": {"text": "more.text_retrieval.v1"},
    "image": {"image": "more.image_retrieval.v1"},
    "moe": {"text": "more.text_retrieval.v1", "image": "more.image_retrieval.v1"},
}


def recipe(dataset: str, kind: str) -> Recipe:
    return load_recipe(f"more_{dataset}_{kind}")


@pytest.mark.parametrize(("dataset", "kind"), list(product(DATASETS, ("baseline", "text", "image", "moe"))))
def test_every_recipe_is_valid_and_its_parts_fit(dataset: str, kind: str) -> None:
    loaded = recipe(dataset, kind)
    fitting_parts(loaded)
    readers = {loaded.part(f"data.{split}", "readers") for split in ("train", "dev", "test")}
    assert readers == {"more.mnre.v1" if dataset == "mnre" else "more.conll.v1"}
    annotators = loaded.config["annotators"]
    assert {name: part["@annotators"] for name, part in annotators.items()} == ANNOTATORS[kind]
    assert {part["index"] for part in annotators.values()} <= {"indexes/wikipedia"}
    assert (loaded.seed, loaded.config["recipe"]["requires"]) == (42, ["mmkit-more"])
    wanted = "relations.f1" if dataset == "mnre" else "spans.f1"
    assert loaded.training.score == wanted


@pytest.mark.parametrize(("dataset", "kind"), list(product(NER, EXPERTS)))
def test_taggers_have_the_released_settings(dataset: str, kind: str) -> None:
    loaded = recipe(dataset, kind)
    training, decoder = loaded.training, loaded.config["model"]["decoder"]
    column = EXPERTS.index(kind)
    assert loaded.config["backbones"]["text"] == "xlm-roberta-large"
    assert loaded.config["model"]["encoders"]["text"]["max_length"] == 512
    assert (training.epochs, training.batch_size) == (10 if kind == "baseline" else 15, 4)
    assert training.learning_rate == (1e-5 if kind == "baseline" and dataset != "snap" else 5e-6)
    assert training.groups["crf"].learning_rate == CRF_RATES[dataset][column]
    assert (training.optimizer, training.schedule, training.schedule_every) == ("adamw", "linear", "epoch")
    assert (decoder["scheme"], decoder["word_dropout"]) == ("bioes", 0.0)
    assert decoder["temperature"] == (0.5 if (dataset, kind) == ("snap", "text") else 1.0)
    assert FIGURES[dataset][column] in loaded.path.read_text(encoding="utf-8").partition("[recipe]")[0]


@pytest.mark.parametrize(("dataset", "kind"), list(product(DATASETS, EXPERTS)))
def test_contexts_and_second_views(dataset: str, kind: str) -> None:
    loaded = recipe(dataset, kind)
    model = loaded.config["model"]
    two_views = kind == "text" and dataset != "wikidiverse"
    assert model["decoder"]["context"] == (None if kind == "baseline" else f"more.{kind}_context")
    assert model["decoder"]["two_views"] == two_views
    assert model["fuser"]["@fusers"] == ("more.two_views.v1" if two_views else "mmkit.text_only.v1")
    assert model["encoders"]["text"]["extra_views"] == (["plain"] if two_views else None)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_mixture_retrieves_what_its_experts_were_trained_with(dataset: str) -> None:
    mixture = recipe(dataset, "moe")
    for name in ("text", "image"):
        run = mixture.config["model"]["encoders"][name]
        assert (run["@encoders"], run["frozen"]) == ("mmkit.run.v1", True)
        assert run["run"] == f"runs/{run['recipe']}"
        expert = load_recipe(run["recipe"])
        assert expert.path.stem == f"more_{dataset}_{name}"
        assert mixture.config["annotators"][name] == expert.config["annotators"][name]
        for setting in ("root", "file", "rename"):
            for split in ("train", "dev", "test"):
                ours, theirs = mixture.config["data"][split], expert.config["data"][split]
                assert ours.get(setting) == theirs.get(setting)


def test_every_recipe_of_the_paper_is_tested() -> None:
    folder = recipe("mnre", "text").path.parent
    named = {f"more_{dataset}_{kind}" for dataset in DATASETS for kind in ANNOTATORS}
    assert {path.stem for path in Path(folder).glob("more_*.cfg")} == named
