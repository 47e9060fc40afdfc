"""What a report draws in a real browser: pictures, boxes, arcs, marked mentions. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image as Pillow

from browser import chromium
from mmkit import Entity, Example, Image, Mention, Prediction, Region, Relation, Span, SpanTask
from mmkit_report.write_report import write_report
from report_pages import Opened, posts
from scored_runs import write_data, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    yield from chromium()


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
