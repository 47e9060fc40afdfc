"""A report in a real browser: filters, links, keyboard, hostile data, many examples. Skipped where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from browser import chromium, inaccessible, problems_of
from mmkit import Entity, Example, Image, Mention, Prediction, Region, Relation, Span, SpanTask
from mmkit.data.types import SOURCES
from mmkit.inspection import Table
from mmkit_report.again import View
from mmkit_report.scored import Scored
from mmkit_report.write_report import write_report
from scored_runs import write_data, write_run

pytestmark = pytest.mark.slow

EVIL = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'{{data}}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    yield from chromium()


class Opened:
    """A page that notes errors, and requests that leave its folder."""

    def __init__(self, browser: Any, file: Path, fragment: str = "", **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.problems = problems_of(self.page, ("data:", f"file://{file.parent}/"))
        self.page.goto(f"file://{file}{fragment}")

    def heading(self) -> str:
        return str(self.page.locator("#example").inner_text())

    def status(self) -> str:
        return str(self.page.get_by_role("status").inner_text())


def posts(number: int) -> tuple[list[Example], list[Prediction]]:
    """Sentences of which each third has a wrong label, and each seventh a missed name."""
    examples, predictions = [], []
    for i in range(number):
        gold = (Span(1, 2, "PER"), Span(3, 4, "LOC"))
        examples.append(Example.from_tokens(f"p{i}", ["see", f"Mara{i}", "in", "Oslo", "now"], spans=gold))
        said = replace(gold[0], label="ORG") if i % 3 == 0 else gold[0]
        found = (said,) if i % 7 == 0 else (said, gold[1])
        predictions.append(Prediction(f"p{i}", found, tuple(0.5 + (i % 50) / 100 for _ in found)))
    return examples, predictions


def report(tmp_path: Path, number: int) -> Path:
    examples, predictions = posts(number)
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", examples), predictions)
    write_report([run], "test", tmp_path / "report.html")
    return tmp_path / "report.html"


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


def test_photos_beside_the_page_are_seen_and_crops_mark_their_boxes(browser, tmp_path):
    examples, predictions = posts(2)
    (tmp_path / "data").mkdir()
    path = str(tmp_path / "data" / "photo.png")
    Pillow.new("RGB", (600, 400), "teal").save(path)
    images = (Image(path), Image(path, "object", (60.0, 40.0, 300.0, 200.0)))
    examples = [replace(example, images=images) for example in examples]
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", examples), predictions)
    assert write_report([run], "test", tmp_path / "report.html", limit=0) == tmp_path / "report_images"
    opened = Opened(browser, tmp_path / "report.html", "#view=examples")
    photo = opened.page.get_by_alt_text("photo", exact=True)
    opened.page.wait_for_function("[...document.images].every(image => image.complete)")
    assert photo.evaluate("image => image.naturalWidth") == 320
    box, frame = opened.page.locator(".box").bounding_box(), photo.bounding_box()
    assert box["x"] - frame["x"] == pytest.approx(0.1 * frame["width"], abs=2)
    assert box["width"] == pytest.approx(0.4 * frame["width"], abs=2)
    assert not opened.page.locator(".box.marked").count()
    opened.page.locator("figure.crop").hover()
    assert opened.page.locator(".box.marked").count() == 1
    opened.page.mouse.move(1, 1)
    opened.page.locator("figure.crop").focus()
    assert opened.page.locator(".box.marked").count() == 1 and opened.problems == []


def test_gold_and_predicted_boxes_of_names_are_drawn(browser, tmp_path):
    examples, predictions = posts(1)
    (tmp_path / "data").mkdir()
    path = str(tmp_path / "data" / "photo.png")
    Pillow.new("RGB", (600, 400), "teal").save(path)
    gold, said = Region(0, (60.0, 40.0, 300.0, 200.0)), Region(0, (300.0, 0.0, 600.0, 400.0))
    spans = tuple(replace(span, regions=(gold,)) for span in examples[0].spans[:1])
    examples = [replace(examples[0], images=(Image(path),), spans=spans)]
    found = replace(spans[0], regions=(said,))
    predictions = [replace(predictions[0], spans=(found,), span_scores=(0.9,))]
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", examples), predictions)
    write_report([run], "test", tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html", "#view=examples")
    opened.page.wait_for_function("[...document.images].every(image => image.complete)")
    frame = opened.page.get_by_alt_text("photo", exact=True).bounding_box()
    for style, left in (("gold", 0.1), ("said", 0.5)):
        box = opened.page.locator(f".box.{style}")
        assert box.bounding_box()["x"] - frame["x"] == pytest.approx(left * frame["width"], abs=2)
        opened.page.locator(f"li.{style}").hover()
        assert "marked" in box.get_attribute("class")
    assert opened.problems == []


def test_a_wrong_box_is_a_kind_that_leads_to_its_examples(browser, tmp_path):
    pytest.importorskip("mmkit_gmner", reason="mmkit-gmner is not installed")
    examples, _ = posts(3)
    gold, said = Region(0, (60.0, 40.0, 300.0, 200.0)), Region(0, (300.0, 0.0, 600.0, 400.0))
    examples = [
        replace(x, images=(Image(None),), spans=(replace(x.spans[0], regions=(gold,)),)) for x in examples
    ]
    found = [(gold,), (said,), ()]
    predictions = [
        Prediction(x.id, (replace(x.spans[0], regions=regions),), (0.9,))
        for x, regions in zip(examples, found, strict=True)
    ]
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", examples), predictions, "grounded")
    write_report([run], "test", tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html", "#view=errors")
    kinds = opened.page.get_by_role("table", name="Kinds, spans").get_by_role("row").all_inner_texts()
    assert [line.split("\t") for line in kinds[1:]] == [
        ["right", "1"],
        ["wrong label", "0"],
        ["wrong bounds", "0"],
        ["wrong label and bounds", "0"],
        ["wrong box", "2"],
        ["missed", "0"],
        ["spurious", "0"],
    ]
    opened.page.get_by_role("link", name="wrong box").click()
    assert opened.status() == "2 of 3 examples" and opened.heading() == "Example p1"
    items = opened.page.get_by_role("table", name="Items").get_by_role("cell").all_inner_texts()
    assert items[1:3] == [
        "PER: Mara1, in the box 60, 40, 300, 200",
        "PER: Mara1, in the box 300, 0, 600, 400",
    ]
    again = Opened(browser, tmp_path / "report.html", opened.page.url.partition(".html")[2])
    assert again.status() == "2 of 3 examples"
    assert again.page.get_by_label("Kind of error").input_value() == "wrong box"
    opened.page.get_by_label("Kind of error").select_option("right")
    assert opened.status() == "1 of 3 examples" and opened.problems == again.problems == []


def test_relations_are_arcs(browser, tmp_path):
    a, b = Span(0, 1, "PER"), Span(2, 3, "LOC")
    example = Example.from_tokens(
        "r", ["Mara", "in", "Oslo"], spans=(a, b), relations=(Relation(a, b, "lives"),)
    )
    told = Prediction("r", (a, b), (0.9, 0.9), (Relation(a, b, "born"),), (0.8,))
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", [example]), [told], "joint")
    write_report([run], "test", tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html", "#view=examples")
    opened.page.locator(".sentence svg path.arc.gold").wait_for(state="attached")
    assert opened.page.locator(".sentence svg text").all_text_contents() == ["lives", "born"]
    assert opened.problems == []


SEEN = """e => { const s = getComputedStyle(e); return [s.backgroundColor, s.color, s.font, s.borderTopWidth,
  s.borderTopStyle, s.borderRadius, s.padding]; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_notebook_looks_like_a_report(browser, tmp_path, scheme):
    (tmp_path / "data").mkdir()
    path = str(tmp_path / "data" / "photo.png")
    Pillow.new("RGB", (600, 400), "teal").save(path)
    examples, predictions = posts(2)
    gold = tuple(replace(s, regions=(Region(0, (60.0, 40.0, 300.0, 200.0)),)) for s in examples[1].spans)
    example = replace(examples[1], images=(Image(path),), spans=gold)
    prediction = replace(predictions[1], spans=gold)
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", [example]), [prediction])
    write_report([run], "test", tmp_path / "report.html")
    report = Opened(browser, tmp_path / "report.html", "#view=examples", color_scheme=scheme)
    notebook = browser.new_context(color_scheme=scheme).new_page()
    html = SpanTask().answer(example, prediction)._repr_html_()
    notebook.set_content(f"<!doctype html><body>{html}</body>")
    for element in (
        ".lane.said .label",
        ".segment > span",
        ".box.said",
        ".box.said .label",
        "figcaption",
        "li.said",
    ):
        in_report = report.page.locator(element).first
        in_notebook = notebook.locator(element).first
        assert in_report.evaluate(SEEN) == in_notebook.evaluate(SEEN), element
        if "label" in element:
            assert in_report.inner_text() == in_notebook.inner_text()
    paper = "getComputedStyle(document.querySelector('.mmkit-answer')).backgroundColor"
    assert report.page.evaluate(paper) == notebook.evaluate(paper)
    assert report.problems == []
    other, colour = ("true", "rgb(255, 255, 255)") if scheme == "dark" else ("false", "rgb(15, 19, 24)")
    notebook.evaluate(
        f"document.body.dataset.jpThemeLight = '{other}'"
    )  # the notebook's own theme has the last word
    assert notebook.evaluate(paper) == colour


def test_the_mention_of_a_link_is_marked_with_its_entity(browser, tmp_path):
    words = Example.from_tokens(
        "l", ["see", "Mara", "now"], mention=Mention("Mara", Span(1, 2, "mention")), entity="Q1"
    )
    data = write_data(tmp_path / "data", [words], [Entity("Q1", "Mara"), Entity("Q2", "Mara Lake")])
    told = Prediction("l", links=("Q2", "Q1"), link_scores=(0.6, 0.4))
    write_report([write_run(tmp_path / "run", data, [told], "links")], "test", tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html", "#view=examples")
    assert opened.page.locator(".sentence .label").all_inner_texts() == ["mention Q2"]
    assert opened.page.locator(".lane.said.wrong .label").count() == 1 and opened.problems == []


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
