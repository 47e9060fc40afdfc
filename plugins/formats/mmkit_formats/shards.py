"""`formats.webdataset.v1`: WebDataset's tar files, for more images than a folder holds well."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from mmkit import Entity, Example, Image
from mmkit.data.alignment import Aligner, Misaligned, Units
from mmkit.data.json_text import parse_line
from mmkit.data.jsonl import example_from_json, to_json
from mmkit.data.problems import Place
from mmkit.data.reader import Guess
from mmkit.data.regular import open_regular
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import replacing
from mmkit_formats.drafts import Draft, FormatReader
from mmkit_formats.media import ENDINGS, Kept, content, ending_of
from mmkit_formats.messages import wrong

NOTE = "formats.webdataset"
_SHARD = re.compile(r"\d\.tar$")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class WebDatasetReader(FormatReader):
    """Reads tar files. Members with the same name up to the first dot belong together: `17.jpg`, `17.json`.

    `file` is a tar file, a folder of them, or a range of shards: `posts-{000000..000009}.tar`. `.json` is a record as
    mmkit.jsonl.v1 reads it, or `.txt` a plain sentence. Images are put into the folder `pictures` (by default, mmkit's
    cache); those of a record without `images` are its photos, in the order of their names. Other members are counted.
    """

    note = NOTE
    form = "a tar file of WebDataset"
    kinds = frozenset({"tar", ""})
    symptoms = frozenset({"formats.tar"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        pictures: str | None = None,
    ) -> None:
        super().__init__(root, file, blank_images, misaligned=misaligned, offsets=offsets)
        self.pictures = pictures

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A tar file, or a folder of nothing but shards (`posts-000000.tar`, ...)."""
        if head:
            return Guess("a tar file of WebDataset") if head[257:262] == b"ustar" else None
        inside = [file for file in path.iterdir() if not file.name.startswith(".")]
        shards = [file for file in inside if _SHARD.search(file.name)]
        return Guess("tar files of WebDataset") if shards and shards == inside else None

    def files(self) -> list[Path]:
        if found := _RANGE.search(self.file):
            first, last = found.groups()
            numbers = (str(n).zfill(len(first)) for n in range(int(first), int(last) + 1))
            return [Path(self.root) / _RANGE.sub(n, self.file, count=1) for n in numbers]
        if not self.path.is_dir():
            return [self.path]
        shards = sorted(self.path.glob("*.tar*"))
        if not shards:
            raise wrong(
                "there is no tar file in this folder",
                self.path,
                "name a tar file, or a folder that has some",
                code="formats.no-files",
            )
        return shards

    def drafts(self) -> Iterator[Draft]:
        """Nothing: records are read whole, by `__iter__`."""
        yield from ()

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        aligner = Aligner(self.misaligned, self.offsets, self.repairs)
        kept = Kept(self.pictures)
        seen: set[str] = set()
        for shard in self.files():
            for key, members in self._samples(shard):
                where = f"{shard}, sample {key}"
                try:
                    example = self._example(key, members, where, aligner, kept)
                except DataError as error:
                    self.refuse(error)
                    continue
                if example.id in seen:
                    what = f"the id {example.id!r} occurs twice"
                    self.refuse(DataError(what, where=where, code="data.duplicate-id"))
                    continue
                seen.add(example.id)
                self.place = Place(where)
                yield example

    def _samples(self, shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
        """(key, ending → content) of neighbouring members with one key."""
        key, members = "", dict[str, bytes]()
        try:
            with open_regular(shard) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    folder, slash, name = member.name.rpartition("/")
                    stem, _, ending = name.partition(".")
                    if folder + slash + stem != key:
                        if members:
                            yield key, members
                        key, members = folder + slash + stem, {}
                    if ending in members:
                        raise wrong(
                            f"{member.name} occurs twice", shard, "write the shard again", code="formats.tar"
                        )
                    content = tar.extractfile(member)
                    members[ending] = content.read() if content is not None else b""
                _check_end(tar)
        except FileNotFoundError:
            raise DataError("no such data file", where=shard, code="file.missing") from None
        except (tarfile.TarError, EOFError, OSError) as error:
            raise wrong(
                f"this tar file cannot be read: {error}",
                shard,
                "write the shard again",
                code="formats.tar",
            ) from None
        if members:
            yield key, members
        elif not key:
            self.repairs["tar file without members"] += 1

    def _example(
        self, key: str, members: dict[str, bytes], where: str, aligner: Aligner, kept: Kept
    ) -> Example:
        pictures = {n: data for n, data in members.items() if f".{n}".lower().endswith(ENDINGS)}
        if "json" in members:
            record = parse_line(_text(members["json"], where), where)
        elif "txt" in members:
            record = {"text": _text(members["txt"], where)}
        else:
            raise wrong(
                "this sample has no .json and no .txt",
                where,
                "each sample needs a sentence",
                code="formats.no-text",
            )
        for name in members.keys() - pictures.keys() - {"json", "txt"}:
            self.repairs[f"member .{name} that is not read"] += 1
        example = example_from_json(record, where, id=key, aligner=aligner)
        if not example.tokens:
            raise DataError("an empty sentence", where=where, code="data.empty-sentence")
        named = {f"{key}.{name}": data for name, data in pictures.items()}
        images = example.images or tuple(Image(name) for name in named)
        found = []
        for image in images:
            if image.path is not None and image.path not in named and not self.blank_images:
                raise wrong(
                    f"the sample has no member {image.path}",
                    where,
                    "write the shard again",
                    code="formats.no-picture",
                )
            path = None if self.blank_images or image.path is None else kept.path(named[image.path], where)
            found.append(replace(image, path=path, box=None if self.blank_images else image.box))
        if unused := named.keys() - {image.path for image in images}:
            self.repairs["image that the record does not name"] += len(unused)
        return replace(example, images=tuple(found))


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise `ReadError` if a tar file that was read to its end has no mark there, or something behind the mark.

    `tarfile` takes both for a whole file, and members that were cut off, or joined to it, would be lost.
    """
    stream: Any = tar.fileobj
    if stream.tell() <= tar.offset:  # no block of zeros was read
        raise tarfile.ReadError("it has no mark of its end, so members may have been cut off")
    while block := stream.read(1 << 16):
        if block.strip(b"\0"):
            raise tarfile.ReadError("there are more members behind its end; were tar files joined with cat?")


class WebDatasetWriter(Writer):
    """Writes tar files of samples: each record as `.json`, beside its images as `.jpg`, `.1.jpg` and so on.

    With `samples` (how many a shard holds), the name needs a place for the shard's number: `posts-%06d.tar`. The image
    files must exist: they are copied without change.
    """

    ending = ".tar"
    copies_images = True

    def __init__(self, samples: int | None = None) -> None:
        super().__init__()
        if samples is not None and samples < 1:
            raise ValueError(f"samples is 1 or more, not {samples}")
        self.samples = samples

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        remaining = only_examples(records, path)
        if self.samples is None:
            self._write_shard(path, remaining, 0)
            return
        if not re.search(r"%0?\d*d", path.name):
            raise wrong(
                "with several shards, the name needs a place for the shard's number",
                path,
                "for example, posts-%06d.tar",
                code="formats.shards",
            )
        shard = count = 0
        while batch := list(islice(remaining, self.samples)):
            self._write_shard(path.with_name(path.name % shard), batch, count)
            shard, count = shard + 1, count + len(batch)

    def _write_shard(self, path: Path, examples: Iterable[Example], count: int) -> None:
        with (
            replacing(path, DataError) as temporary,
            tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for number, example in enumerate(examples, count):
                self._add(tar, example, f"{number:09d}", str(path.parent))

    def _add(self, tar: tarfile.TarFile, example: Example, key: str, folder: str) -> None:
        names: dict[str, str] = {}
        images = []
        for image in example.images:
            if image.path is None:
                images.append(image)
                continue
            if image.path not in names:
                data = content(image, folder, example.id)
                ending = ending_of(data) or Path(image.path).suffix.lower() or ".jpg"
                names[image.path] = f"{key}{f'.{len(names)}' if names else ''}{ending}"
                _member(tar, names[image.path], data)
            images.append(replace(image, path=names[image.path]))
        if example.media:
            self.losses["file that is not an image"] += len(example.media)
        record = to_json(replace(example, images=tuple(images), media=()))
        _member(tar, f"{key}.json", json.dumps(record, ensure_ascii=False).encode())


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(data)
    tar.addfile(about, io.BytesIO(data))


def _text(data: bytes, where: Any) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error}", where=where, code="file.not-utf8") from None
