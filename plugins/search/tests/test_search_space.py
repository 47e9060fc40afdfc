"""Ranges and choices: what they mean, and what is refused before the first trial."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import mmkit
from mmkit.config.text import parse_overrides
from mmkit_search.plan import fixed_words, make_plan, read_given, split_words
from mmkit_search.space import Choices, Range, parse_space
from raising import raises

NUMBERS = st.one_of(
    st.integers(-(10**9), 10**9), st.floats(-1e12, 1e12, allow_nan=False).map(lambda x: x + 0.0)
)


def plan_of(recipe, *words, file=None):
    given = read_given(file, split_words(words)[1])
    fixed = mmkit.load_recipe(recipe, parse_overrides(fixed_words(given)))
    return make_plan(fixed, given)


@given(NUMBERS, NUMBERS)
def test_a_range_that_is_written_is_read_again(low, high):
    if low < high:
        found = parse_space(str(Range(low, high)))
        assert found == Range(low, high)
        assert isinstance(found, Range) and found.is_whole == (isinstance(low, int) and isinstance(high, int))


@given(st.integers(1, 1000), st.integers(1, 50), st.integers(1, 50))
def test_a_step_must_lead_to_the_end(low, step, steps):
    whole = Range(low, low + step * steps, step)
    assert parse_space(str(whole)) == whole
    if step > 1:
        with raises("search.range", match=str(low + step * steps)):
            parse_space(f"{low}..{low + step * steps + 1} step {step}")


SCALARS = st.one_of(
    st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@given(st.lists(SCALARS, min_size=2, unique_by=json.dumps).filter(lambda v: "" not in v))
def test_choices_that_are_written_are_read_again(values):
    found = parse_space(values)
    assert found == Choices(tuple(values))
    if not any(isinstance(v, str) and (" | " in v or '"' in v or not v.isprintable()) for v in values):
        again = parse_space(str(found))
        assert isinstance(again, Choices)
        assert [json.dumps(v) for v in again.values] == [json.dumps(v) for v in values]


@pytest.mark.parametrize("plain", [3, 0.5, True, None, "relu", "^bias|norm$", "../data", "a|b"])
def test_other_values_are_plain(plain):
    assert parse_space(plain) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1e-3..1e-5 log", r"reversed.*\n.*0\.001 log"),
        ("2..2", "only one value"),
        ("0..1 log", "begin above 0"),
        ("-1..1 log", "begin above 0"),
        ("1..9 step 0", "step above 0"),
        ("1..9 step 20", "only one value"),
        ("1..8 step 1 log", "a step and is logarithmic"),
        ("1...3", "cannot be read"),
        ("1..3 lgo", "cannot be read"),
        ("1..1e999", "not finite"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(text, problem):
    with raises("search.range", match=f"(?s){problem}"):
        parse_space(text)


@pytest.mark.parametrize("choices", ["a | a", "a | ", ["a"], [1, 1]])
def test_choices_that_make_no_sense_are_refused(choices):
    with raises("search.choices"):
        parse_space(choices)


def test_words_of_a_command_line_belong_to_the_option_before_them():
    words = ["space.cfg", "--a.b", "1e-5..1e-3", "log", "--c.d=4..64", "step", "4", "--e.f", "-1..1"]
    file, settings = split_words(words)
    assert file is not None and file.name == "space.cfg"
    assert settings == ["--a.b=1e-5..1e-3 log", "--c.d=4..64 step 4", "--e.f=-1..1"]


def test_the_kind_of_a_number_is_the_setting_s(recipe):
    plan = plan_of(
        recipe,
        *("--training.batch_size", "8..32", "step", "8", "--training.weight_decay", "0..1"),
        *("--training.learning_rate", "1e-5..1e-3", "log", "--training.betas", "[[0.9, 0.99], [0.8, 0.99]]"),
        *("--training.epochs", "2"),
    )
    assert plan.distributions == {
        "training.batch_size": IntDistribution(8, 32, step=8),
        "training.weight_decay": FloatDistribution(0.0, 1.0),
        "training.learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "training.betas": CategoricalDistribution(["[0.9, 0.99]", "[0.8, 0.99]"]),
    }
    assert plan.recipe.training.epochs == 2
    chosen = plan.recipe_of({"training.betas": "[0.8, 0.99]", "training.batch_size": 16})
    assert list(chosen.training.betas) == [0.8, 0.99] and chosen.training.batch_size == 16


def test_a_list_is_a_value_where_the_setting_takes_lists(recipe):
    plan = plan_of(recipe, "--training.betas", "[0.7, 0.9]", "--training.epochs", "[1, 2]")
    assert list(plan.recipe.training.betas) == [0.7, 0.9] and list(plan.space) == ["training.epochs"]


def test_a_file_of_a_space(recipe, tmp_path):
    file = tmp_path / "space.cfg"
    text = '# tried\n[training]\nlearning_rate = 1e-5..1e-3 log\nbatch_size = "8 | 16"\nepochs = 1\n'
    file.write_text(text, encoding="utf-8")
    plan = plan_of(recipe, "--training.batch_size", "4..8", file=file)
    assert {name: str(space) for name, space in plan.space.items()} == {
        "training.learning_rate": "1e-05..0.001 log",
        "training.batch_size": "4..8",
    }
    assert plan.recipe.training.epochs == 1


def test_all_that_is_wrong_is_said_at_its_place(recipe, tmp_path):
    file = tmp_path / "space.cfg"
    file.write_text(
        "[training]\nlerning_rate = 1e-5..1e-3 log\nbatch_size = 9..3\nscore = 1..2\n", encoding="utf-8"
    )
    with pytest.raises(mmkit.RecipeError) as caught:
        plan_of(recipe, "--training.schedule", "1..2", "--training.batch_size", "0.5..2.5", file=file)
    codes = [(error.where.rpartition("/")[2], error.code) for error in caught.value.each]
    assert codes == [
        ("space.cfg:2: training.lerning_rate", "recipe.invalid"),
        ("--training.batch_size", "recipe.invalid"),
        ("space.cfg:4: training.score", "search.not-searched"),
        ("--training.schedule", "recipe.invalid"),
    ]
    assert "learning_rate" in str(caught.value.each[0]) and "choices" not in str(caught.value.each[0])
    assert "choices" in str(caught.value.each[3])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--training.epochs", "2"], "search.nothing"),
        (["--data.train.file", "a | b"], "search.not-searched"),
        # each is accepted alone: the recipe's batches are larger than six
        (["--training.batch_size", "8 | 2", "--training.accumulate", "1..6"], "search.together"),
        (["--training.warmup", "-0.5..0.1"], "recipe.invalid"),
    ],
)
def test_a_space_that_no_recipe_accepts_is_refused(recipe, words, code):
    with raises(code):
        plan_of(recipe, *words)


def test_a_recipe_without_development_data_cannot_be_searched(recipe):
    loaded = mmkit.load_recipe(recipe)
    tree = {k: v for k, v in loaded.config.items() if k != "data"}
    tree["data"] = {k: v for k, v in loaded.config["data"].items() if k != "dev"}
    with raises("search.no-dev"):
        make_plan(mmkit.load_recipe(tree), {})
