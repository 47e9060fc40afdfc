"""Files of boxes: what is read, and what a hostile or broken file comes to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmkit_gmner import voc
from mmkit_gmner.voc import read_voc
from raising import raises

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30.5</xmax><ymax>40</ymax></bndbox>"
SIZE = "<size><width>60</width><height>80</height><depth>3</depth></size>"


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "1.xml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_what_a_file_says(tmp_path: Path) -> None:
    objects = f"\n<object><name>St. Louis &amp; Co</name>{BOX}</object><object><name>A</name>{BOX}</object>"
    found = read_voc(written(tmp_path, f"<annotation><folder>x</folder>{SIZE}{objects}</annotation>"))
    assert found is not None and found.size == (60, 80)
    assert [(o.name, o.box, o.line) for o in found.objects] == [
        ("St. Louis & Co", (1.0, 2.0, 30.5, 40.0), 2),
        ("A", (1.0, 2.0, 30.5, 40.0), 2),
    ]


def test_a_post_without_a_file_has_no_boxes(tmp_path: Path) -> None:
    assert read_voc(tmp_path / "1.xml") is None


def test_a_box_may_reach_over_the_edge(tmp_path: Path) -> None:
    text = f"<annotation>{SIZE.replace('60', '20')}<object><name>A</name>{BOX}</object></annotation>"
    found = read_voc(written(tmp_path, text))
    assert found is not None and found.objects[0].box == (1, 2, 30.5, 40)


@pytest.mark.parametrize("size", ["", *(SIZE.replace("60", side) for side in ("0", "0.3", "-5"))])
def test_a_size_that_labelimg_did_not_know(tmp_path: Path, size: str) -> None:
    found = read_voc(written(tmp_path, f"<annotation>{size}</annotation>"))
    assert found is not None and found.size is None and found.objects == ()


def test_other_encodings_are_those_that_the_file_declares(tmp_path: Path) -> None:
    text = f"<annotation><object><name>Beyoncé</name>{BOX}</object></annotation>"
    declared = f'<?xml version="1.0" encoding="latin-1"?>{text}'.encode("latin-1")
    found = read_voc(written(tmp_path, declared))
    assert found is not None and found.objects[0].name == "Beyoncé"


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>\n<annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (LAUGHS, 1, "document type"),
        ('\n<!DOCTYPE a SYSTEM "file:///etc/passwd">\n<annotation/>', 2, "document type"),
        ("<annotation>&b;</annotation>", 1, "not XML"),
        ("", 1, "not XML"),
        ("[1, 2]", 1, "not XML"),
        ("<annotation>\n<object>", 2, "not XML"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', 1, "not XML"),
        ("<annotation>" + "<x>" * 30, 1, "more than 20"),
        ("<html/>", 1, "<html>"),
        (f"<annotation>\n<object>{BOX}</object></annotation>", 2, "no <name>"),
        ("<annotation>\n<object><name>A</name></object></annotation>", 2, "'A' has no <bndbox>"),
        ("<annotation><object><name>A</name><bndbox>\n</bndbox></object></annotation>", 1, "no <xmin>"),
        (f"<annotation><object><name>A</name>\n{BOX.replace('30.5', 'x')}</object></annotation>", 2, "'x'"),
        (
            f"<annotation><object><name>A</name>\n{BOX.replace('30.5', 'nan')}</object></annotation>",
            2,
            "'nan'",
        ),
        (
            f"<annotation><object><name>A</name>\n{BOX.replace('30.5', '1')}</object></annotation>",
            2,
            "is empty",
        ),
        (f"<annotation>{SIZE.replace('60', 'w')}</annotation>", 1, "'w'"),
        (f"<annotation>{SIZE.replace('60', '1e300')}</annotation>", 1, "'1e300'"),
        *(
            (
                f"<annotation>{size}<object><name>A</name>\n{box}</object></annotation>",
                2,
                "'A' is outside the picture",
            )
            for size, box in (
                (SIZE.replace("60", "1"), BOX),
                (SIZE.replace("80", "2"), BOX),
                (SIZE, BOX.replace("<xmin>1", "<xmin>-9").replace("30.5", "0")),
                (SIZE, BOX.replace("<ymin>2", "<ymin>-9").replace("40", "-1")),
            )
        ),
    ],
)
def test_a_file_that_is_no_such_file_is_one_error_with_its_line(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    file = written(tmp_path, content)
    with raises("gmner.xml", match=f"1.xml:{line}: .*{message}"):
        read_voc(file)


def test_a_large_file_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc, "LARGEST", 100)
    with raises("gmner.xml", match="more than 100 bytes"):
        read_voc(written(tmp_path, f"<annotation>{' ' * 100}</annotation>"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.xml")
    with raises("file.unreadable"):
        read_voc(tmp_path / "1.xml")
