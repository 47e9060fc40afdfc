"""`mmkit convert` as a user types it."""

from __future__ import annotations

import json

from click.testing import CliRunner, Result

from mmkit.cli import main
from mmkit.data.convert import convert
from mmkit.data.jsonlines import read_jsonl
from mmkit.data.reader import Reader
from raising import raises


def mmkit(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_converting_says_what_was_written_and_what_was_mended(sample_recipe, tmp_path):
    done = mmkit("convert", sample_recipe, tmp_path / "out.jsonl", "--split", "dev")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"60 examples written to {tmp_path / 'out.jsonl'} (")
    (tmp_path / "in.txt").write_text("IMGID:1\nParis\tI-LOC\n", encoding="utf-8")
    reader = ("--reader", "mmkit.conll_images.v1", "--images", "photos")
    mended = mmkit("convert", tmp_path / "in.txt", tmp_path / "mended.jsonl", *reader)
    assert mended.stdout.startswith("1 example ") and "1 × chunk without B-" in mended.stdout


def test_converting_a_data_file_needs_a_reader(tmp_path):
    (tmp_path / "in.txt").write_text("IMGID:1\nParis\tB-LOC\n", encoding="utf-8")
    done = mmkit("convert", tmp_path / "in.txt", tmp_path / "out.jsonl")
    assert done.exit_code == 2
    assert "this is not a recipe" in done.stderr and "--reader" in done.stderr
    sample = mmkit("convert", tmp_path / "in.txt", tmp_path / "out.jsonl", "--reader", "x", "--sample")
    assert sample.exit_code == 2 and "--sample goes with a recipe" in sample.stderr


def test_readers_and_formats_may_be_named_in_short(tmp_path):
    (tmp_path / "in.jsonl").write_text(
        '{"text": "Jordan-based", "spans": [{"start_char": 0, "end_char": 6, "label": "P"}]}'
    )
    arguments = ("convert", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--reader", "jsonl")
    done = mmkit(*arguments, "--misaligned", "expand", "--format", "jsonl", "--setting", "header=false")
    assert done.exit_code == 0, done.output
    assert "1 × span widened to whole tokens" in done.stdout
    assert (tmp_path / "out.jsonl").read_text().startswith('{"id": "in:1"')
    wrong = mmkit(*arguments, "--format", "jsonlines")
    assert wrong.exit_code == 2 and "did you mean 'jsonl'?" in wrong.stderr
    assert mmkit(*arguments, "--reader-setting", "misaligned=expand").stdout.endswith(
        " × span widened to whole tokens\n"
    )
    wrong = mmkit(*arguments, "--format", "jsonl", "--setting", "heder=false")
    assert wrong.exit_code == 2
    assert "--setting: mmkit.jsonl.v1.heder: there is no such setting; did you mean 'header'?" in wrong.stderr
    wrong = mmkit(*arguments, "--reader-setting", "mislaigned=expand")
    assert wrong.exit_code == 2 and "--reader-setting: mmkit.jsonl.v1.mislaigned: there is no" in wrong.stderr
    wrong = mmkit(*arguments, "--reader-setting", "misaligned")
    assert wrong.exit_code == 2 and "--reader-setting misaligned: give it as NAME=VALUE" in wrong.stderr
    wrong = mmkit("convert", "text_only_mnre", tmp_path / "o", "--reader-setting", "misaligned=expand")
    assert wrong.exit_code == 2 and "--reader-setting goes with --reader" in wrong.stderr


def test_a_reader_that_lets_an_error_of_the_system_through(tmp_path):
    """It is told as one of what is read, and not of what is written."""
    (tmp_path / "in.jsonl").write_text('{"format": 2, "kind": "examples"}\n{"text": "a"}\n')

    class Careless(Reader):
        def __iter__(self):
            yield next(iter(read_jsonl(tmp_path / "in.jsonl")))
            (tmp_path / "gone.csv").open()

    with raises("file.unreadable", match=r"gone\.csv: the data cannot be read: No such file") as error:
        convert(Careless(root=tmp_path, file="in.csv"), tmp_path / "out.jsonl")
    assert "out.jsonl" not in str(error.value) and not (tmp_path / "out.jsonl").exists()


def test_sample_data_are_converted_too(tmp_path):
    done = mmkit("convert", "text_only_mnre", tmp_path / "out.jsonl", "--sample")
    assert done.exit_code == 0, done.output
    assert "240 examples written" in done.stdout and (tmp_path / "out.jsonl").is_file()


def test_a_split_of_data_goes_to_the_reader(tmp_path):
    records = {
        str(n): {"id": str(n), "sentence": f"Ada {n}", "mentions": ["Ada"], "answer": ["Q1"]}
        for n in range(40)
    }
    (tmp_path / "wikimel.json").write_text(json.dumps(records), encoding="utf-8")
    ids = {}
    for split in ("train", "dev", "test"):
        out = tmp_path / f"{split}.jsonl"
        done = mmkit(
            "convert", tmp_path / "wikimel.json", out, "--reader", "mmkit.wikimel.v1", "--split", split
        )
        assert done.exit_code == 0, done.output
        ids[split] = {example.id for example in read_jsonl(out)}
    assert set.union(*ids.values()) == {str(n) for n in range(40)}
    assert sum(len(some) for some in ids.values()) == 40 and all(len(some) < 40 for some in ids.values())

    (tmp_path / "mine.jsonl").write_text('{"text": "look at Jordan"}\n', encoding="utf-8")
    refused = mmkit("convert", tmp_path / "mine.jsonl", tmp_path / "o", "--reader", "jsonl", "--split", "dev")
    assert refused.exit_code == 2 and "split: there is no such setting" in refused.output
    assert not (tmp_path / "o").exists()


def test_images_without_a_file_are_told(tmp_path):
    (tmp_path / "here.jpg").touch()
    posts = [
        {"text": "Kim visits Rome", "images": ["here.jpg"]},
        {"text": "Bo visits Oslo", "images": ["gone/one.jpg", "here.jpg"]},
    ]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    result = mmkit("convert", tmp_path / "posts.jsonl", tmp_path / "out.jsonl", "--reader", "jsonl")
    assert result.exit_code == 0 and "2 examples written" in result.stdout
    assert "warning: images without a file: 1 of 3; the first: " in result.stderr
    assert "gone/one.jpg (the folder" in result.stderr and "does not exist" in result.stderr
    assert (tmp_path / "out.jsonl").read_text().count("gone/one.jpg") == 1


def test_what_is_read_is_not_written_over(tmp_path):
    source = tmp_path / "posts.jsonl"
    source.write_text('{"text": "Kim visits Rome"}\n')
    (tmp_path / "link.jsonl").symlink_to(source)
    for name in ("posts.jsonl", "link.jsonl"):
        result = mmkit("convert", source, tmp_path / name, "--reader", "jsonl")
        assert result.exit_code == 2 and "this file is read, so it cannot be written" in result.stderr
    assert source.read_text() == '{"text": "Kim visits Rome"}\n'


def test_an_option_that_is_misspelt_is_not_taken_for_a_setting(tmp_path):
    result = mmkit("train", tmp_path / "mine.cfg", "--tny")
    assert result.exit_code == 2 and "→ did you mean '--tiny'? Or --tny VALUE" in result.stderr
