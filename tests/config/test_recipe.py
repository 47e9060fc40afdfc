"""Recipes: what is filled in, what is refused, overrides, and the parts that are built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit import hooks
from mmkit.config.settings import GroupSettings, TrainingSettings
from mmkit.recipe import load_recipe
from mmkit.recipe_names import known_recipes
from raising import raises
from recipe_parts import Make, Window, refusal

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
    assert list(recipe.training.groups) == ["crf", "rest"]


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

REFERENCE = (Path(__file__).resolve().parents[2] / "docs/recipes.md").read_text(encoding="utf-8")


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


def test_overrides_of_settings_survive_the_sample() -> None:
    from mmkit.loading.sample import sampled

    plain = sampled(load_recipe("text_only_twitter15"))
    own = {"training.epochs": plain.training.epochs + 1, "paths.data": "/nowhere"}
    told = sampled(load_recipe("text_only_twitter15", own))
    assert told.training.epochs == plain.training.epochs + 1
    assert told.training.batch_size == plain.training.batch_size == 16
    assert told.config["data"] == plain.config["data"], "data are the sample's all the same"
