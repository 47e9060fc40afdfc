"""Every block of every page works as it stands: pasted in order, in a folder that has what the page says it needs."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import tomllib
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

from mmkit.cli import main
from mmkit.recipe import load_recipe, parse_overrides
from pages import ROOT, Block, Reader, blocks_of, check_options, commands_of, json_values

PAGES = [ROOT / "README.md", ROOT / "docs/plugins.md", ROOT / "docs/tutorial.md"]
"""Pages with tests of their own."""
RUN = sorted(
    {
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/papers/*.md"),
        *ROOT.glob("plugins/*/README.md"),
        ROOT / "CONTRIBUTING.md",
    }
    - {*PAGES}
)
SHOWN = {"", "text", "toml", "diff"}  # what a program prints, or a file of another tool's
UNRUN = Counter(data=25, files=8, hub=5, install=6, program=8, server=10, time=2)
"""How many blocks are not run, by what they need. A block that could be run instead should be."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` trains."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    words = ["train", "hvpnet_twitter15", "--sample", "--quiet", "--output", str(folder), "--device", "cpu"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def reader(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Somebody in the folder of mmkit's sources, who has made the demo."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/demo").symlink_to(demo)
    for name in ("recipes", "plugins", "docs", "mmkit", "benchmarks", "demo"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return Reader(tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_works_as_it_stands(page: Path, reader: Reader) -> None:
    paste_all(blocks_of(page), reader)


@pytest.mark.matrix
def test_the_readme_works_as_it_stands(reader: Reader) -> None:
    said = paste_all(blocks_of(ROOT / "README.md"), reader)
    assert re.search(r"PER Jordan.*ORG Jordan", said, re.DOTALL)
    assert "'label': 'PER'" in said
    assert len((reader.folder / "found.jsonl").read_text(encoding="utf-8").splitlines()) >= 2


@pytest.mark.matrix
def test_the_tutorial_ends_with_a_better_model(reader: Reader) -> None:
    """Annotate, train, predict, correct, train further: on the same test posts, the second model is better."""
    said = paste_all(blocks_of(ROOT / "docs/tutorial.md"), reader)
    first, better = map(float, re.findall(r"^runs/(?:mine|better) ([\d.]+)$", said, re.MULTILINE))
    assert 60 < first < 95 < better
    assert re.search(r"^[1-9]\d* spans were right, [1-9]\d* had to be corrected$", said, re.MULTILINE)


def paste_all(blocks: list[Block], reader: Reader) -> str:
    """Paste blocks in order; what cannot be run is checked. Returns what they print."""
    said = []
    for block in blocks:
        if block.need:
            check_unrun(block)
        elif block.language in ("bash", "python"):
            said.append(reader.paste(block))
        else:
            check_file(block, reader)
    return "".join(said)


def check_file(block: Block, reader: Reader) -> None:
    """What a block that is a file says can be read."""
    if name := block.title or block.argument("saved as"):
        (reader.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (reader.folder / name).write_text(block.text, encoding="utf-8")
    if block.language == "ini":
        recipe = block.argument("part of")
        if recipe:
            whole = reader.folder / "whole.cfg"
            whole.write_text(joined(load_recipe(recipe).path, block.text), encoding="utf-8")
            load_recipe(whole)
        else:
            assert name, f"{block.place}: a mark must say which file or recipe this belongs to"
            load_recipe(reader.folder / name)
    elif block.language == "json":
        assert json_values(block.text)
    elif block.language == "xml":
        ElementTree.fromstring(block.text)
    else:
        assert block.language in SHOWN, f"{block.place}: nothing is known of {block.language!r}"


def joined(recipe: Path, more: str) -> str:
    """A recipe's text with further sections. A section that names a part replaces the one of its name."""
    sections = sections_of(recipe.read_text(encoding="utf-8"))
    for name, body in sections_of(more).items():
        keys = {line.partition("=")[0].strip() for line in body.splitlines() if "=" in line}
        kept = "" if "@" in body else sections.get(name, "")
        lines = [line for line in kept.splitlines() if line.partition("=")[0].strip() not in keys]
        sections[name] = "\n".join([*lines, body])
    return "".join(f"[{name}]\n{body}\n" for name, body in sections.items())


def sections_of(text: str) -> dict[str, str]:
    _, *parts = re.split(r"^\[([\w.-]+)\][^\n]*\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def check_unrun(block: Block) -> None:
    """What can be tried without what a block needs: its options parse, its recipes are valid, its imports exist."""
    if block.language == "python":
        for node in ast.walk(ast.parse(block.text, block.place)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mmkit"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), f"{block.place}: {node.module}"
        return
    assert block.language == "bash", f"{block.place}: a block of {block.language!r} needs nothing"
    for words in commands_of(block.text):
        if words[0] == "mmkit":
            context = check_options(words)
            if context.info_name in ("check", "train", "annotate") and block.need != "install":
                path = Path(context.params["recipe"])
                check_recipe(str(path.resolve() if path.suffix else path), tuple(context.args))
        elif words[:2] == ["pip", "install"]:
            for path, extra in re.findall(r"(?:^| )\./([\w/-]+)(?:\[(\w+)\])?", " ".join(words)):
                project = tomllib.loads((ROOT / path / "pyproject.toml").read_text(encoding="utf-8"))[
                    "project"
                ]
                assert not extra or extra in project["optional-dependencies"], block.place
        elif words[0] == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert set(words[1:]) <= set(targets), block.place
        else:
            known = words[0] in ("curl", "export") or any((ROOT / word).exists() for word in words[:2])
            assert known or block.need == "program", f"{block.place}: {words[0]}"


@functools.cache
def check_recipe(recipe: str, overrides: tuple[str, ...]) -> None:
    load_recipe(recipe, parse_overrides(list(overrides)))
    if Path(recipe).suffix and ROOT not in Path(recipe).parents:
        return  # one's own recipe, whose labels are not those of the sample
    done = CliRunner().invoke(main, ["check", recipe, "--sample"])
    assert done.exit_code == 0, f"{recipe}\n{done.output}"


def test_blocks_that_are_not_run_are_counted() -> None:
    assert Counter(block.need for page in [*RUN, *PAGES] for block in blocks_of(page) if block.need) == UNRUN


def test_the_commands_for_a_plugin_are_options_of_mmkit() -> None:
    """The page's package and its other blocks are tried by test_third_party.py and test_documented_parts.py."""
    blocks = [block for block in blocks_of(ROOT / "docs/plugins.md") if block.language == "bash"]
    assert len(blocks) == 1
    for block in blocks:
        check_unrun(block)


def test_an_unknown_mark_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    for mark in ("needs luck: much of it", "needs hub", "skipped", "part of"):
        page.write_text(f"<!-- block: {mark} -->\n```bash\ntrue\n```\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"page\.md:3: unknown mark"):
            _ = blocks_of(page)[0].need
    page.write_text("<!-- block: needs hub: BERT -->\n\ntext\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is not followed by a block"):
        blocks_of(page)
    page.write_text("so:\n\n    mmkit train x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'mmkit train x' is code outside"):
        blocks_of(page)


def test_what_fails_on_a_page_is_said_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nA=1\necho $A\n```\n\n```bash\nmmkit describe nothing.v1\n```\n", encoding="utf-8"
    )
    first, second = blocks_of(page)
    assert Reader(tmp_path).paste(first) == "1\n"
    with pytest.raises(AssertionError, match=r"page\.md:7: mmkit describe nothing\.v1"):
        Reader(tmp_path).paste(second)
    with pytest.raises(click.UsageError, match="--outptu"):
        check_options(["mmkit", "evaluate", "run", "--outptu", "x"])
