"""A run that was trained on Twitter-2015 or 2017 has seen posts of Twitter10000's test split: this is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmkit.runs.lineage import KEY, made_of
from mmkit_gmner.published import shared_posts, split_of
from mmkit_gmner.seen import seen_posts

TEST = {"test": {"files": [{"sha256": "a178a5f6f422" + "0" * 52}, {"sha256": "12"}]}}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def made(*shas: str, split: str = "train") -> Path:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        about = {"format": 1, "data": {split: {"files": [{"file": "x", "sha256": sha} for sha in shas]}}}
        (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
        return folder

    return made


def test_both_datasets_together_have_886_of_the_test_posts(run: Callable[..., Path]) -> None:
    counts = [shared_posts("test", sha) for sha in ("a6246e37aa1c", "801e149e8635")]
    assert counts == [("Twitter-2015 train", 404, 1500), ("Twitter-2017 train", 482, 1500)]
    (first,), (second,) = (
        seen_posts(TEST, [run(sha + "0" * 52)])["test"] for sha in ("66c1336f27fe", "801e149e8635")
    )
    assert "Twitter-2015 train, which has 404 of the 1,500 posts" in first.what
    assert "Twitter-2017 train, which has 482 of the 1,500 posts" in second.what
    assert {first.level, second.level} == {"warning"}


def test_what_a_run_is_made_of_counts_too(run: Callable[..., Path]) -> None:
    """The folder of the tagger may have moved: the run that was built on it says what it was trained on."""
    tagger = run("801e149e8635" + "0" * 52)
    built = run("12")
    about = json.loads((built / "run.json").read_text(encoding="utf-8"))
    (built / "run.json").write_text(json.dumps({**about, KEY: made_of([tagger])}), encoding="utf-8")
    again = run("13")
    (again / "run.json").write_text(json.dumps({KEY: made_of([built])}), encoding="utf-8")
    (direct,) = seen_posts(TEST, [tagger, built])["test"]
    (tagger / "run.json").unlink()
    assert seen_posts(TEST, [built]) == seen_posts(TEST, [again, tagger]) == {"test": [direct]}
    assert str(tagger) in direct.what and "482 of the 1,500" in direct.what


@pytest.mark.parametrize("split", ["train", "dev"])
def test_training_on_these_posts_is_nothing_to_warn_of(run: Callable[..., Path], split: str) -> None:
    about: dict[str, Any] = {"train": TEST["test"]}
    assert seen_posts(about, [run("a6246e37aa1c")]) == {}
    assert seen_posts(TEST, [run("a178a5f6f422"), run("12"), run("a6246e37aa1c", split="dev")]) == {}


def test_what_is_no_run_or_says_nothing_is_passed_over(tmp_path: Path, run: Callable[..., Path]) -> None:
    broken = run("a6246e37aa1c")
    (broken / "run.json").write_text('{"data": []', encoding="utf-8")
    strange = run("a6246e37aa1c")
    (strange / "run.json").write_text('{"data": [1]}', encoding="utf-8")
    for i, wrong in enumerate(("x", [1], [{"run": 3, "files": "ab"}], [{"files": [None, {}]}])):
        made = run("0")
        (made / "run.json").write_text(json.dumps({KEY: wrong}), encoding="utf-8")
        assert seen_posts(TEST, [made]) == {}, i
    assert seen_posts(TEST, [tmp_path / "none", tmp_path, broken, strange]) == {}


def test_the_splits_are_known_by_their_fingerprints() -> None:
    assert split_of("628671b813f2") == split_of("a178a5f6f422" + "0" * 52) == "test"
    assert split_of("0" * 64) is None


@pytest.mark.real_data
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_the_numbers_are_those_of_the_files(shared: Path, split: str) -> None:
    from mmkit.data.conll import ConllImagesReader
    from mmkit.data.fingerprints import file_sha256

    data = shared / "data"
    own = {x.id for x in ConllImagesReader(str(data / "gmner" / "txt"), f"{split}.txt")}
    for dataset in ("twitter2015", "twitter2017"):
        for name in ("train", "valid", "test"):
            path = data / dataset / f"{name}.txt"
            posts = {x.id for x in ConllImagesReader(str(path.parent), path.name)}
            found = shared_posts(split, file_sha256(path))
            assert found is not None and found[1:] == (len(own & posts), len(own))
