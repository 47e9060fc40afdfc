"""An index folder as a whole: its facts, the settings with which it was started, and its lock."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmkit.errors import DataError
from mmkit.files import explained, read_json, write_json
from mmkit.files.temporary import is_temporary, remove_leftovers
from mmkit_retrieval.indexing.ledger import Ledger
from mmkit_retrieval.pictures import vectors
from mmkit_retrieval.text import text_files

FORMAT = 1
INDEX, LEDGER, LOCK, TEXT, IMAGES = "index.json", "articles.db", ".lock", "text", "images"
AGAIN = "run the same command again: it continues where it stopped"
"""The hint of errors after which a build can be continued."""


def read_facts(out: Path) -> dict[str, Any]:
    """The content of `index.json`. Raises `DataError` if there is no index, or it is unfinished, damaged or newer."""
    try:
        facts: dict[str, Any] = read_json(out / INDEX)
        version = facts["format"]
    except FileNotFoundError:
        if (out / LEDGER).exists():
            raise DataError(
                "the index is unfinished", where=out, hint=AGAIN, code="retrieval.index-unfinished"
            ) from None
        hint = "build one with `mmkit retrieval build-index`, or correct the path in the recipe (of a run: recipe.cfg)"
        raise DataError("there is no index here", where=out, hint=hint, code="retrieval.no-index") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the index is damaged: {error}",
            where=out / INDEX,
            hint="build it again",
            code="retrieval.index-damaged",
        ) from error
    if version != FORMAT:
        raise _newer(out, version)
    if not all(isinstance(facts.get(key), dict) for key in ("counts", "settings")):
        raise DataError(
            "the index is damaged: the file does not say what the index contains",
            where=out / INDEX,
            hint="build it again",
            code="retrieval.index-damaged",
        )
    return facts


def write_facts(out: Path, facts: Mapping[str, Any]) -> None:
    """Write `index.json`, which says that the index is finished."""
    write_json(out / INDEX, {"format": FORMAT, **facts})


def check_folder(out: Path) -> None:
    """Create the folder. Raises `DataError` if it contains anything that is not an index."""
    with explained(out, DataError):
        out.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in out.iterdir() if not is_temporary(path)} - {LOCK}
    if names and LEDGER not in names:
        hint = "give a new folder, or one that contains an index"
        raise DataError(
            "the folder is not empty, and contains no index",
            where=out,
            hint=hint,
            code="retrieval.folder-taken",
        )


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Lock the folder for one build, and remove temporary files of builds that were killed.

    Raises `DataError` if another build is running in it.
    """
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        hint = "wait for it to end, or build into another folder"
        raise DataError(
            "another build is running in this folder", where=out, hint=hint, code="retrieval.locked"
        ) from None
    try:
        remove_leftovers(out.iterdir())
        yield
    finally:
        lock.release()


def settle(ledger: Ledger, settings: Mapping[str, Any], out: Path) -> None:
    """Note the settings of a new index, or compare them with those of an existing one.

    The image index compares its CLIP model itself. As long as no article is completely indexed, settings may change: if
    a first build failed, because a CLIP model was missing for example, the next may use others.

    Raises `DataError` if the index has another format or other parts, and if the folder of a part is missing. Articles
    that are listed as indexed are never added again, so such a part would stay empty.
    """
    version, made = ledger.fact("format"), ledger.fact("settings")
    if made is not None and version != FORMAT:
        raise _newer(out, version)
    if made is not None and len(ledger):
        for part, is_there in ((TEXT, text_files.is_index), (IMAGES, vectors.is_index)):
            if made[part] and settings[part] and not is_there(out / part):
                what = f"the folder {part}/ of the index is missing, but {LEDGER} lists articles in it"
                raise DataError(
                    what,
                    where=out,
                    hint="delete the whole index folder, and build it again",
                    code="retrieval.index-incomplete",
                )
    if made is None or not ledger.holds_any():
        for part in (TEXT, IMAGES):
            if not settings[part] and (out / part).is_dir():
                shutil.rmtree(out / part)
        ledger.note("format", FORMAT)
        ledger.note("settings", settings)
        ledger.commit()
        return
    for part in (TEXT, IMAGES):
        if made[part] != settings[part]:
            has, wanted = ("with" if value else "without" for value in (made[part], settings[part]))
            raise DataError(
                f"the index was started {has} {part}, but this command would continue it {wanted} {part}",
                where=out,
                hint=f"build into another folder, or {'leave out' if made[part] else 'give'} --no-{part}",
                code="retrieval.other-settings",
            )


def _newer(out: Path, version: object) -> DataError:
    what = f"the index has format {version}, and this version reads {FORMAT}"
    return DataError(
        what,
        where=out,
        hint="update mmkit-retrieval, or build the index again",
        code="retrieval.index-format",
    )
