"""What a report holds: numbers by hand, images within their limit, and data that cannot become code."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from mmkit import Entity, Example, Image, Mention, Prediction, Region, Relation, Span
from mmkit.data.types import CUT, SOURCES
from mmkit_report.about_run import curves
from mmkit_report.again import change
from mmkit_report.analysis import analysis
from mmkit_report.document import document
from mmkit_report.example_records import MOST_TOKENS, example_record, prediction_record
from mmkit_report.page import as_json, page
from mmkit_report.scored import read_scored
from mmkit_report.statistics.breakdown import by_size
from mmkit_report.statistics.calibration import calibration
from mmkit_report.thumbnails import Thumbnails
from mmkit_report.write_report import write_report
from raising import raises
from scored_runs import write_data, write_run


def posts() -> list[Example]:
    """Three sentences: one right, one with a wrong label, one with a missed and a spurious name."""
    names = [
        (["see", "Mara", "today"], "PER"),
        (["see", "Oslo"], "LOC"),
        (["Mara", "likes", "Oslo"], "LOC"),
    ]
    return [
        Example.from_tokens(
            f"p{i}",
            words,
            spans=(Span(words.index("Oslo" if label == "LOC" else "Mara"), 2 if i < 2 else 3, label),),
        )
        for i, (words, label) in enumerate(names)
    ]


TOLD = [
    Prediction("p0", (Span(1, 2, "PER"),), (0.9,)),
    Prediction("p1", (Span(1, 2, "PER"),), (0.7,)),
    Prediction("p2", (Span(0, 1, "PER"),), (0.55,)),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    lines = [{"split": "train", "epoch": 1, "step": 5, "loss": 2.0, "learning_rate": 0.1}]
    lines += [
        {"split": "dev", "epoch": e, "step": 5 * e, "scores.f1": 0.1 * e, "scores.f1.PER": 1.0}
        for e in (1, 2)
    ]
    return write_run(tmp_path / "run", write_data(tmp_path / "data", posts()), TOLD, metrics=lines)


def test_what_is_counted(run):
    scored = read_scored(run, "test")
    found = analysis(scored, [posts()[0]], resamples=100)
    (items,) = found["items"]
    assert items["kinds"] == {
        "right": 1,
        "wrong label": 1,
        "wrong bounds": 0,
        "wrong label and bounds": 0,
        "missed": 1,
        "spurious": 1,
    }
    per = next(row for row in items["labels"] if row["group"] == "PER")
    assert (per["correct"], per["predicted"], per["gold"]) == (1, 3, 1)
    assert (per["precision"], per["recall"], per["f1"]) == pytest.approx((1 / 3, 1, 0.5))
    confusion = items["confusion"]
    assert confusion["rows"] == ["LOC", "PER", "(spurious)"] and confusion["columns"] == [
        "LOC",
        "PER",
        "(missed)",
    ]
    assert confusion["counts"] == [[0, 1, 1], [0, 1, 0], [0, 1, 0]]
    assert [(row["group"], row["gold"], row["correct"]) for row in items["seen"]["groups"]] == [
        ("seen with this label", 1, 1),
        ("unseen", 2, 0),
    ]
    assert [(row["group"], row["gold"]) for row in items["seen"]["frequencies"]] == [("0", 2), ("1", 1)]
    assert [(row["group"], row["predicted"]) for row in items["lengths"]] == [("1–5", 3)]
    f1 = next(figure for figure in found["figures"] if figure["name"] == "scores.f1")
    assert f1["value"] == pytest.approx(1 / 3) and f1["interval"][0] <= f1["value"] <= f1["interval"][1]


def test_curves_have_losses_and_scores_of_no_single_label(run):
    (run / "metrics.jsonl").open("a").write("not json\n{}\n[1]\n")
    notes: list[str] = []
    assert curves(run / "metrics.jsonl", notes.append) == [
        {"split": "train", "name": "loss", "points": [(5, 2.0)]},
        {"split": "dev", "name": "scores.f1", "points": [(5, 0.1), (10, 0.2)]},
    ]
    assert len(notes) == 1 and notes[0].endswith("left out of the curves: 4, 5, 6")
    assert curves(run / "nothing.jsonl", notes.append) == [] and len(notes) == 1


def test_a_document_has_all_examples_in_their_order(run, tmp_path):
    found = document([run], "test", Thumbnails(tmp_path / "images"))
    assert [example["id"] for example in found["examples"]] == ["p0", "p1", "p2"]
    wrong = found["examples"][1]["p"][0]
    assert wrong["findings"] == [["span", found["kinds"].index("wrong label"), 0, 0, 0.7]]
    assert wrong["errors"] == 1 and wrong["spans"] == [[1, 2, "PER"]]
    assert found["runs"][0]["settings"]["recipe.seed"] == 1
    assert json.loads(json.dumps(found)) is not None


def test_links_come_with_entities_and_contexts(tmp_path):
    source = {"by": "r", "title": "A title", "text": "words " * 500, "score": 0.5}
    example = Example.from_tokens(
        "m", ["Jordan"], mention=Mention("Jordan", Span(0, 1, "")), entity="Q1", notes={SOURCES: [source]}
    )
    entities = [Entity(f"Q{i}", f"Name {i}", description="about it") for i in range(9)]
    data = write_data(tmp_path / "data", [example], entities)
    links = tuple(f"Q{i}" for i in (2, 1, 3, 4, 5, 6))
    told = [Prediction("m", links=links, link_scores=(0.5, 0.2, 0.1, 0.1, 0.05, 0.05))]
    found = document(
        [write_run(tmp_path / "run", data, told, "links")], "test", Thumbnails(tmp_path / "images")
    )
    assert set(found["entities"]) == {"Q1", "Q2", "Q3", "Q4", "Q5"}
    assert found["entities"]["Q2"]["name"] == "Name 2"
    (shown,) = found["examples"]
    assert shown["p"][0]["links"] == ["Q2", "Q1", "Q3", "Q4", "Q5"] and shown["entity"] == "Q1"
    assert shown["sources"][0]["title"] == "A title" and len(shown["sources"][0]["text"]) == 600


@pytest.mark.parametrize(
    ("note", "cut"),
    [
        ([{"encoder": "text", "limit": 9, "token": 2}, {"encoder": "other", "limit": 5, "token": 1}], 1),
        ([{"encoder": "text", "limit": 9, "context": True}], MOST_TOKENS),
        ([], None),
        ("not a list", None),
    ],
)
def test_what_was_not_read_is_said(note, cut):
    record = prediction_record(replace(TOLD[0], notes={CUT: note}), [])
    assert record.get("cut") == cut


def test_gold_and_predicted_boxes_of_names_are_kept(tmp_path):
    gold, said = Region(0, (1.0, 2.0, 30.0, 40.0)), Region(0, (5.123456, 2.0, 30.0, 40.0))
    example = replace(posts()[0], images=(Image(None),))
    example = replace(example, spans=(replace(example.spans[0], regions=(gold,)),))
    record = example_record(example, Thumbnails(tmp_path))
    assert record["regions"] == [{"span": 0, "image": 0, "box": [1.0, 2.0, 30.0, 40.0]}]
    told = replace(TOLD[0], spans=(Span(0, 1, "PER"), replace(example.spans[0], regions=(said,))))
    regions = prediction_record(told, [])["regions"]
    assert regions == [{"span": 1, "image": 0, "box": [5.12, 2.0, 30.0, 40.0]}]
    assert "regions" not in prediction_record(TOLD[0], [])


def pictured(tmp_path: Path, number: int) -> list[Example]:
    (tmp_path / "data").mkdir(exist_ok=True)
    found = []
    for i in range(number):
        path = tmp_path / "data" / f"{i}.png"
        Pillow.effect_noise((400, 300), 60 + i).convert("RGB").save(path)
        crop = Image(str(path), "object", (10, 10, 200, 200))
        found.append(replace(posts()[0], id=f"p{i}", images=(Image(str(path)), crop)))
    return found


def test_images_beyond_the_limit_are_beside_the_page(tmp_path):
    examples = pictured(tmp_path, 4)
    data = write_data(tmp_path / "data", examples)
    run = write_run(tmp_path / "run", data, [replace(TOLD[0], id=x.id) for x in examples])
    output = tmp_path / "out" / "report.html"
    beside = write_report([run], "test", output, limit=40_000)
    assert beside == tmp_path / "out" / "report_images"
    files = sorted(path.name for path in beside.iterdir())
    assert files and len(output.read_text(encoding="utf-8")) < 200_000
    for name in files:
        with Pillow.open(beside / name) as small:
            assert max(small.size) <= 320
        assert f"report_images/{name}" in output.read_text(encoding="utf-8")
    assert write_report([run], "test", output) is None and not beside.exists()  # all fit now
    beside.mkdir()
    (beside / "mine.txt").write_text("kept")
    with raises("report.images-folder"):
        write_report([run], "test", output)
    assert (beside / "mine.txt").read_text() == "kept"


def test_an_image_from_outside_the_data_is_said(tmp_path):
    inside, other = pictured(tmp_path, 2)
    secret = tmp_path / "secret.png"
    Pillow.new("RGB", (8, 8), "red").save(secret)
    for said, images in enumerate((inside.images, (Image(str(secret)),))):
        data = write_data(tmp_path / "data", [inside, replace(other, images=images)])
        run = write_run(tmp_path / f"run{said}", data, [replace(TOLD[0], id=x.id) for x in (inside, other)])
        notes: list[str] = []
        write_report([run], "test", tmp_path / "out" / "report.html", note=notes.append)
        told = [note for note in notes if "outside the folders of the data" in note]
        assert len(told) == said and all(str(secret) in note for note in told)


def test_an_image_that_cannot_be_read_is_said(tmp_path):
    images = Thumbnails(tmp_path)
    assert images.add(Image(None)) is None
    number = images.add(Image(str(tmp_path / "gone.jpg")))
    assert images.records[number] == {"name": str(tmp_path / "gone.jpg"), "error": "no such image"}
    assert images.add(Image(str(tmp_path / "gone.jpg"))) == number


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
)
def test_data_end_no_script_and_stay_what_they_are(value):
    text = as_json({"x": value})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"x": value}


def test_numbers_that_json_does_not_have_are_left_out():
    text = as_json({"x": [math.nan, math.inf, 1.5, (True, 2)]})
    assert json.loads(text) == {"x": [None, None, 1.5, [True, 2]]}


def test_the_policy_allows_this_script_and_this_style_alone():
    text = page({"x": "</script><script>alert(1)</script> {{script}}"}, "<b>{{data}}</b>")
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    for content, directive in [*((script, "script-src") for script in scripts), (style, "style-src")]:
        hashed = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{hashed}'" in policy
    assert len(scripts) == 1 and "alert(1)" not in scripts[0]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    assert text.count("&lt;b&gt;{{data}}&lt;/b&gt;") == 2  # data are not filled in again
    assert "innerHTML" not in text and "eval(" not in text and " style=" not in text


def test_what_a_photo_changes():
    a, b = Span(0, 1, "PER"), Span(0, 1, "LOC")
    one = Prediction("x", (a,), (0.9,), links=("Q1",), link_scores=(0.5,))
    assert change(one, one) == 0
    assert change(one, replace(one, span_scores=(0.6,))) == pytest.approx(0.3)
    assert change(one, replace(one, spans=(b,))) == 2  # one is gone, another came
    assert change(one, replace(one, links=("Q2",))) == 2
    relation = Relation(a, b, "r")
    assert change(one, replace(one, relations=(relation,), relation_scores=(0.4,))) == 1


@settings(deadline=None)  # the first example may pay for a busy machine
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=50))
def test_calibration_by_hand(told):
    found = calibration([score for score, _ in told], [right for _, right in told])
    assert sum(each.count for each in found.bins) == len(told)
    error = 0.0
    for each in found.bins:
        inside = [(s, r) for s, r in told if each.low - 1e-9 <= s <= each.high + 1e-9]
        assert len(inside) >= each.count
        error += each.count / len(told) * abs(each.right - each.score)
        assert each.low - 1e-9 <= each.score <= each.high + 1e-9
    assert found.error == pytest.approx(error)


def test_a_model_that_is_as_sure_as_right_has_no_calibration_error():
    found = calibration([0.75] * 4 + [1.0, 1.0], [True, True, True, False, True, True])
    assert [(each.count, each.score, each.right) for each in found.bins] == [(4, 0.75, 0.75), (2, 1.0, 1.0)]
    assert found.error == 0
    with pytest.raises(ValueError, match="2 scores"):
        calibration([0.1, 0.2], [True])


def test_groups_of_sizes():
    rows = [(0, (1, 1, 1)), (1, (0, 1, 1)), (4, (1, 1, 2)), (60, (1, 2, 1))]
    groups = by_size(rows, (0, 1, 4, 9, 49))
    assert [(g.group, g.correct, g.predicted, g.gold) for g in groups] == [
        ("0", 1, 1, 1),
        ("1", 0, 1, 1),
        ("2–4", 1, 1, 2),
        ("50+", 1, 2, 1),
    ]
    assert groups[2].recall == 0.5 and groups[2].f1 == pytest.approx(2 / 3)


def test_contexts_that_stood_in_the_data_are_shown(tmp_path):
    notes = {"more.text_context": "Jordan is a river. " * 50, "other": {"no": "text"}, "empty": ""}
    example = Example.from_tokens("1", ["Jordan"], notes=notes)
    data = write_data(tmp_path / "data", [example])
    runs = [write_run(tmp_path / "runs" / name, data, [Prediction("1")]) for name in ("a", "b")]
    facts = json.loads((runs[0] / "run.json").read_text(encoding="utf-8"))
    facts["data"]["train"] = {"files": [], "made_by": {"knowledge": [{"model": "m", "results": 3}]}}
    (runs[0] / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    found = document(runs, "test", Thumbnails(tmp_path / "images"))
    assert found["runs"][0]["facts"]["train: knowledge"] == "knowledge: 3 results of m"
    (source,) = found["examples"][0]["sources"]
    assert source["title"] == "more.text_context" and source["text"].startswith("Jordan is a river.")
    assert len(source["text"]) == 600
    assert [run["name"] for run in found["runs"]] == ["a", "b"]
    assert [run["facts"]["run"] for run in found["runs"]] == list(map(str, runs))
    write_report(runs, "test", tmp_path / "report.html")
    assert "<title>a, b: test</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")
