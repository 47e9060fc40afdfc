"""Recipes that are wrong: all that is wrong is said at once, with its line and what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit import hooks
from mmkit.config import packages
from mmkit.config.settings import TrainingSettings
from mmkit.config.text import parse
from mmkit.config.upgrade import parts_named
from mmkit.config.upgrade import section as section_of
from mmkit.errors import RecipeError
from mmkit.recipe import Recipe, load_recipe
from raising import raises
from recipe_parts import RECIPE, Make, refusal

# -- what is refused -----------------------------------------------------------------------------------------


def test_everything_wrong_is_said_at_once_with_paths_lines_and_near_misses(make: Make) -> None:
    text = refusal(
        make,
        ("epochs = 3", "epochs = 0\nbatchsize = 4"),
        ("seed = 7", 'seed = "7"'),
        ('root = ${paths.data}\nfile = "train.txt"', "root = ${paths.dta}"),
        ('@decoders = "t.tagger.v1"', '@decoders = "t.taggr.v1"'),
        ('@fusers = "t.free.v1"', '@metrics = "t.f1.v1"'),
        ("[metrics.spans]", "[metrcs.spans]"),
    )
    for line in (
        'recipe.seed (line 4): must be int, not "7"',
        "data.train.root (line 14): ${paths.dta} refers to nothing; did you mean 'paths.data'?",
        "data.train.file (line 12): is missing; it is a str",
        "model.fuser.@metrics (line 26): does not belong here: this section takes one of the fusers",
        "model.decoder.@decoders (line 29): there is no 't.taggr.v1' among the decoders; did you mean",
        "metrcs (line 31): there is no such section; did you mean 'metrics'?",
        "training.batchsize (line 36): there is no such setting; did you mean 'batch_size'",
        "training.epochs (line 35): must be at least 1, not 0",
        'training.score (line 37): there is no [metrics.spans] for "spans.f1"',
    ):
        assert line in text
    assert text.index("recipe.seed") < text.index("data.train.root") < text.index("training.batchsize")
    assert "9 problems" in text


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("width", 1.0, "must be int, not 1.0"),
        ("width", True, "must be int, not true"),
        ("rate", "0.5", 'must be float, not "0.5"'),
        ("rate", False, "must be float"),
        ("kind", "bigg", "did you mean 'big'?"),
        ("name", 2015, "'\"2015\"'"),
        ("layers", [1, "2"], 'must be int, not "2"'),
        ("layers", "12", 'must be list[int] | None, not "12"; write [12]'),
        ("layers", "[3, 12", "write [3, 12]"),
        ("box", [1], "must have 2 items"),
        ("box", [1, 2.5], "box[1]"),
        ("names", {"a": "b"}, "names.a"),
        ("names", 3, "must be dict[str, float] | None, not 3"),
        ("window", {"step": 2}, "window.size"),
        ("window", {"size": 2, "sise": 2}, "did you mean 'size'?"),
        ("folder", 3, "must be Path | str"),
        ("tags", [1], "tags[0]"),
    ],
)
def test_wrong_types_are_refused(make: Make, name: str, value: Any, says: str) -> None:
    text = refusal(make, **{f"model__encoders__text__{name}": value})
    assert f"model.encoders.text.{name}" in text
    assert says in text
    assert "1 problem" not in text  # one problem is said in one line, without a heading


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("batch_size", 0, "at least 1"),
        ("learning_rate", -1e-3, "at least 0"),
        ("accumulate", 32, "cannot cut batches of 16 into 32"),
        ("eval_from", 99, "no epoch would be scored"),
        ("eval_from", 99, "lower it (--training.eval_from "),
        ("betas", [0.9], "two numbers"),
        ("betas", [0.9, 1.0], "two numbers"),
        ("no_decay", "(", "not a regular expression"),
        ("feature_memory", 2, "at most 1"),
        ("score", "f1", "no [metrics.f1]"),
        ("score", "spans", '"spans.f1"'),
        ("score", {"spans.f1": 1, "links.hits": 1}, "no [metrics.links]"),
        ("score", {"spans.f1": "much"}, "must be float"),
        ("score", "", "is missing: data.dev is scored with it"),
        ("loss_weights", {"aux": "x"}, "loss_weights.aux"),
        ("precision", "fp16", '"auto" | "fp32" | "tf32" | "bf16"'),
        ("groups", {"a": {}}, "training.groups.a.pattern"),
        ("groups", {"a": {"pattern": "(", "learning_rate": -1}}, "not a regular expression"),
    ],
)
def test_training_settings_that_make_no_sense_are_refused(
    make: Make, setting: str, value: Any, says: str
) -> None:
    text = refusal(make, **{f"training__{setting}": value})
    assert f"training.{setting}" in text
    assert says in text


def test_a_weighted_score_is_allowed(make: Make) -> None:
    assert make(training__score={"spans.f1": 1, "spans.recall": 0.5}).training.score == {
        "spans.f1": 1.0,
        "spans.recall": 0.5,
    }


def test_missing_sections_are_named(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "empty.cfg"
    file.write_text("[recipe]\nformat = 1\n[model]\n", encoding="utf-8")
    with raises("recipe.invalid") as error:
        load_recipe(file)
    for section in ("data.train", "model.encoders", "model.fuser", "model.decoder"):
        assert f"{section}" in str(error.value)
    file.write_text("", encoding="utf-8")
    with raises("recipe.invalid", match=r"with \[recipe\] and format = 1"):
        load_recipe(file)


def test_a_section_without_a_part_or_with_two_is_refused(make: Make) -> None:
    assert '@fusers = "..." is missing; known: ' in refusal(make, ('@fusers = "t.free.v1"\n', ""))
    two = refusal(make, ('@fusers = "t.free.v1"', '@fusers = "t.free.v1"\n@metrics = "t.f1.v1"'))
    assert "model.fuser.@metrics" in two


def test_a_part_of_another_registry_is_said_to_be_one(make: Make) -> None:
    text = refusal(make, ('@fusers = "t.free.v1"', '@fusers = "t.f1.v1"'))
    assert "'t.f1.v1' among the fusers: it is one of the metrics" in text


def test_a_known_plugin_that_is_missing_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_installed", lambda package: False)
    text = refusal(make, ('@fusers = "t.free.v1"', '@fusers = "tesga.graph_attention.v1"'))
    assert "pip install ./plugins/tesga from mmkit's repository" in text


def test_a_known_plugin_that_brings_a_setting_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    known = packages.KnownPackage(
        "mmkit-later", ("later",), "pip install mmkit-later", ("model.fuser.gates",)
    )
    monkeypatch.setattr(packages, "known_packages", lambda: (known,))
    gates = ('@fusers = "mmkit.text_only.v1"', '@fusers = "mmkit.text_only.v1"\ngates = 2')
    change = ('@fusers = "t.free.v1"', gates[1])
    assert "there is no such setting; pip install mmkit-later" in refusal(make, change)
    monkeypatch.setattr(packages, "is_installed", lambda package: True)
    assert "mmkit-later" not in refusal(make, change)


def test_a_plugin_brings_recipes_of_an_older_form_up_to_date(make: Make) -> None:
    class Plugin:
        @hooks.hookimpl
        def mmkit_upgrade(self, recipe: dict[str, Any]) -> None:
            for at, part in parts_named(recipe, "fusers", "t.former.v1"):
                assert at == "model.fuser"
                part["@fusers"] = "t.free.v1"
            section_of(recipe, "training").pop("former", None)
            section_of(recipe, "no_such_section")["x"] = 1

    changes = (('@fusers = "t.free.v1"', '@fusers = "t.former.v1"'), ("[training]", "[training]\nformer = 1"))
    with hooks.registered(Plugin()):
        upgraded = make(*changes).config
    assert upgraded == make().config
    assert "t.former.v1" in refusal(make, *changes)


def test_a_newer_format_is_refused_at_once(make: Make) -> None:
    text = refusal(make, ("format = 1", "format = 2\nunheard_of = 3"))
    assert "format 2" in text
    assert "unheard_of" not in text


@pytest.mark.parametrize(
    ("requires", "says"),
    [
        ('["mmkit-nowhere"]', 'pip install "mmkit-nowhere"'),
        ('["mmkit-hvpnett"]', "did you mean 'mmkit-hvpnet'?"),
        ('["mmkit-more>=900"]', "pip install ./plugins/retrieval ./plugins/more from mmkit's repository"),
        ('["mmkit>=0.0.1", "mmkit>900"]', "mmkit>900 is needed, but"),
        ('["no package!"]', "is not a package"),
        ('"mmkit"', 'must be list[str], not "mmkit"; write ["mmkit"]'),
        ("mmkit, 'torch',", 'write ["mmkit", "torch"]'),
        ('["mmkit", torch]', 'line 1 column 11 (char 10)); write ["mmkit", "torch"]'),
    ],
)
def test_required_packages_are_checked(make: Make, requires: str, says: str) -> None:
    assert says in refusal(make, ("seed = 7", f"seed = 7\nrequires = {requires}"))


def test_the_sample_block_is_checked_like_the_settings_it_names(make: Make) -> None:
    text = refusal(
        make,
        ("training.learning_rate = 1e-3", 'training.learning_rat = 1\ntraining.epochs = "x"\nepochs = 3'),
    )
    assert (
        "sample.training.learning_rat (line 47): there is no such setting; did you mean 'learning_rate'?"
        in text
    )
    assert 'sample.training.epochs (line 48): must be int, not "x"' in text
    assert "sample.epochs (line 49): there is no such setting" in text


SPOILS = """3 | -1 | null | true | "x" | [] | ["a", 1] | {} | {"a": {"b": 1}} | ${data} | ${paths.data} | ${nothing}
| $ | x y | [1, | 's' | [data] | [sample.x] | [DEFAULT] | = |""".replace("\n", " ").split(" | ")
EDITS = st.lists(
    st.tuples(
        st.integers(0, len(RECIPE.splitlines()) - 1),
        st.sampled_from(["value", "text", "delete", "repeat", "indent"]),
        st.sampled_from(SPOILS),
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(EDITS)
def test_a_spoilt_recipe_is_refused_or_right_and_nothing_else(edits: list[tuple[int, str, str]]) -> None:
    lines = RECIPE.splitlines()
    for at, how, text in edits:
        at = min(at, len(lines) - 1)
        match how:
            case "value":
                lines[at] = f"{lines[at].partition('=')[0]} = {text}"
            case "text":
                lines[at] = text
            case "delete":
                del lines[at]
            case "repeat":
                lines.insert(at, lines[at])
            case "indent":
                lines[at] = f"  {lines[at]}"
    try:
        recipe = Recipe(parse("\n".join(lines), Path("x.cfg")), {})
    except RecipeError as error:
        assert str(error).startswith("x.cfg")
        return
    assert Recipe(parse(recipe.to_str(), Path("x.cfg")), {}).config == recipe.config
    assert isinstance(recipe.training, TrainingSettings)
