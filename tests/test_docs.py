"""The documentation's own examples: data is read and recipes are valid, as a reader of it would copy them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmkit.data.jmere import JmereReader
from mmkit.data.jsonl import JsonlReader, read_jsonl
from mmkit.data.mnre import MnreReader
from mmkit.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCED.findall(page.read_text("utf-8")) if language in languages]


def test_jsonlines_are_read(tmp_path: Path) -> None:
    examples = [text for page in PAGES for text in blocks(page, "", "json") if text.startswith('{"format"')]
    assert len(examples) >= 2
    for text in examples:
        (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")
        assert len(list(read_jsonl(tmp_path / "x.jsonl"))) == text.count("\n") - 1
    (short,) = (text for text in blocks(ROOT / "docs/data.md", "json") if text.startswith('{"text"'))
    (tmp_path / "x.jsonl").write_text(short, encoding="utf-8")
    assert sum(len(example.spans) for example in JsonlReader(str(tmp_path), "x.jsonl")) == 2


def test_mnre_lines_are_read(tmp_path: Path) -> None:
    (text,) = (text for text in blocks(ROOT / "docs/data.md", "text") if "'token'" in text)
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    reader = MnreReader(str(tmp_path), "x.txt")
    assert [example.relations[0].label for example in reader] == ["None"]
    assert not reader.repairs


def test_jmere_records_are_read(tmp_path: Path) -> None:
    (text,) = (text for text in blocks(ROOT / "docs/data.md", "json") if "triple_list" in text)
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    reader = JmereReader(str(tmp_path), "x.json")
    assert [relation.label for example in reader for relation in example.relations] == ["couple"]
    assert not reader.repairs


def test_recipes_are_valid(tmp_path: Path) -> None:
    recipes = [text for text in blocks(ROOT / "docs/recipes.md", "ini") if "[recipe]" in text]
    assert len(recipes) == 1
    for text in recipes:
        (tmp_path / "x.cfg").write_text(text, encoding="utf-8")
        load_recipe(tmp_path / "x.cfg")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in [slug(heading) for heading in headings], f"{target}#{anchor}"


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
