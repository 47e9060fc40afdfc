"""A report of a folder that is no run, as a plugin describes it: in a real browser, and on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mmkit
from browser import chromium, inaccessible, problems_of
from mmkit.cli import main
from mmkit.hooks import registered
from mmkit.pages import Chart, Command, Link, Page, Section, Table
from mmkit_report.folder_page import folder_page, write_folder_page
from mmkit_report.scored import runs_in
from raising import raises

EVIL = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'{{data}}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    yield from chromium()


class Album:
    """A plugin that knows the folders in which there is a file `album`."""

    @mmkit.hookimpl
    def mmkit_folder_page(self, folder: Path) -> Page | None:
        if not (folder / "album").is_file():
            return None
        title = (folder / "album").read_text(encoding="utf-8")
        points = [(1.0, 0.5), (2.0, 0.75)]
        return Page(
            title,
            [
                Section(
                    f"First {title}",
                    [
                        title,
                        Command(f"mmkit train {title}"),
                        Table(
                            title, ["who", title], [[Link(title, folder / "javascript:x"), 3], ["b", "4.50"]]
                        ),
                        Link("the album", folder / "album"),
                    ],
                ),
                Section("Second", [Chart(title, "step", {title: points, "other": [(2.0, 1.0)]})]),
            ],
        )


def album(folder: Path, title: str = "Songs") -> Path:
    folder.mkdir(parents=True)
    (folder / "album").write_text(title, encoding="utf-8")
    return folder


def written(folder: Path, output: Path, *words: str, code: int = 0) -> str:
    with registered(Album()):
        done = CliRunner().invoke(main, ["report", str(folder), "--output", str(output), *words])
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_plugin_brings_the_page_of_its_folder(browser, tmp_path, scheme):
    file = tmp_path / "out" / "report.html"
    assert str(file) in written(album(tmp_path / "songs"), file)
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    problems = problems_of(page, ("data:", f"file://{tmp_path}/"))
    page.goto(f"file://{file}")
    assert page.title() == "Songs" and page.locator("h2").all_inner_texts() == ["First Songs", "Second"]
    cells = page.get_by_role("table", name="Songs").first.get_by_role("row").all_inner_texts()
    assert cells == ["who\tSongs", "Songs\t3", "b\t4.50"]
    assert page.locator("pre").inner_text() == "mmkit train Songs"
    page.get_by_text("As a table").click()
    assert page.get_by_role("row", name="2 0.750 1").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert inaccessible(page) == []
    page.get_by_role("link", name="the album").click()
    assert page.url == f"file://{tmp_path}/songs/album" and problems == []


@pytest.mark.slow
def test_a_folders_names_cannot_run_code(browser, tmp_path):
    file = tmp_path / "report.html"
    written(album(tmp_path / "songs", EVIL), file)
    page = browser.new_context().new_page()
    problems = problems_of(page, ("data:", f"file://{tmp_path}/"))
    page.goto(f"file://{file}")
    assert page.title() == EVIL and page.locator("pre").inner_text() == f"mmkit train {EVIL}"
    assert page.locator("td a, th a").get_attribute("href") == "./songs/javascript%3Ax"
    assert page.evaluate("window.pwned") is None and page.evaluate("document.scripts.length") == 2
    assert page.locator("img").count() == 0 and problems == []


def test_a_folder_with_a_page_of_its_own_stands_alone(tmp_path):
    folders = [album(tmp_path / "a"), album(tmp_path / "b")]
    with registered(Album()), raises("report.one-folder", match="together"):
        folder_page(folders)


def test_options_of_runs_are_refused_for_it(tmp_path):
    said = written(
        album(tmp_path / "songs"), tmp_path / "x.html", "--with-blank", "--data.test.root", "x", code=2
    )
    assert "--with-blank, --data.test.root" in said and not (tmp_path / "x.html").exists()


def test_plugins_are_not_asked_about_runs(tmp_path):
    run = album(tmp_path / "runs" / "one")
    (run / "recipe.cfg").touch()
    with registered(Album()):
        assert folder_page([run]) is None and folder_page([run.parent]) is None
    assert runs_in(run.parent) == [run]


def test_a_folder_that_nobody_knows_is_no_run(tmp_path):
    said = written(tmp_path, tmp_path / "x.html", code=2)
    assert "run.not-a-run" in said


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(ValueError, match="row 1 of the table 'T' has 1 cells for 2 columns"):
        Table("T", ["a", "b"], [["1", "2"], ["3"]])


def test_a_page_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").touch()
    with raises("file.unwritable"):
        write_folder_page(Page("x", []), tmp_path / "file" / "report.html")
