"""Text files in other encodings are named, with a command that converts them without loss."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.errors import DataError

CASES = Path(__file__).parents[3] / "shared" / "cases" / "E1-encodings"

TEXTS = {
    "utf-16": ("“Mara” visits Lisbon", "UTF-16"),
    "utf-16-le": ("“Mara” visits Lisbon", "UTF-16LE"),
    "utf-16-be": ("“Mara” visits Lisbon", "UTF-16BE"),
    "cp1252": ("“Café” – naïve £5…", "CP1252"),
    "latin_1": ("José está aquí", "CP1252"),
    "cp1251": ("Привет мир", "CP1251"),
    "gbk": ("我爱北京天安门，今天天气很好", "GB18030"),
    "shift_jis": ("東京タワーに行きました", "CP932"),
    "euc_kr": ("서울에서 만나요 안녕하세요", "CP949"),
    "euc_jp": ("東京タワーに行きました", "EUC-JP"),
    "big5": ("台北市政府的網站", "BIG5"),
}


def conll(text: str) -> str:
    return "".join(f"{word}\tO\n" for word in text.split()) + "plain\tO\n" * 50


@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
@pytest.mark.parametrize("codec", TEXTS)
def test_the_command_in_the_hint_converts_without_loss(tmp_path: Path, codec: str) -> None:
    text, name = TEXTS[codec]
    (tmp_path / "my train.txt").write_bytes(conll(text).encode(codec))
    with pytest.raises(DataError) as caught:
        list(ConllImagesReader(str(tmp_path), "my train.txt", images=None))
    assert f"it looks like {name}" in caught.value.hint
    command = re.search(r"`(iconv [^`]+)`", caught.value.hint)
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)
    (example,) = ConllImagesReader(str(tmp_path), "my train.utf8.txt", images=None)
    assert " ".join(example.tokens).startswith(text)


def test_other_readings_are_shown_where_several_fit(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("Привет\tO\n".encode("koi8_r"))
    with pytest.raises(DataError) as caught:
        list(ConllImagesReader(str(tmp_path), "x.txt", images=None))
    assert "KOI8-R ('Привет')" in caught.value.hint


def test_bytes_of_no_encoding_are_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(bytes(range(128, 256)) * 20)
    with pytest.raises(DataError) as caught:
        list(ConllImagesReader(str(tmp_path), "x.txt", images=None))
    assert "UTF-8" in caught.value.hint


@pytest.mark.real_data
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the project")
@pytest.mark.parametrize(
    ("name", "encoding"),
    [("utf16le", "UTF-16"), ("utf16be", "UTF-16"), ("cp1252", "CP1252"), ("gbk", "GB18030")],
)
def test_the_cases_of_encodings(name: str, encoding: str) -> None:
    with pytest.raises(DataError) as caught:
        list(ConllImagesReader(str(CASES), f"{name}.txt", images=None))
    assert f"it looks like {encoding}" in caught.value.hint


def test_a_file_that_is_utf_8_for_the_most_part_is_not_converted_as_a_whole(tmp_path: Path) -> None:
    lines = ["Zoë\tO", "plain\tO", "東京\tO", "Café\tO"]
    content = [line.encode() for line in lines] + [
        "José\tO".encode("cp1252"),
        b"in\tO",
        "été\tO".encode("cp1252"),
    ]
    (tmp_path / "x.txt").write_bytes(b"\n".join([*content, b""]))
    with pytest.raises(DataError) as caught:
        list(ConllImagesReader(str(tmp_path), "x.txt", images=None))
    assert "2 lines are not (number 5, 7), which look like CP1252 ('José')" in caught.value.hint
    assert "iconv" not in caught.value.hint
