"""What is to be done: the job, its files, and the parts into which long files of jsonlines are cut."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmkit.data.regular import open_regular
from mmkit.encoders.items import MissingPolicy
from mmkit.errors import DataError, RunError
from mmkit.files import crc32_of, read_json, write_json
from mmkit.inference.shards.inputs import JSONLINES, WORK, Input
from mmkit.runs.folder import Run
from mmkit.runs.integrity import run_files
from mmkit.terminal.notes import capped, few

FORMAT = 1
PART = 1 << 17
"""Bytes of jsonlines that are predicted together: what is done again, at most, by each process that was killed."""


@dataclass(frozen=True)
class Job:
    """What every process has to know."""

    run: str
    output: str
    device: str = "auto"
    entities: str | None = None
    missing_images: MissingPolicy = "error"
    batch_size: int | None = None
    format: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    allow_network: bool = False
    search: str | Mapping[str, Any] | None = None

    @property
    def work(self) -> Path:
        """The folder with what is needed to go on."""
        return Path(self.output) / WORK

    @property
    def manifest(self) -> Path:
        """The file that says what the output folder was begun with."""
        return self.work / "plan.json"

    def decides(self) -> dict[str, Any]:
        """What the predictions depend on, by the names that a message gives it."""
        folder = Path(self.run)
        digest = 0
        for name in run_files(folder):
            digest = zlib.crc32(f"{name} {crc32_of(folder / name)}".encode(), digest)
        return {
            "the run": f"{Run(folder).recipe().name} {digest:08x}",
            "--entities": None if self.entities is None else _checksum(Path(self.entities)),
            "--search": self.search,
            "--missing-images": self.missing_images,
            "--batch-size": self.batch_size,
            "--format": self.format,
            "--setting": dict(self.settings),
        }


@dataclass(frozen=True)
class Part:
    """Bytes [start, end) of a file of jsonlines; the first of its `lines` lines has the number `line`."""

    start: int
    end: int
    line: int
    lines: int


@dataclass(frozen=True)
class Shard:
    """A file of input. `parts` is None where the reader reads the file from its beginning to its end."""

    number: int
    path: str
    size: int
    modified: int
    crc32: int
    output: str
    reader: str
    settings: Mapping[str, Any]
    parts: tuple[Part, ...] | None = None

    def check_unchanged(self) -> None:
        """Raise `RunError` if the file has changed since it was looked at."""
        try:
            now = Path(self.path).stat()
        except OSError:
            raise _changed([f"{self.path} is missing"]) from None
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified):
            raise _changed([f"{self.path} has changed"])


def part_file(job: Job, shard: int, part: int, kind: str) -> Path:
    """A file of a part: its predictions (`jsonl`), its broken records (`errors`), or what is counted (`json`).

    The last is written last: with it, the part is done.
    """
    return job.work / "parts" / f"{shard:06d}" / f"{part:06d}.{kind}"


def done_file(job: Job, shard: int) -> Path:
    """The file that says that a shard is finished, and what is counted of it."""
    return job.work / "done" / f"{shard:06d}.json"


def failed_file(job: Job, shard: int) -> Path:
    """An empty file that says that a shard could not be read to its end: it may be corrected."""
    return job.work / "failed" / f"{shard:06d}"


def errors_file(job: Job, shard: int) -> Path:
    """The broken records of a finished shard."""
    return job.work / "errors" / f"{shard:06d}.jsonl"


def planned(job: Job, inputs: Sequence[Input]) -> list[Shard]:
    """The shards of a job: those of its manifest if there is one, else new ones, whose manifest is written.

    Raises `RunError` if the manifest is of another job or of other files, and says what differs. Raises `DataError` for
    a file that cannot be read.
    """
    decides = job.decides()
    if job.manifest.is_file():
        shards = _resumed(job, job.manifest, decides, inputs)
    else:
        shards = [_shard(number, one) for number, one in enumerate(inputs)]
    write_json(
        job.manifest, {"format": FORMAT, "decides": decides, "shards": [asdict(shard) for shard in shards]}
    )
    return shards


def check_folder(job: Job) -> None:
    """Raise `RunError` if the output folder holds files, and no earlier prediction of files has begun it.

    Hidden files do not count, nor does what the system keeps in the folder of a whole disk.
    """
    folder = Path(job.output)
    if job.manifest.is_file():
        return
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    others = [name for name in names if not name.startswith(".") and name != "lost+found"]
    if others:
        raise RunError(
            f"the folder holds other files, and no earlier prediction of files has begun it: {few(others)}",
            where=folder,
            hint="name a new or empty --output folder, so that predictions are not mixed with your files",
            code="predict.exists",
        )


def _resumed(job: Job, manifest: Path, decides: Mapping[str, Any], inputs: Sequence[Input]) -> list[Shard]:
    try:
        content = read_json(manifest)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, not {FORMAT}")
        before: dict[str, Any] = content["decides"]
        known = [_shard_of(one) for one in content["shards"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(
            f"what was done so far cannot be read: {error}",
            where=manifest,
            hint="name a new --output folder",
            code="predict.manifest",
        ) from error
    differs = [
        f"{name} was {_said(before.get(name))} and is now {_said(now)}"
        for name, now in decides.items()
        if before.get(name) != now
    ]
    by_path = {shard.path: shard for shard in known}
    differs += [f"{path} is missing" for path in by_path.keys() - {str(one.path) for one in inputs}]
    same = []
    for one in inputs:
        shard = by_path.get(str(one.path))
        if shard is None:
            differs.append(f"{one.path} is new")
        elif (shard.reader, dict(shard.settings), shard.output) != (one.reader, one.settings, one.output):
            how = f" with {dict(shard.settings)}" if dict(shard.settings) != one.settings else ""
            differs.append(f"{one.path} was read by {shard.reader}{how} and written to {shard.output}")
        elif (now := _same_content(shard)) is not None:
            same.append(now)
        elif failed_file(job, shard.number).exists():  # it could not be read, and was corrected
            shutil.rmtree(part_file(job, shard.number, 0, "json").parent, ignore_errors=True)
            same.append(_shard(shard.number, one))
        else:
            differs.append(f"{one.path} has changed")
    if differs:
        raise _changed(sorted(differs), manifest.parent.parent)
    return same


def _same_content(shard: Shard) -> Shard | None:
    """The shard with the file's present time; None if its content has changed."""
    now = Path(shard.path).stat()
    if now.st_size == shard.size and now.st_mtime_ns == shard.modified:
        return shard
    if now.st_size != shard.size or crc32_of(Path(shard.path)) != shard.crc32:
        return None
    return replace(shard, modified=now.st_mtime_ns)


