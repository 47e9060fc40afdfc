"""Recipes: what is filled in, what is refused, overrides, and the parts that are built."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import catalogue
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit import hooks, registry
from mmkit.annotators.base import Annotator
from mmkit.config import packages
from mmkit.config.settings import GroupSettings, TrainingSettings
from mmkit.config.text import parse
from mmkit.config.upgrade import parts_named
from mmkit.config.upgrade import section as section_of
from mmkit.data.reader import Reader
from mmkit.decoders.base import Decoder
from mmkit.encoders.base import Encoder
from mmkit.errors import RecipeError
from mmkit.fusers.base import Fuser
from mmkit.metrics.base import Metric
from mmkit.recipe import Recipe, known_recipes, load_recipe
from raising import raises


def whole(base: type, **body: Any) -> type:
    """A subclass of a station's base with every abstract method there."""
    return type(base.__name__, (base,), dict.fromkeys(base.__abstractmethods__, lambda self, *_: None) | body)


@dataclass
class Window:
    size: int
    step: float = 1.0


class Everything(whole(Encoder)):  # type: ignore[misc]
    """Takes one of every kind of argument."""

    def __init__(
        self,
        name: str,
        *,
        width: int = 8,
        rate: float = 0.5,
        kind: Literal["big", "small"] = "small",
        layers: list[int] | None = None,
        box: tuple[int, int] = (1, 2),
        names: dict[str, float] | None = None,
        window: Window | None = None,
        folder: Path | str = "",
        loose: Any = None,
        tags: frozenset[str] = frozenset({"a"}),
        unsure: int = None,  # type: ignore[assignment]  # noqa: RUF013
    ) -> None:
        super().__init__()
        self.given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}


class Free(whole(Fuser)):  # type: ignore[misc]
    def __init__(self, text: str = "text", **more: Any) -> None:
        super().__init__()
        self.more = more


class Odd(whole(Encoder)):  # type: ignore[misc]
    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        if heads % 2:
            raise ValueError(f"heads must be even, not {heads}")


class Rows(whole(Reader)):  # type: ignore[misc]
    pass


@pytest.fixture(autouse=True)
def parts() -> Iterator[None]:
    """Test parts, registered for the length of a test."""
    before = dict(catalogue.REGISTRY)
    registry.readers.register("t.rows.v1", func=Rows)
    registry.annotators.register("t.notes.v1", func=whole(Annotator))
    registry.encoders.register("t.everything.v1", func=Everything)
    registry.encoders.register("t.odd.v1", func=Odd)
    registry.fusers.register("t.free.v1", func=Free)
    registry.decoders.register("t.tagger.v1", func=whole(Decoder))
    registry.metrics.register("t.f1.v1", func=whole(Metric))
    yield
    catalogue.REGISTRY.clear()
    catalogue.REGISTRY.update(before)


RECIPE = """
[recipe]
format = 1
seed = 7

[paths]
data = "some/where"

[backbones]
text = "bert"

[data.train]
@readers = "t.rows.v1"
root = ${paths.data}
file = "train.txt"

[data.dev]
@readers = "t.rows.v1"
root = ${paths.data}
file = "dev.txt"

[model.encoders.text]
@encoders = "t.everything.v1"
name = ${backbones.text}

[model.fuser]
@fusers = "t.free.v1"

[model.decoder]
@decoders = "t.tagger.v1"

[metrics.spans]
@metrics = "t.f1.v1"

[training]
epochs = 3
score = "spans.f1"

[training.groups.crf]
pattern = "^decoder"
learning_rate = 5e-2

[training.groups.rest]
pattern = "."

[sample]
training.learning_rate = 1e-3
"""

