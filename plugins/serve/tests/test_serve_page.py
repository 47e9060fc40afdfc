"""The page in a real browser: a sentence, photos, the blank photo, two runs, keys. Skipped where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import mmkit
from browser import chromium, inaccessible, problems_of
from mmkit_serve.runs import ServedRun, load_runs
from serving import TEXT, Served

pytestmark = pytest.mark.slow

EVIL = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script> Jordan & \"'"
DROP = """([name, bytes]) => {
  const moved = new DataTransfer();
  moved.items.add(new File([new Uint8Array(bytes)], name, {type: "image/jpeg"}));
  document.getElementById("drop").dispatchEvent(
    new DragEvent("drop", {dataTransfer: moved, bubbles: true, cancelable: true}));
}"""
PASTE = """([name, bytes]) => {
  const moved = new DataTransfer();
  moved.items.add(new File([new Uint8Array(bytes)], name, {type: "image/jpeg"}));
  document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: moved, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    yield from chromium()


class Opened:
    """A page of a server, which notes errors of the console and requests to elsewhere."""

    def __init__(self, browser: Any, client: httpx.Client, path: str = "", **options: Any) -> None:
        base = str(client.base_url).rstrip("/")
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.problems = problems_of(self.page, (f"{base}/", "data:", f"blob:{base}/"))
        self.page.goto(f"{base}/{path}")

    def find(self, text: str) -> str:
        """Ask about a text by the keyboard, and wait for the answer."""
        self.page.get_by_label("Sentence").fill(text)
        self.page.keyboard.press("Control+Enter")
        return self.status("found")

    def status(self, words: str) -> str:
        status = self.page.get_by_role("status").filter(has_text=words)
        status.wait_for(timeout=60_000)
        return str(status.inner_text())

    def rows(self, at: int = 0) -> list[list[str]]:
        """The table of an answer."""
        article = self.page.locator("#results > article").nth(at)
        return [r.locator("td").all_inner_texts() for r in article.locator("tbody tr").all()]


@pytest.fixture(scope="module")
def two(runs: dict[str, ServedRun], tagger: Path) -> dict[str, ServedRun]:
    return {**runs, **load_runs([f"second={tagger}"], "cpu")}


def table(answer: Any) -> list[list[str]]:
    return [[e.text, e.label, f"{e.score:.3f}"] for e in answer.entities]


def test_a_sentence_photos_and_the_blank_photo(
    browser, serve: Served, tagger: Path, photo: bytes, tmp_path
) -> None:
    model = mmkit.load(tagger, device="cpu")
    (tmp_path / "chosen.jpg").write_bytes(photo)
    with serve() as client:
        opened = Opened(browser, client)
        page = opened.page
        assert opened.find(TEXT).startswith("tagger:")
        assert opened.rows() == table(model.predict(TEXT))
        page.get_by_label("Photos: choose").set_input_files(tmp_path / "chosen.jpg")
        for script, name in ((DROP, "dropped.jpg"), (PASTE, "pasted.jpg")):
            page.evaluate(script, [name, list(photo)])
        photos = page.get_by_role("list", name="Photos").get_by_role("img")
        assert [p.get_attribute("alt") for p in photos.all()] == ["chosen.jpg", "dropped.jpg", "pasted.jpg"]
        page.get_by_role("button", name="Remove dropped.jpg").click()
        assert photos.count() == 2
        opened.find(TEXT)
        with_photos = opened.rows()
        assert with_photos == table(model.predict(TEXT, images=[photo, photo]))
        assert "The photos change" in page.locator("#results").inner_text()
        blank = page.get_by_role("button", name="Blank photo")
        blank.press("Enter")
        assert blank.get_attribute("aria-pressed") == "true"
        opened.status("without the photos")
        assert opened.rows() == table(model.predict(TEXT))
        blank.press("Space")
        assert opened.rows() == with_photos
        assert opened.problems == []


def test_two_runs_beside_each_other_and_copies(browser, serve: Served, two: dict[str, ServedRun]) -> None:
    with serve(two) as client:
        opened = Opened(browser, client, permissions=["clipboard-read", "clipboard-write"])
        page = opened.page
        page.get_by_label("Compare with").select_option("second")
        told = opened.find("it's Jordan")
        assert told.startswith("tagger: ") and "second: " in told
        assert opened.rows(0) == opened.rows(1)
        page.get_by_role("button", name="Copy JSON").click()
        opened.status("JSON copied")
        copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
        assert [one["run"] for one in copied] == ["tagger", "second"]
        assert copied[0]["answer"]["text"] == "it's Jordan"
        page.get_by_role("button", name="Copy curl").click()
        opened.status("curl copied")
        curl = page.evaluate("navigator.clipboard.readText()")
        assert (
            "--form-string 'text=it'\\''s Jordan'" in curl
            and f"{client.base_url}/v1/runs/second/predict" in curl
        )
        assert opened.problems == []


def test_hostile_texts_are_shown_as_they_are(browser, serve: Served) -> None:
    with serve() as client:
        opened = Opened(browser, client)
        opened.find(EVIL)
        shown = opened.page.locator(".mmkit-answer > p").first.evaluate("p => p.textContent")
        assert shown == EVIL
        assert opened.page.evaluate("window.pwned") is None
        assert opened.problems == []


def test_errors_are_told_and_a_key_is_asked_for(browser, serve: Served) -> None:
    key = "a-key-of-the-tests-0123456789"
    with serve(key=key, max_characters=20) as client:
        opened = Opened(browser, client)
        page = opened.page
        assert "key is missing" in opened.status("key")
        page.keyboard.type(key)  # the field has the focus
        page.keyboard.press("Tab")
        page.locator("#run option").first.wait_for(state="attached")
        opened.find("look at Jordan")
        page.get_by_label("Sentence").fill("a sentence that is too long")
        page.get_by_role("button", name="Find").click()
        assert "27 characters" in opened.status("characters")
        refused = [problem for problem in opened.problems if "401" not in problem and "422" not in problem]
        assert refused == []  # the browser itself notes both answers


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_and_both_schemes(browser, serve: Served, photo: bytes, scheme: str) -> None:
    with serve() as client:
        opened = Opened(browser, client, viewport={"width": 360, "height": 740}, color_scheme=scheme)
        page = opened.page
        page.evaluate(DROP, ["a photo with a very long name of its own.jpg", list(photo)])
        opened.find("Jordan " * 30)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for button in page.get_by_role("button").all():
            box = button.bounding_box()
            assert box is None or box["height"] >= 40
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        assert opened.problems == []


def test_the_keyboard_reaches_everything(browser, serve: Served) -> None:
    with serve() as client:
        opened = Opened(browser, client)
        opened.find(TEXT)
        reached = []
        opened.page.evaluate("document.activeElement.blur()")
        for _ in range(14):
            opened.page.keyboard.press("Tab")
            reached.append(
                opened.page.evaluate("document.activeElement.id || document.activeElement.textContent")
            )
        for wanted in ("run", "other", "text", "files", "go", "blank", "json", "curl"):
            assert wanted in reached


def test_swagger_shows_the_api(browser, serve: Served) -> None:
    with serve() as client:
        opened = Opened(browser, client, "docs")
        opened.page.get_by_text("/v1/runs/tagger/predict-many").first.wait_for(timeout=60_000)
        assert opened.problems == []


def test_linked_entities(browser, serve: Served, linker: Path) -> None:
    served = load_runs([f"wiki={linker}"], "cpu")
    with serve(served) as client:
        opened = Opened(browser, client)
        opened.page.get_by_label("mention").fill("Jordan")
        opened.find("look at Jordan !")
        entities = opened.page.locator("ol.entities > li")
        wanted = mmkit.load(linker, device="cpu").link("look at Jordan !", "Jordan")
        assert entities.count() == len(wanted)
        assert str(wanted[0].entity) in entities.first.inner_text()
        assert [p for p in opened.problems if "404" not in p] == []  # an entity may have no image


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(browser, serve: Served, photo: bytes, scheme) -> None:
    with serve() as client:
        size = {"width": 390, "height": 800}
        opened = Opened(browser, client, viewport=size, color_scheme=scheme)
        assert inaccessible(opened.page) == []
        opened.page.evaluate(DROP, ["dropped.jpg", list(photo)])
        opened.find(TEXT)
        assert inaccessible(opened.page) == []