def _shard_of(content: Mapping[str, Any]) -> Shard:
    parts = content["parts"]
    return Shard(**{**content, "parts": None if parts is None else tuple(Part(**part) for part in parts)})


def _shard(number: int, one: Input) -> Shard:
    """A file, read once: its checksum, and where it is cut."""
    try:
        before = one.path.stat()
        if one.reader == JSONLINES:
            crc32, parts = _cut(one.path)
        else:
            crc32, parts = crc32_of(one.path), None
    except OSError as error:
        raise DataError(
            f"the data file cannot be read: {error.strerror or error}", where=one.path, code="file.unreadable"
        ) from error
    return Shard(
        number,
        str(one.path),
        before.st_size,
        before.st_mtime_ns,
        crc32,
        one.output,
        one.reader,
        one.settings,
        parts,
    )


def _checksum(path: Path) -> str:
    try:
        return f"{crc32_of(path):08x}"
    except OSError as error:
        raise DataError(
            f"the data file cannot be read: {error.strerror or error}", where=path, code="file.unreadable"
        ) from error


def _cut(path: Path) -> tuple[int, tuple[Part, ...]]:
    """A file's checksum, and its parts, which end at line ends. The number of processes does not matter."""
    crc32, parts, at, line = 0, list[Part](), 0, 1
    for block, lines in _blocks(path):
        crc32 = zlib.crc32(block, crc32)
        parts.append(Part(at, at + len(block), line, lines))
        at, line = at + len(block), line + lines
    return crc32, tuple(parts)


def _blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """A file in blocks of about `PART` bytes that end at line ends, and the number of lines in each."""
    with open_regular(path) as file:
        while block := file.read(PART):
            block += file.readline() if not block.endswith(b"\n") else b""
            yield block, block.count(b"\n") + (not block.endswith(b"\n"))


def _changed(what: Sequence[str], where: Path | str = "") -> RunError:
    return RunError(
        "this is not what the folder was begun with: " + "; ".join(capped(what)),
        where=where,
        hint="go on with the command and the files as they were, or name a new --output folder",
        code="predict.changed",
    )


def _said(value: Any) -> str:
    return "not given" if value in (None, {}) else str(value)
