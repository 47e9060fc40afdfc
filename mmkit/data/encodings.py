"""The encoding of a text file that is not UTF-8, and the command that converts it without loss."""

from __future__ import annotations

import codecs
import re
import shlex
from pathlib import Path

from mmkit.data.regular import open_regular

READ = 1 << 20
"""Number of bytes that are read."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)

_CODECS = {
    "gb18030": "GB18030",
    "cp932": "CP932",
    "cp949": "CP949",
    "euc_jp": "EUC-JP",
    "big5": "BIG5",
    "cp1251": "CP1251",
    "koi8_r": "KOI8-R",
    "cp1250": "CP1250",
    "cp1253": "CP1253",
    "cp1254": "CP1254",
    "cp1255": "CP1255",
    "cp1256": "CP1256",
    "cp1252": "CP1252",
}
"""Python's names of common encodings → iconv's. If two fit equally well, the earlier one is named first."""

LATIN = ("cp1250", "cp1252", "cp1254")

JAPANESE = "euc_jp"
"""Fits whatever GB2312 fits, so it is named only for what is Japanese."""

_HIGH = re.compile(rb"[\x80-\xff]+")


def guesses(path: Path) -> list[tuple[str, str]]:
    """(encoding by its name in iconv, how it reads the first line that tells), the likeliest first.

    Empty if nothing fits or the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            head = file.read(READ)
    except OSError:
        return []
    for mark, name in _MARKS:
        if head.startswith(mark):
            return [(name, "")]
    if wide := _utf_16(head):
        return [(wide, "")]
    # where most is ASCII, the few other bytes decide
    telling = b"\n".join([line for line in head.splitlines() if not line.isascii()][:2000])
    return _by_content(telling)


def advice(path: Path) -> str:
    """What to do about a file that is not UTF-8."""
    if mixed := _mixed(path):
        return mixed
    found = guesses(path)
    if not found:
        return "save the file as UTF-8; its own encoding could not be recognised"
    name, reading = found[0]
    old, new = (shlex.quote(str(p)) for p in (path, path.with_name(f"{path.stem}.utf8{path.suffix}")))
    said = f"it looks like {name}" + (f" ({reading!r})" if reading else "")
    others = [f"{other} ({as_other!r})" for other, as_other in found[1:3]]
    said += f", or {' or '.join(others)}" if others else ""
    return f"{said}; convert it with `iconv -f {name} -t UTF-8 {old} > {new}`, and look at the result"


def _mixed(path: Path) -> str:
    """What to do about a file that is UTF-8 for the most part; empty for others."""
    try:
        with open_regular(path) as file:
            lines = file.read(READ).split(b"\n")[:-1]
    except OSError:
        return ""
    telling = [(number, line) for number, line in enumerate(lines, 1) if not line.isascii()]
    others = [(number, line) for number, line in telling if not _is_utf_8(line)]
    if not others or 2 * len(others) >= len(telling):
        return ""
    found = _by_content(b"\n".join(line for _, line in others))
    like = f", which look like {found[0][0]} ({found[0][1]!r})" if found else ""
    numbers = ", ".join(str(number) for number, _ in others[:5]) + (" ..." if len(others) > 5 else "")
    told = "line is" if len(others) == 1 else "lines are"
    like = like.replace("look", "looks") if len(others) == 1 else like
    return (
        f"most of the file is UTF-8, but {len(others):,} {told} not (number {numbers}){like}: write them again as "
        "UTF-8; to convert the whole file would damage the others"
    )


def _is_utf_8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _utf_16(head: bytes) -> str:
    """UTF-16 without a mark: every other byte of plain English is zero."""
    even, odd = head[0::2], head[1::2]
    if len(head) < 8:
        return ""
    if odd.count(0) > 0.3 * len(odd) and not even.count(0):
        return "UTF-16LE"
    if even.count(0) > 0.3 * len(even) and not odd.count(0):
        return "UTF-16BE"
    return ""


def _is_japanese(telling: bytes) -> bool:
    """Whether EUC-JP reads many hiragana, which have the same codes in GB2312, where they are rare."""
    text = telling.decode("euc_jp", "replace")
    return 10 * sum("\u3041" <= c <= "\u3096" for c in text) > sum(not c.isascii() for c in text)


def _by_content(telling: bytes) -> list[tuple[str, str]]:
    from charset_normalizer import from_bytes  # takes a while to import, and is needed for a message only

    runs = [len(run) for run in _HIGH.findall(telling)]
    if runs and runs.count(1) > 0.7 * len(runs):  # lone accents and quotation marks between plain letters
        order = ["cp1252"]
    else:
        words = [word for word in telling.split() if _HIGH.search(word)]
        whole = sum(_HIGH.fullmatch(word.strip(b".,;:!?()-")) is not None for word in words)
        latin = whole < 0.7 * len(words)  # words wholly of such bytes are of another script
        codecs_ = [codec for codec in _CODECS if (latin or codec not in LATIN) and codec != JAPANESE]
        matches = from_bytes(telling, cp_isolation=codecs_)
        rank = {codec: i for i, codec in enumerate(_CODECS)}
        fitting = [
            (m.chaos, -m.coherence, rank[m.encoding], m.encoding) for m in matches if m.encoding in rank
        ]
        order = [codec for *_, codec in sorted(fitting)] or codecs_
        if order[0] == "gb18030" and _is_japanese(telling):
            order.insert(0, JAPANESE)
    found: dict[str, str] = {}
    for codec in order:
        try:
            reading = telling.decode(codec).splitlines()[0].partition("\t")[0][:20]
        except (UnicodeDecodeError, IndexError):
            continue
        if reading.isprintable() and reading not in found.values():
            found[_CODECS[codec]] = reading
    return list(found.items())
