"""A report in a real browser: filters, links, keyboard, hostile data, many examples. Skipped where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from browser import chromium, inaccessible
from mmkit import Entity, Example, Image, Mention, Prediction, Relation, Span
from mmkit.data.types import SOURCES
from mmkit.inspection import Table
from mmkit_report.again import View
from mmkit_report.scored import Scored
from mmkit_report.write_report import write_report
from report_pages import Opened, posts, report
from scored_runs import write_data, write_run

pytestmark = pytest.mark.slow

EVIL = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'{{data}}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    yield from chromium()


def test_filters_choose_examples_and_are_in_the_link(browser, tmp_path):
    file = report(tmp_path, 42)
    opened = Opened(browser, file, "#view=examples")
    page = opened.page
    assert opened.status() == "42 of 42 examples"
    assert opened.heading() in {f"Example p{i}" for i in (0, 21)}  # the worst have both errors
    page.get_by_label("Kind of error").select_option("missed")
    assert opened.status() == "6 of 42 examples"
    page.get_by_label("Kind of error").select_option("wrong label")
    page.get_by_label("Label", exact=True).select_option("ORG")
    assert opened.status() == "14 of 42 examples"
    page.get_by_label("Score from").fill("0.8")
    assert opened.status() == "4 of 42 examples"
    page.get_by_label("Search in texts and ids").fill("mara33")
    assert opened.status() == "1 of 42 examples" and opened.heading() == "Example p33"
    again = Opened(browser, file, page.url.partition(".html")[2])
    assert again.status() == "1 of 42 examples" and again.heading() == "Example p33"
    assert again.page.get_by_label("Kind of error").input_value() == "wrong label"
    page.get_by_label("Search in texts and ids").fill("nothing like it")
    assert opened.status() == "0 of 42 examples"
    assert opened.problems == again.problems == []


def test_flips_between_two_runs_are_a_filter_with_a_link(browser, tmp_path):
    examples, base = posts(42)
    data = write_data(tmp_path / "data", examples)
    right = [Prediction(x.id, x.spans, (0.9, 0.9)) for x in examples]
    # the other run has p0 to p9 wrong, and all the rest right: base has each third and each seventh wrong
    other = [replace(p, spans=p.spans[:1], span_scores=(0.9,)) if i < 10 else p for i, p in enumerate(right)]
    wrong = {i for i in range(42) if i % 3 == 0 or i % 7 == 0}
    gained, lost = len(wrong - set(range(10))), len(set(range(10)) - wrong)
    runs = [write_run(tmp_path / name, data, told) for name, told in (("base", base), ("other", other))]
    write_report(runs, "test", tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html")
    page = opened.page
    row = page.get_by_role("table", name="Examples that flip, against base").get_by_role("row").last
    assert row.inner_text().split() == ["other", str(gained), str(lost)]
    row.get_by_role("link").first.click()
    assert opened.status() == f"{gained} of 42 examples"
    flip = page.get_by_label("Flips between runs")
    flip.select_option("right in base, wrong in other")
    assert opened.status() == f"{lost} of 42 examples" and opened.heading() == "Example p1"
    page.get_by_label("Run", exact=True).select_option("other")
    page.get_by_label("Kind of error").select_option("missed")
    assert opened.status() == f"{lost} of 42 examples"
    again = Opened(browser, tmp_path / "report.html", page.url.partition(".html")[2])
    assert again.status() == f"{lost} of 42 examples"
    assert again.page.get_by_label("Flips between runs").input_value() == flip.input_value() == "0not1"
    page.get_by_label("Kind of error").select_option("")
    flip.select_option("right in base or other, not in both")
    assert opened.status() == f"{gained + lost} of 42 examples"
    foreign = Opened(browser, tmp_path / "report.html", "#view=examples&flip=0not7")
    assert foreign.status() == "42 of 42 examples"
    assert opened.problems == again.problems == foreign.problems == []
    single = Opened(browser, report(tmp_path / "single", 3), "#view=examples&flip=0not1")
    assert single.status() == "3 of 3 examples" and not single.page.get_by_label("Flips").count()


def test_numbers_lead_to_examples(browser, tmp_path):
    opened = Opened(browser, report(tmp_path, 42), "#view=errors")
    opened.page.get_by_role("link", name="missed").click()
    assert opened.status() == "6 of 42 examples"
    opened.page.get_by_role("link", name="Scores").click()
    opened.page.get_by_role("rowheader", name="scores.f1", exact=True).wait_for()
    opened.page.go_back()
    assert opened.status() == "6 of 42 examples"
    opened.page.get_by_role("link", name="The run").click()
    opened.page.get_by_text("Recipe, with all settings").click()
    opened.page.get_by_text("bert-base-uncased").wait_for()
    assert opened.problems == []


def test_the_keyboard_alone_is_enough(browser, tmp_path):
    opened = Opened(browser, report(tmp_path, 42), "#view=examples&sort=file")
    page = opened.page
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "listbox":
            break
    page.keyboard.press("ArrowDown")
    assert opened.heading() == "Example p1"
    page.keyboard.press("End")
    assert opened.heading() == "Example p41"
    active = page.evaluate(
        "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))"
    )
    assert active is not None
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "example" and opened.heading() == "Example p0"
    unnamed = "[...document.querySelectorAll('input,select')].filter(x => !x.labels.length).length"
    assert page.evaluate(unnamed) == 0 and opened.problems == []


def test_data_cannot_run_code(browser, tmp_path):
    a, b = Span(0, 1, EVIL), Span(1, 2, EVIL)
    photo = tmp_path / "data" / "<img src=x onerror=window.pwned=1>.png"
    photo.parent.mkdir()
    Pillow.new("RGB", (40, 30)).save(photo)
    evil = Example.from_tokens(
        EVIL,
        [EVIL, "javascript:window.pwned=1"],
        spans=(a, b),
        relations=(Relation(a, b, EVIL),),
        images=(Image(str(photo)), Image(f"{EVIL}.jpg")),
        mention=Mention(EVIL),
        entity=EVIL,
        notes={SOURCES: [{"title": EVIL, "text": EVIL, "by": EVIL}]},
    )
    data = write_data(tmp_path / "data", [evil], [Entity(EVIL, EVIL, description=EVIL), Entity("Q", "x")])
    told = Prediction(EVIL, (a,), (0.5,), (Relation(a, b, f"x{EVIL}"),), (0.5,), (EVIL, "Q"), (0.6, 0.4))
    run = write_run(tmp_path / "<b>run", data, [told], "links", recipe__seed="3")
    write_report([run], "test", tmp_path / "report.html")
    for view in ("scores", "errors", "examples", "about"):
        opened = Opened(browser, tmp_path / "report.html", f"#view={view}&id=<img src=x onerror=alert(1)>")
        opened.page.wait_for_timeout(50)
        assert opened.page.evaluate("window.pwned") is None
        assert opened.page.evaluate("document.scripts.length") == 2
        assert opened.problems == []
    opened = Opened(browser, tmp_path / "report.html", "#view=examples")
    assert opened.page.locator("#example").inner_text() == f"Example {EVIL}"
    assert opened.page.locator("img").count() == 1  # the photo; no text became one


def test_thousands_of_examples_open_at_once(browser, tmp_path):
    file = report(tmp_path, 5000)
    begun = time.perf_counter()
    opened = Opened(browser, file, "#view=examples&sort=file")
    opened.page.locator(".row").first.wait_for()
    seconds = time.perf_counter() - begun
    assert opened.status() == "5,000 of 5,000 examples"
    assert opened.page.locator(".row").count() < 60
    opened.page.locator(".list").focus()
    opened.page.keyboard.press("End")
    assert opened.heading() == "Example p4999"
    assert seconds < 15 and opened.problems == []  # about half a second on a machine with nothing else to do


def test_a_telephone_and_dark_mode(browser, tmp_path):
    file = report(tmp_path, 42)
    for view in ("scores", "errors", "examples", "about"):
        opened = Opened(
            browser, file, f"#view={view}", viewport={"width": 360, "height": 740}, color_scheme="dark"
        )
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
        assert opened.problems == []


@pytest.fixture
def inspected(tmp_path, monkeypatch) -> Path:
    """A report with blank images, in which parts show gates, weights and numbers of words."""

    def views(scored: Scored, **_: Any) -> list[View]:
        shown = [
            {
                "gates": Table(["layer 1", "layer 2"], ["block 1", "block 2"], [[0.25, 0.75], [0.5, 0.5]]),
                "weights": Table(["λ"], ["text", "image"], [[0.125, 0.875]]),
                "visual gate": Table(
                    x.tokens, ["mean"], [[i / 8] for i in range(len(x.tokens))], by_token=True
                ),
            }
            for x in scored.examples
        ]
        changes = [0.0] * len(scored.examples)
        blank = [{"gates": tables["gates"]} for tables in shown]
        return [View("run", scored, None, shown), View("run (blank images)", scored, changes, blank)]

    monkeypatch.setattr("mmkit_report.document.views_of", views)
    examples, predictions = posts(6)
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", examples), predictions)
    write_report([run], "test", tmp_path / "report.html", blank=True, inspect=True)
    return tmp_path / "report.html"


def test_what_parts_show_stands_beside_blank_images_and_as_means(browser, inspected):
    opened = Opened(browser, inspected, "#view=examples&sort=file")
    gates = opened.page.get_by_role("table", name="gates: run")
    assert gates.count() == 2  # the run, and with blank images
    values = gates.first.get_by_role("cell").all_inner_texts()
    assert values == ["0.250", "0.750", "0.500", "0.500"]
    shade = "e => getComputedStyle(e).backgroundColor"
    low, high = (gates.first.get_by_role("cell", name=text).evaluate(shade) for text in ("0.250", "0.750"))
    assert low != high
    words = opened.page.get_by_role("table", name="visual gate").get_by_role("rowheader").all_inner_texts()
    assert words == ["see", "Mara0", "in", "Oslo", "now"]
    opened.page.get_by_role("link", name="Inside").click()
    of_words = opened.page.get_by_role("row", name="PER (6)")
    assert of_words.last.get_by_role("cell").all_inner_texts() == ["0.125"]
    opened.page.get_by_text("By gold label").first.click()
    opened.page.get_by_role("table", name="Mean, LOC (6)").first.wait_for()
    assert opened.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(browser, inspected, scheme):
    for view in ("scores", "errors", "examples", "inside", "about"):
        size = {"width": 390, "height": 800}
        opened = Opened(browser, inspected, f"#view={view}", viewport=size, color_scheme=scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert inaccessible(opened.page) == [], view