Make = Callable[..., Recipe]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Load the recipe above, with text replaced in it, text added to it, and overrides."""

    def load(*replaced: tuple[str, str], more: str = "", **overrides: Any) -> Recipe:
        text = RECIPE
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "mine.cfg"
        file.write_text(text + more, encoding="utf-8")
        return load_recipe(file, {name.replace("__", "."): value for name, value in overrides.items()})

    return load


def refusal(make: Make, *replaced: tuple[str, str], more: str = "", **overrides: Any) -> str:
    with pytest.raises(RecipeError) as error:
        make(*replaced, more=more, **overrides)
    return str(error.value)


# -- what a recipe becomes -----------------------------------------------------------------------------------


def test_a_recipe_is_filled_and_resolved(make: Make) -> None:
    recipe = make()
    assert recipe.name == "mine"
    assert recipe.seed == 7
    assert recipe.config["data"]["missing_images"] == "error"
    assert recipe.config["data"]["train"] == {
        "@readers": "t.rows.v1",
        "root": "some/where",
        "file": "train.txt",
        "blank_images": False,
    }
    assert recipe.config["annotators"] == {}
    assert recipe.config["model"]["encoders"]["text"] == {
        "@encoders": "t.everything.v1",
        "name": "bert",
        "width": 8,
        "rate": 0.5,
        "kind": "small",
        "layers": None,
        "box": [1, 2],
        "names": None,
        "window": None,
        "folder": "",
        "loose": None,
        "tags": ["a"],
        "unsure": None,
    }
    assert recipe.config["training"]["betas"] == [0.9, 0.999]
    assert recipe.sample_overrides == {"training.learning_rate": 1e-3}
    assert recipe.parts("data") == ["train", "dev"]
    assert recipe.parts("model.encoders") == ["text"]
    assert (
        recipe.parts("annotators") == recipe.parts("nowhere.at_all") == recipe.parts("training.epochs") == []
    )
    assert recipe.parts("training.groups") == ["crf", "rest"]


def test_training_settings_become_an_object(make: Make) -> None:
    training = make().training
    assert isinstance(training, TrainingSettings)
    assert training.epochs == 3
    assert training.groups == {"crf": GroupSettings("^decoder", 5e-2), "rest": GroupSettings(".")}
    assert list(training.groups) == ["crf", "rest"]


def test_every_training_setting_has_its_default(make: Make) -> None:
    filled = vars(make(("epochs = 3\n", "")).training)
    given_ = {"score", "groups"}
    assert {k: v for k, v in filled.items() if k not in given_} == {
        k: v for k, v in vars(TrainingSettings()).items() if k not in given_
    }


def test_parts_are_built_with_the_types_their_hints_ask_for(make: Make, tmp_path: Path) -> None:
    recipe = make().with_overrides(
        {
            "model.encoders.text.layers": [1, 2],
            "model.encoders.text.rate": 1,
            "model.encoders.text.names": {"a": 2},
            "model.encoders.text.window": {"size": 3},
            "model.encoders.text.folder": str(tmp_path),
            "model.encoders.text.tags": ["x", "y"],
        }
    )
    given_ = recipe.build("model.encoders.text").given
    assert given_["rate"] == 1.0
    assert type(given_["rate"]) is float
    assert given_["layers"] == [1, 2]
    assert given_["box"] == (1, 2)
    assert given_["names"] == {"a": 2.0}
    assert given_["window"] == Window(3, 1.0)
    assert given_["tags"] == frozenset({"x", "y"})
    assert given_["unsure"] is None
    assert recipe.config["model"]["encoders"]["text"]["window"] == {"size": 3, "step": 1.0}
    reader = recipe.build("data.train")
    assert (reader.root, reader.file) == ("some/where", "train.txt")


def test_what_is_built_shares_nothing_with_the_recipe(make: Make) -> None:
    recipe = make(model__encoders__text__loose=[1])
    recipe.build("model.encoders.text").given["loose"].append(2)
    assert recipe.config["model"]["encoders"]["text"]["loose"] == [1]


def test_further_settings_reach_a_part_that_takes_any(make: Make) -> None:
    assert make(more="\n").with_overrides({"model.fuser.gate": 3}).build("model.fuser").more == {"gate": 3}


def test_a_constructor_that_refuses_its_settings_is_named(make: Make) -> None:
    recipe = make(
        ('@encoders = "t.everything.v1"\nname = ${backbones.text}', '@encoders = "t.odd.v1"\nheads = 3')
    )
    with raises("part.refused", match=r"\[model.encoders.text\]: t.odd.v1: heads must be even, not 3"):
        recipe.build("model.encoders.text")


def test_building_what_is_not_there_gives_near_misses(make: Make) -> None:
    with raises("recipe.no-part", match=r"'data.train'"):
        make().build("data.trian")
    with raises("recipe.no-part", match="'training'"):
        make().build("training")


# -- the filled recipe ---------------------------------------------------------------------------------------


def test_the_filled_recipe_loads_to_the_same(make: Make, tmp_path: Path) -> None:
    recipe = make(more="\n[training.loss_weights]\naux = 2\n", model__encoders__text__window={"size": 3})
    file = tmp_path / "filled.cfg"
    file.write_text(recipe.to_str(), encoding="utf-8")
    again = load_recipe(file)
    assert again.config == recipe.config
    assert again.to_str() == recipe.to_str()
    assert again.sample_overrides == recipe.sample_overrides


TEXT = st.text(max_size=20) | st.text("${}%paths.d\"'\\# \n=", max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=TEXT, loose=JSON, rate=st.floats(allow_nan=False, allow_infinity=False))
def test_any_value_survives_the_filled_recipe(
    make: Make, tmp_path: Path, name: str, loose: Any, rate: float
) -> None:
    at = "model.encoders.text."
    recipe = make().with_overrides({at + "name": name, at + "loose": loose, at + "rate": rate})
    assert recipe.config["model"]["encoders"]["text"]["name"] == name
    file = tmp_path / "filled.cfg"
    file.write_text(recipe.to_str(), encoding="utf-8")
    again = load_recipe(file)
    assert json.dumps(again.config, sort_keys=True) == json.dumps(recipe.config, sort_keys=True)
    assert again.build("model.encoders.text").given["loose"] == loose


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
        ("layers", "12", "must be list[int] | None"),
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
        ("betas", [0.9], "two numbers"),
        ("betas", [0.9, 1.0], "two numbers"),
        ("no_decay", "(", "no regular expression"),
        ("feature_memory", 2, "at most 1"),
        ("score", "f1", "no [metrics.f1]"),
        ("score", "spans", '"spans.f1"'),
        ("score", {"spans.f1": 1, "links.hits": 1}, "no [metrics.links]"),
        ("score", {"spans.f1": "much"}, "must be float"),
        ("score", "", "is missing: data.dev is scored with it"),
        ("loss_weights", {"aux": "x"}, "loss_weights.aux"),
        ("precision", "fp16", '"auto" | "fp32" | "tf32" | "bf16"'),
        ("groups", {"a": {}}, "training.groups.a.pattern"),
        ("groups", {"a": {"pattern": "(", "learning_rate": -1}}, "no regular expression"),
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
        ('["mmkit-more>=900"]', "pip install ./plugins/retrieval ./plugins/more from mmkit's repository"),
        ('["mmkit>=0.0.1", "mmkit>900"]', "mmkit>900 is needed, but"),
        ('["no package!"]', "is no package"),
        ('"mmkit"', "must be list[str]"),
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


# -- overrides -----------------------------------------------------------------------------------------------


def test_overrides_are_seen_by_references(make: Make) -> None:
    recipe = make(paths__data="else/where", training__epochs=9)
    assert recipe.config["data"]["dev"]["root"] == "else/where"
    assert recipe.training.epochs == 9


@pytest.mark.parametrize("value", [float("inf"), object(), {"a": [float("nan")]}, {1: 2}])
def test_an_override_that_no_recipe_can_hold_is_refused(make: Make, value: Any) -> None:
    assert "model.encoders.text.loose (override): cannot be" in refusal(
        make, model__encoders__text__loose=value
    )


def test_paths_and_tuples_are_written_as_json(make: Make, tmp_path: Path) -> None:
    recipe = make(paths__data=tmp_path, model__encoders__text__box=(3, 4))
    assert recipe.config["data"]["train"]["root"] == str(tmp_path)
    assert recipe.config["model"]["encoders"]["text"]["box"] == [3, 4]


def test_overrides_are_literal(make: Make) -> None:
    assert make(paths__data="${backbones.text}$").config["data"]["train"]["root"] == "${backbones.text}$"


def test_overrides_can_begin_settings_and_whole_sections(make: Make) -> None:
    recipe = make().with_overrides(
        {
            "training.loss_weights.aux": 2,
            "data.test": {"@readers": "t.rows.v1", "root": "r", "file": "f"},
            "metrics.links.@metrics": "t.f1.v1",
        }
    )
    assert recipe.training.loss_weights == {"aux": 2.0}
    assert recipe.parts("data") == ["train", "dev", "test"]
    assert recipe.parts("metrics") == ["spans", "links"]


def test_later_overrides_win_and_earlier_ones_stay(make: Make) -> None:
    recipe = make(training__epochs=5, training__clip=1).with_overrides({"training.epochs": 6})
    assert (recipe.training.epochs, recipe.training.clip) == (6, 1.0)


def test_applying_the_sample_block(make: Make) -> None:
    recipe = make()
    assert recipe.with_overrides(recipe.sample_overrides).training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("dotted", "says"),
    [
        ("training.batchsize", "did you mean 'batch_size'"),
        ("trainin.epochs", "did you mean 'training'"),
        ("model.encoders.txt.name", "the recipe has no [model.encoders.txt]; did you mean 'text'?"),
        ("data.trian.file", "did you mean 'train'"),
        ("paths.dta", "did you mean 'data'?"),
        ("epochs", "training.epochs"),
        ("training.epochs.x", "training.epochs is a setting, not a section"),
        ("model.encoders.text.nme", "did you mean 'name'"),
    ],
)
def test_an_override_of_nothing_is_refused(make: Make, dotted: str, says: str) -> None:
    with raises("recipe.invalid") as error:
        make().with_overrides({dotted: 1})
    assert says in str(error.value)
    assert "(override)" in str(error.value)


# -- finding recipes -----------------------------------------------------------------------------------------


def test_a_plugins_recipe_is_found_by_name(make: Make, tmp_path: Path) -> None:
    recipe = make()

    class Plugin:
        @hooks.hookimpl
        def mmkit_recipe_folders(self) -> list[Path]:
            return [tmp_path]

    with hooks.registered(Plugin()):
        assert load_recipe("mine.cfg").config == recipe.config
        assert load_recipe("mine").path == tmp_path / "mine.cfg"
        with raises("recipe.missing", match=r"'mine'"):
            load_recipe("recipes/mien.cfg")
    with raises("recipe.missing"):
        load_recipe("mine.cfg")


def test_two_recipes_of_one_name_are_not_chosen_between(make: Make, tmp_path: Path) -> None:
    make()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.cfg").write_text("")

    class Plugin:
        @hooks.hookimpl
        def mmkit_recipe_folders(self) -> list[Path]:
            return [tmp_path, other]

    with hooks.registered(Plugin()), raises("recipe.ambiguous"):
        load_recipe("mine")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with raises("recipe.is-a-folder"):
        load_recipe(tmp_path)


def test_a_plugin_whose_recipe_hook_fails_stops_nobody(make: Make) -> None:
    class Plugin:
        @hooks.hookimpl
        def mmkit_recipe_folders(self) -> list[Path]:
            raise OSError("no disk")

    with hooks.registered(Plugin()), raises("recipe.missing"):
        load_recipe("nowhere")
    reasons = [hooks.broken.pop(name) for name in list(hooks.broken) if "no disk" in hooks.broken[name]]
    assert reasons == ["mmkit_recipe_folders: OSError: no disk"]


def test_a_recipe_cannot_name_code(make: Make) -> None:
    text = refusal(make, ('@fusers = "t.free.v1"', '@fusers = "os:system"'))
    assert "there is no 'os:system' among the fusers" in text
    text = refusal(
        make, ("name = ${backbones.text}", 'name = ${backbones.text}\nloose.@encoders = "t.odd.v1"')
    )
    assert "loose.@encoders" in text


# -- the reference -------------------------------------------------------------------------------------------

REFERENCE = (Path(__file__).resolve().parent.parent / "docs/recipes.md").read_text(encoding="utf-8")


def test_the_reference_names_every_training_setting_and_its_default() -> None:
    section = REFERENCE.partition("\n## Training\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", section, flags=re.MULTILINE))
    assert {name: json.loads(default) for name, default in rows.items()} == vars(TrainingSettings())


def test_the_references_example_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "example.cfg"
    example = re.search(r'^```ini title="example.cfg"\n(.*?)^```$', REFERENCE, flags=re.MULTILINE | re.DOTALL)
    assert example
    file.write_text(example[1], encoding="utf-8")
    recipe = load_recipe(file)
    assert recipe.training.groups["head"].pattern == r"^(fuser|decoder)\."


def test_every_shipped_recipe_is_valid() -> None:
    assert known_recipes()
    for files in known_recipes().values():
        for file in files:
            load_recipe(file)
