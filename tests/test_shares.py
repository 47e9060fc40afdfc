"""`[data.shares]`: one file as several splits, by a hash of each text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mmkit.checking.check import check
from mmkit.cli import main
from mmkit.data.shares import bounds_of, place_of
from mmkit.data.types import Example
from mmkit.errors import DataError, RecipeError
from mmkit.loading.split import notes_of
from mmkit.loading.splits import read_split, read_splits
from mmkit.recipe import load_recipe

SHARES = {"train": 70, "dev": 10, "test": 20}


def recipe(folder: Path, **overrides: object) -> dict:
    data = {
        split: {"@readers": "mmkit.jsonl.v1", "root": str(folder), "file": "posts.jsonl"} for split in SHARES
    }
    return {
        "recipe": {"format": 1},
        "data": {**data, "shares": dict(SHARES), **overrides},
        "model": {
            "encoders": {"text": {"@encoders": "mmkit.transformer.v1", "name": "x"}},
            "fuser": {"@fusers": "mmkit.text_only.v1"},
            "decoder": {"@decoders": "mmkit.crf_tagger.v1"},
        },
        "metrics": {"spans": {"@metrics": "mmkit.span_f1.v1"}},
        "training": {"score": "spans.f1"},
    }


def write(folder: Path, texts: list[str]) -> None:
    lines = [json.dumps({"id": f"{i}", "text": text}) for i, text in enumerate(texts)]
    (folder / "posts.jsonl").write_text("\n".join(lines) + "\n")


def texts_of(folder: Path, split: str, **overrides: object) -> list[str]:
    return [example.text for example in read_split(load_recipe(recipe(folder, **overrides)), split).examples]


PLACES = (0.7313212542213988, 0.08528695665230446)


def test_the_place_of_a_text_never_changes() -> None:
    """These numbers are promised to users: the splits of their data depend on them."""
    assert place_of(Example("1", "a b", ("a", "b"), ((0, 1), (2, 3)))) == pytest.approx(PLACES[0], abs=1e-12)
    assert place_of(Example("9", "a  b", ("a", "b"), ((0, 1), (3, 4)))) == pytest.approx(PLACES[0], abs=1e-12)
    assert place_of(Example("Q1", "", (), ())) == pytest.approx(PLACES[1], abs=1e-12)


@given(st.dictionaries(st.sampled_from(["train", "dev", "test"]), st.floats(0.01, 1e6), min_size=1))
def test_shares_cover_everything_once(shares: dict[str, float]) -> None:
    bounds = [bounds_of(shares, split) for split in shares]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 1
    for (_, end), (begin, _) in itertools.pairwise(bounds):
        assert end == begin  # nothing is lost between them, and nothing is in both


def test_every_record_is_in_one_split_and_equal_texts_are_together(tmp_path: Path) -> None:
    texts = [f"post number {i % 400}" for i in range(1000)]
    write(tmp_path, texts)
    parts = {split: texts_of(tmp_path, split) for split in SHARES}
    assert sorted(text for part in parts.values() for text in part) == sorted(texts)
    distinct = [set(part) for part in parts.values()]
    assert not (distinct[0] & distinct[1] | distinct[0] & distinct[2] | distinct[1] & distinct[2])
    for split, share in SHARES.items():
        assert len(set(parts[split])) / 400 == pytest.approx(share / 100, abs=0.06)
    write(tmp_path, [*texts[::-1], "a new post"])  # neither order nor new posts matter
    for split, part in parts.items():
        assert sorted(texts_of(tmp_path, split)).count("a new post") <= 1
        assert sorted(t for t in texts_of(tmp_path, split) if t != "a new post") == sorted(part)


def test_a_split_with_a_file_of_its_own_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, [f"post number {i}" for i in range(100)])
    (tmp_path / "other.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n')
    test = {"@readers": "mmkit.jsonl.v1", "root": str(tmp_path), "file": "other.jsonl"}
    assert texts_of(tmp_path, "test", test=test) == ["one", "two", "three"]
    both = texts_of(tmp_path, "train", test=test) + texts_of(tmp_path, "dev", test=test)
    assert len(both) < 100  # the thresholds stay where they were


def test_what_was_read_is_said_and_a_share_without_records_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [f"post number {i}" for i in range(100)])
    split = read_split(load_recipe(recipe(tmp_path)), "dev")
    assert split.share_of == 100
    assert f"{len(split)} of 100 records" in split.notes()[0]
    write(tmp_path, ["only one"])
    errors = []
    for name in SHARES:
        try:
            read_split(load_recipe(recipe(tmp_path)), name)
        except DataError as error:
            errors.append(str(error))
    assert len(errors) == 2
    assert "larger share in [data.shares]" in errors[0]


def test_a_broken_record_of_the_shared_file_is_told_once(tmp_path: Path) -> None:
    write(tmp_path, [f"Kim visits town {i}" for i in range(100)])
    with (tmp_path / "posts.jsonl").open("a") as file:
        file.write('{"id": "x", "text": "Kim", "spans": [{"start": 0, "end": 9, "label": "PER"}]}\n')
        file.write('{"id": "y", "text": 3}\n')
    reports = check(recipe(tmp_path))
    told = {split: [p for p in report.problems if "posts.jsonl:" in p] for split, report in reports.items()}
    assert [len(told[split]) for split in SHARES] == [2, 0, 0]
    for split in ("dev", "test"):
        assert "2 records of the same file cannot be read: see data.train" in reports[split].lines


def test_what_is_corrected_in_the_shared_file_is_said_once(tmp_path: Path) -> None:
    lines = [f'{{"text": "Kim visits town {i}"}}' for i in range(100)]
    (tmp_path / "posts.jsonl").write_text("\n\n".join(lines) + "\n\n\n")
    (tmp_path / "mine.cfg").write_text(load_recipe(recipe(tmp_path)).to_str())
    splits = read_splits(load_recipe(tmp_path / "mine.cfg"), list(SHARES))
    told = [note for note in notes_of(splits.values()) if "empty line" in note]
    assert told == [f"data.shares: 101 × empty line skipped in the whole file, {tmp_path / 'posts.jsonl'}"]
    assert [note for note in splits["dev"].notes() if "empty line" in note] == told
    assert splits["dev"].origin["share_of"] == 100
    for arguments in ["check"], ["convert", "--split", "dev"]:
        given = [str(tmp_path / "mine.cfg"), *[str(tmp_path / "dev.jsonl")] * (arguments[0] == "convert")]
        said = CliRunner().invoke(main, [*arguments, *given])
        assert said.stdout.count("101 × empty line skipped in the whole file") == 1, said.output


def test_what_is_corrected_in_a_file_of_its_own_is_said_for_it(tmp_path: Path) -> None:
    write(tmp_path, [f"post number {i}" for i in range(100)])
    (tmp_path / "other.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    test = {"@readers": "mmkit.jsonl.v1", "root": str(tmp_path), "file": "other.jsonl"}
    split = read_split(load_recipe(recipe(tmp_path, test=test)), "test")
    assert "data.test: 1 × empty line skipped" in split.notes()
    assert "share_of" not in split.origin


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"train": 1, "entities": 1}, "is not a split of examples"),
        ({"trian": 1}, "'train'"),
        ({"train": 0, "dev": 1}, "must be more than 0"),
        ({"train": "many"}, "must be float"),
    ],
)
def test_shares_that_make_no_sense(tmp_path: Path, shares: dict, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe(tmp_path, shares=shares))
    assert said in str(error.value)


def test_a_share_of_a_split_that_is_not_there(tmp_path: Path) -> None:
    content = recipe(tmp_path)
    del content["data"]["test"]
    with pytest.raises(RecipeError) as error:
        load_recipe(content)
    assert "there is no [data.test]" in str(error.value)


def test_a_filled_recipe_keeps_its_shares(tmp_path: Path) -> None:
    loaded = load_recipe(recipe(tmp_path))
    (tmp_path / "again.cfg").write_text(loaded.to_str())
    again = load_recipe(tmp_path / "again.cfg")
    assert again.config == loaded.config
    assert list(again.config["data"]["shares"]) == ["train", "dev", "test"]
    assert again.parts("data") == ["train", "dev", "test"]


def test_convert_writes_the_share(tmp_path: Path) -> None:
    write(tmp_path, [f"post number {i}" for i in range(100)])
    (tmp_path / "mine.cfg").write_text(load_recipe(recipe(tmp_path)).to_str())
    said = CliRunner().invoke(
        main, ["convert", str(tmp_path / "mine.cfg"), str(tmp_path / "dev.jsonl"), "--split", "dev"]
    )
    assert said.exit_code == 0, said.output
    assert f"{len(texts_of(tmp_path, 'dev'))} examples written" in said.stdout


def test_many_files_of_a_folder_have_one_fingerprint(tmp_path: Path) -> None:
    from mmkit.loading.split import MANY, by_folder

    main, few = tmp_path / "a.txt", {tmp_path / "few" / f"{i}": f"{i}" for i in range(MANY - 1)}
    many = {tmp_path / "many" / f"{i:03}": f"{i}" for i in range(MANY)}
    found = by_folder({main: "main", **few, **many})
    assert list(found) == [main, *few, tmp_path / "many"] and found[main] == "main"
    again = by_folder({main: "main", **few, **dict(reversed(many.items()))})
    assert again[tmp_path / "many"] == found[tmp_path / "many"]
    for changed in ({tmp_path / "many" / "000": "x"}, {tmp_path / "many" / "x": "0"}):
        assert by_folder({main: "main", **many, **changed})[tmp_path / "many"] != found[tmp_path / "many"]
    assert by_folder({main: "main"}) == {main: "main"}
