"""`check_reader`: a reader's sample, laziness, restarts, errors and repairs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit import registry
from mmkit.data.reader import Guess, Reader
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError, PartError
from mmkit.testing.checked import Checked

SEED = 3
HEAD = 65536


def check_reader(
    reader: str | type[Reader],
    settings: Mapping[str, Any] | None = None,
    *,
    folder: Path,
    broken: Sequence[str] = (),
    repaired: Sequence[str] = (),
    lazy: bool = True,
) -> None:
    """Check a reader, given by its class or registered name, on its own sample, which is written into `folder`.

    - The sample can be read, its ids occur once, and it is always the same, wherever it is written.
    - Each iteration starts from the beginning, also during another one, and counts the same `repairs`.
    - The constructor reads no file. A missing file is a `DataError` that names it.
    - It is lazy: it yields records although the file's last line is damaged. That line is an error that names file
      and line, or is counted. Only checked if `lazy`; a file that is one JSON value cannot be read lazily.
    - `blank_images` leaves no image.
    - `files` exist.
    - `recognize` raises nothing for a folder and for files of any content, and the settings of its guess read the file.
    - Each text of `broken`, as the file's content, is a `DataError` that names the file, and the line if `lazy`.
    - Each text of `repaired` is read, and `repairs` says what was done.

    `settings` go to the constructor together with those of the sample. Raises `AssertionError`.
    """
    cls: type[Reader] = registry.get("readers", reader) if isinstance(reader, str) else reader
    checked = Checked(reader if isinstance(reader, str) else cls.__name__)
    kept = dict(settings or {})

    def built(**changed: Any) -> Reader:
        arguments = {**kept, **changed}
        if not isinstance(reader, str):
            return cls(**arguments)
        made: Reader = registry.build_part("readers", reader, arguments)
        return made

    splits = cls.sample(folder / "sample", SEED)
    again = cls.sample(folder / "sample again", SEED)
    checked.must(splits, "sample", "it has no split")
    for split, arguments in splits.items():
        records = _records(checked, built(**arguments), split)
        other = [repr(record).replace("sample again", "sample") for record in built(**again[split])]
        checked.must(
            [repr(r) for r in records] == other, "sample", f"{split} is another one when written again"
        )
        if split == next(iter(splits)):
            _restarts(checked, built(**arguments), records, split)
        _blank(checked, built, arguments, split)
        for file in built(**arguments).files():
            checked.must(Path(file).exists(), "files", f"{file} does not exist")
    arguments = next(iter(splits.values()))
    _recognizes(checked, cls, built, arguments)
    _missing(checked, built, {**arguments, "root": str(folder / "nowhere")})
    scratch = folder / "scratch"
    root, file = Path(arguments["root"]), arguments["file"]
    for number, text in enumerate([*broken, *repaired]):
        changed = _copy(root, scratch / str(number), file)
        (changed / file).write_bytes(text.encode())
        made = built(**{**arguments, "root": str(changed)})
        if number < len(broken):
            _refuses(checked, made, "errors", file, lazy)
        else:
            _repairs(checked, made)
    if lazy:
        _lazy(checked, built, arguments, _copy(root, scratch / "damaged", file))


def _records(checked: Checked, reader: Reader, split: str) -> list[Example | Entity]:
    records: list[Example | Entity] = list(reader)
    checked.must(records, "sample", f"{split} has no record")
    kinds = {type(record).__name__ for record in records} - {"Example", "Entity"}
    checked.must(not kinds, "records", f"they are {', '.join(sorted(kinds))}, not examples or entities")
    ids = [record.id for record in records]
    twice = sorted({i for i in ids if ids.count(i) > 1})[:1]
    checked.must(not twice, "ids", f"{twice} occurs more than once in {split}")
    return records


def _restarts(checked: Checked, reader: Reader, records: Sequence[Any], split: str) -> None:
    begun = iter(reader)
    next(begun)
    for turn in ("during another iteration", "a second time"):
        found = list(reader)
        at = f"{split} gives {len(found)} records {turn}, and gave {len(records)}"
        checked.must(len(found) == len(records), "restarts", at)
        checked.must(found == records, "restarts", f"{split} gives other records {turn}")


def _blank(checked: Checked, built: Any, arguments: Mapping[str, Any], split: str) -> None:
    try:
        reader = built(**{**arguments, "blank_images": True})
    except (PartError, TypeError):
        return  # it reads no images
    shown = [image.path for record in reader for image in record.images if image.path is not None]
    checked.must(not shown, "blank_images", f"{split} still has {shown[:1]}")


def _missing(checked: Checked, built: Any, arguments: Mapping[str, Any]) -> None:
    try:
        made = built(**arguments)
    except (DataError, OSError) as error:
        checked.fail("constructor", f"it looks at the disk ({error})")
    try:
        list(made)
    except DataError as error:
        named = arguments["root"] in str(error)
        checked.must(named, "missing file", f"the error does not name it: {error}")
    except Exception as error:
        checked.fail("missing file", f"it raises {type(error).__name__}, not DataError")
    else:
        checked.fail("missing file", "it is no error")


def _recognizes(checked: Checked, cls: type[Reader], built: Any, arguments: Mapping[str, Any]) -> None:
    path = Path(arguments["root"]) / arguments["file"]
    head = path.read_bytes()[:HEAD] if path.is_file() else b""
    for place, start in ((path, head), (path, b"\x00\xff\x80"), (path, b" "), (path.parent, b"")):
        try:
            guess = cls.recognize(place, start)
        except Exception as error:
            checked.fail(
                "recognize", f"it raises {type(error).__name__} ({error}) for {place} and {start[:10]!r}"
            )
        if guess is None or start is not head:
            continue
        checked.must(isinstance(guess, Guess), "recognize", f"it returns {guess!r}, not a Guess or None")
        first = next(iter(guess.splits.values()), {})
        try:
            next(iter(built(**{**arguments, **guess.settings, **first})))
        except Exception as error:
            checked.fail("recognize", f"its settings {dict(guess.settings)} do not read the file: {error}")


def _refuses(checked: Checked, reader: Reader, check: str, file: str, numbered: bool) -> None:
    try:
        list(reader)
    except DataError as error:
        name = f"{Path(file).name}:" if numbered else Path(file).name
        checked.must(name in str(error), check, f"the error does not name file and line: {error}")
    except Exception as error:
        checked.fail(check, f"a broken file raises {type(error).__name__} ({error}), not DataError")
    else:
        checked.fail(check, "a broken file is read without an error")


def _repairs(checked: Checked, reader: Reader) -> None:
    list(reader)
    first = dict(reader.repairs)
    checked.must(first, "repairs", "it does not count what it repairs")
    list(reader)
    at = f"they are {first} and, of the same file again, {dict(reader.repairs)}"
    checked.must(first == dict(reader.repairs), "repairs", at)


def _lazy(checked: Checked, built: Any, arguments: Mapping[str, Any], root: Path) -> None:
    path = root / arguments["file"]
    text = path.read_bytes()
    path.write_bytes(text + (b"" if text.endswith(b"\n") else b"\n") + b"\xff\xfe\n")
    reader = built(**{**arguments, "root": str(root)})
    try:
        next(iter(reader))
    except Exception as error:
        checked.fail("lazy", f"no record comes before the file's last line is read ({error})")
    try:
        list(reader)
    except DataError as error:
        named = f"{path.name}:" in str(error)
        checked.must(named, "errors", f"the error does not name file and line: {error}")
    except Exception as error:
        checked.fail("errors", f"bytes that are not UTF-8 raise {type(error).__name__}, not DataError")
    else:
        checked.must(reader.repairs, "repairs", "bytes that are not UTF-8 are neither an error nor counted")


def _copy(root: Path, target: Path, changed: str) -> Path:
    """The sample's folder again, with a `changed` file of its own; the others, mostly images, are the same files."""
    shutil.copytree(root, target, copy_function=os.link)
    (target / changed).unlink()
    shutil.copyfile(root / changed, target / changed)
    return target
