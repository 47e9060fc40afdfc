"""The sample: every post has one article that explains it, and the recipes learn to look there."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.types import Example
from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from mmkit.training.train import train
from mmkit_more.conll import ConllContextsReader
from mmkit_more.mnre import MnreContextsReader
from mmkit_more.sample import conll_sample, mnre_sample, write_corpus
from mmkit_more.sample.world import WORDS

SEED = 7
FIGURE = {"twitter15": "spans.f1", "mnre": "relations.f1"}
LOOK = {"look", "picture", "see"}
"""One of these words is in every sentence that only its photo explains."""


@pytest.fixture(scope="module", params=["posts", "pairs"])
def splits(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Example]]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "posts":
        return {s: list(ConllContextsReader(**o)) for s, o in conll_sample(folder, SEED).items()}
    return {s: list(MnreContextsReader(**o)) for s, o in mnre_sample(folder, SEED).items()}


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"), SEED)
    return [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]


def kind_of(example: Example) -> str | None:
    return example.relations[0].label if example.relations else example.spans[0].label


def event_of(example: Example) -> str | None:
    return next((word for word in example.tokens if word.endswith(("fest", "con"))), None)


def test_an_event_is_mentioned_once_and_one_article_tells_of_it(splits, articles):
    events = {event_of(x): x for some in splits.values() for x in some if event_of(x)}
    assert len(events) == sum(event_of(x) is not None for some in splits.values() for x in some)
    titles = Counter(article["title"] for article in articles)
    text = {article["title"]: article["text"] for article in articles}
    for event, example in events.items():
        assert titles[event] == sum(event in article["text"] for article in articles) == 1
        assert f" a {WORDS[kind_of(example)]} ." in text[event]


def test_what_a_photo_shows_cannot_be_read_off_the_sentence(splits):
    for some in splits.values():
        kinds = defaultdict(Counter)
        for example in some:
            if LOOK & set(example.tokens):
                kinds[example.text][kind_of(example)] += 1
        assert len(kinds) >= 5
        for counts in kinds.values():
            assert len(counts) == 4
            assert len(set(counts.values())) == 1


def test_the_words_of_articles_are_known_from_training(splits):
    words = Counter(word for example in splits["train"] for word in example.tokens)
    kinds = {kind_of(example) for example in splits["test"] if event_of(example)}
    assert len(kinds) == 4
    assert all(words[WORDS[kind]] > 1 for kind in kinds)


def test_equal_seeds_give_equal_files(tmp_path):
    def contents(folder: Path, seed: int) -> dict[str, bytes]:
        write_corpus(folder, seed)
        conll_sample(folder, seed)
        mnre_sample(folder, seed)
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    first = contents(tmp_path / "first", SEED)
    assert first == contents(tmp_path / "again", SEED)
    other = contents(tmp_path / "other", SEED + 1)
    names = {name: name.replace(f"-{SEED}/", f"-{SEED + 1}/") for name in first}
    assert all(first[name] != other.get(names[name]) for name in first if not name.endswith("complete"))


@pytest.mark.matrix
@pytest.mark.parametrize("dataset", ["twitter15", "mnre"])
def test_contexts_help_and_the_mixture_beats_both_experts(dataset, tmp_path):
    mixture = sampled(load_recipe(f"more_{dataset}_moe"))  # trains the experts first
    runs = {name: Run(run["run"]) for name, run in mixture.config["model"]["encoders"].items()}
    figures = {name: run.facts()["figures"] for name, run in runs.items()}
    figures["moe"] = train(mixture, tmp_path / "moe", device="cpu")["figures"]
    baseline = sampled(load_recipe(f"more_{dataset}_baseline"))
    figures["baseline"] = train(baseline, tmp_path / "baseline", device="cpu")["figures"]
    test = {name: found["test"][FIGURE[dataset]] for name, found in figures.items()}
    assert min(test["text"], test["image"]) >= test["baseline"] + 0.15, test
    assert test["moe"] >= max(test["text"], test["image"]) + 0.05, test
    assert test["moe"] >= 0.9, test
