"""`mmkit retrieval` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmkit.cli import main


def mmkit(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "corpus.jsonl"
    records = [
        {"id": "1", "title": "Jordan [country]", "text": "The river bank.\n\nThe desert.", "lang": "en"},
        {"id": "2", "title": "Money", "text": "A bank."},
    ]
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


def test_build_search_and_info(corpus, tmp_path):
    out = tmp_path / "out"
    built = mmkit("retrieval", "build-index", corpus, out, "--no-images")
    assert built.exit_code == 0, built.output
    assert "2 (2 added)" in built.stdout and "paragraphs" in built.stdout and "images" not in built.stdout
    assert "1 × unknown key 'lang' left out" in built.stderr
    assert "corpus.jsonl (kB): 1 of 1" in built.stderr

    found = mmkit("retrieval", "search", out, "--text", "river")
    assert "Jordan [country]" in found.stdout and "The river bank." in found.stdout
    lines = mmkit(
        "retrieval", "search", out, "--text", "river bank", "--top", 1, "--json"
    ).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["1#0"]
    assert "nothing found" in mmkit("retrieval", "search", out, "--text", "xyzzy").stdout

    assert "corpus.jsonl" in mmkit("retrieval", "info", out).stdout
    facts = json.loads(mmkit("retrieval", "info", out, "--json").stdout)
    assert facts["counts"]["paragraphs"] == 3 and facts["bytes"] > 0


def test_quiet_shows_what_was_left_out_and_the_result(corpus, tmp_path):
    built = mmkit("retrieval", "build-index", corpus, tmp_path / "out", "--no-images", "--quiet")
    assert built.exit_code == 0, built.output
    assert "kB" not in built.stderr and "unknown key" in built.stderr and "2 added" in built.stdout


def test_what_is_gone_is_told_until_it_is_pruned(corpus, tmp_path):
    mmkit("retrieval", "build-index", corpus, tmp_path / "out", "--no-images")
    corpus.write_text(corpus.read_text(encoding="utf-8").splitlines()[1], encoding="utf-8")
    kept = mmkit("retrieval", "build-index", corpus, tmp_path / "out", "--no-images")
    assert "1 × article kept that" in kept.stderr and "2 (1 unchanged, 1 left)" in kept.stdout
    pruned = mmkit("retrieval", "build-index", corpus, tmp_path / "out", "--no-images", "--prune")
    assert "1 (1 unchanged, 1 removed)" in pruned.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build-index", "{tmp}/none.jsonl", "{tmp}/out", "--no-images"], "no such corpus"),
        (["build-index", "{corpus}", "{tmp}", "--no-images"], "not empty, and contains no index"),
        (
            ["build-index", "{corpus}", "{tmp}/out", "--no-images", "--no-text"],
            "both text and images are turned off",
        ),
        (["build-index", "{corpus}", "{tmp}/out", "--format", "xml"], "'xml' is not one of"),
        (["search", "{tmp}", "--text", "x"], "there is no text index"),
        (["search", "{tmp}"], "give either --text or --image"),
        (["info", "{tmp}"], "there is no index here"),
    ],
)
def test_mistakes_are_one_message(corpus, tmp_path, arguments, message):
    filled = [argument.format(tmp=tmp_path, corpus=corpus) for argument in arguments]
    done = mmkit("retrieval", *filled)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_the_command_is_added_and_imports_nothing_heavy():
    code = (
        "import sys; from mmkit.cli import main; main.load_plugins(); assert 'retrieval' in main.commands;"
        "print(*{'torch', 'transformers', 'faiss', 'tantivy', 'mwparserfromhell'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
