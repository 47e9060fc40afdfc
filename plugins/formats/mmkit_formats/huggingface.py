"""`formats.datasets.v1`: Hugging Face datasets, on disk (`save_to_disk`, parquet) or by their name on the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmkit import Entity, Example
from mmkit.data.alignment import Misaligned, Units
from mmkit.data.json_text import read_json
from mmkit.data.reader import Guess
from mmkit.data.regular import open_regular
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import replacing
from mmkit_formats.columns import Rows, tags_of
from mmkit_formats.csv_table import named
from mmkit_formats.drafts import CHOICES, Draft, count_rest, note_of
from mmkit_formats.media import content, plain_photos
from mmkit_formats.messages import wrong
from mmkit_formats.parquet import ParquetReader, features_of, rows_of, tag_names

NOTE = "formats.datasets"
_SHARDS = re.compile(r"(\w+?)-\d+-of-\d+\.parquet")


class DatasetsReader(ParquetReader):
    """Reads a dataset of Hugging Face's library: a folder of `save_to_disk`, parquet files, or a name on the Hub.

    `file` is the folder or file under `root` or, with `hub = true`, a dataset's name there, which the package
    `datasets` loads (with its `config`, if it has several). `split` names one of several splits. A `ClassLabel` is read
    by its names: in `ner_tags` they are tags, in other columns (sentiment, say) the note `formats.choices`. `columns`,
    `tag_names` and `pictures` are as for `formats.parquet.v1`. Other columns are kept in the note `formats.datasets`.
    """

    note = NOTE
    form = "a folder of `save_to_disk`, or a parquet file"

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        columns: dict[str, str] | None = None,
        tag_names: list[str] | None = None,
        pictures: str | None = None,
        split: str | None = None,
        hub: bool = False,
        config: str | None = None,
    ) -> None:
        super().__init__(
            root,
            file,
            blank_images,
            misaligned=misaligned,
            offsets=offsets,
            columns=columns,
            tag_names=tag_names,
            pictures=pictures,
        )
        self.split, self.hub, self.config = split, hub, config

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A folder of `save_to_disk`, or of parquet files whose names begin with their split."""
        if head:
            return None
        try:
            if (path / "dataset_dict.json").is_file():
                splits = [str(name) for name in read_json(path / "dataset_dict.json").get("splits", [])]
                return Guess("a dataset of Hugging Face", splits={name: {"split": name} for name in splits})
            if (path / "state.json").is_file():
                return Guess("a dataset of Hugging Face")
        except (DataError, AttributeError):
            return None
        shards = sorted({m[1] for file in path.glob("*.parquet") if (m := _SHARDS.fullmatch(file.name))})
        if not shards:
            return None
        return Guess("parquet files of a dataset", splits={name: {"split": name} for name in shards})

    def files(self) -> list[Path]:
        if self.hub:
            return []
        folder = self.path
        if (folder / "dataset_dict.json").is_file():
            splits = read_json(folder / "dataset_dict.json").get("splits", [])
            folder = folder / self._chosen(splits, folder)
        if (folder / "state.json").is_file():
            listed = [str(d["filename"]) for d in read_json(folder / "state.json").get("_data_files", [])]
            return [folder / name for name in listed]
        if not folder.is_dir():
            return [folder]
        found = sorted(folder.rglob("*.parquet"))
        names = sorted({path.name.partition("-")[0].partition(".")[0] for path in found})
        if self.split is not None or len(names) > 1:
            chosen = self._chosen(names, folder)
            found = [path for path in found if path.name.startswith((f"{chosen}-", f"{chosen}."))]
        if not found:
            raise wrong(
                "there is no dataset in this folder",
                folder,
                "save it with save_to_disk, or as parquet",
                code="formats.no-files",
            )
        return found

    def _chosen(self, splits: list[str], where: Path) -> str:
        if self.split in splits:
            return str(self.split)
        if self.split is None and len(splits) == 1:
            return splits[0]
        what = (
            "the dataset has several splits, and none is chosen"
            if self.split is None
            else f"there is no split {self.split!r}"
        )
        raise wrong(what, where, f"set split to one of {', '.join(splits) or '(none)'}", code="formats.split")

    def _batches(self, path: Path) -> Iterator[tuple[pa.RecordBatch, dict[str, Any]]]:
        if path.suffix != ".arrow":
            yield from super()._batches(path)
            return
        features = features_of(None)
        info = path.with_name("dataset_info.json")
        if info.is_file():
            features = read_json(info).get("features") or {}
        try:
            open_regular(path).close()
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                features = features or features_of(stream.schema.metadata)
                self._check(stream.schema.names, path)
                for batch in stream:
                    yield batch, features
        except FileNotFoundError:
            raise DataError("no such data file", where=path, code="file.missing") from None
        except (pa.ArrowException, OSError) as error:
            raise wrong(
                f"this Arrow file cannot be read: {error}",
                path,
                "save it again",
                code="formats.arrow",
            ) from None

    def drafts(self) -> Iterator[Draft]:
        if not self.hub:
            yield from super().drafts()
            return
        table = self._from_hub()
        features = features_of(table.schema.metadata)
        self._check(table.schema.names, Path(self.file))
        number = 0
        rows = Rows(self.columns, self.picture, self.tag_names or tag_names(features, self.columns.tags))
        for batch in table.to_batches(max_chunksize=1024):
            for row in rows_of(batch):
                number += 1
                yield self._draft(rows, row, features, f"{self.file}, row {number}", f"{self.file}:{number}")

    def _from_hub(self) -> pa.Table:
        try:
            import datasets
        except ImportError:
            raise wrong(
                "a dataset of the Hub needs the package datasets",
                self.file,
                'pip install "mmkit-formats[datasets]", or download the parquet files',
                code="formats.no-datasets",
            ) from None
        try:
            loaded = datasets.load_dataset(self.file, self.config, split=self.split)
        except (
            Exception
        ) as error:  # the library raises many kinds of errors: no network, no such name, no such split
            raise wrong(
                f"the dataset cannot be loaded: {type(error).__name__}: {str(error).splitlines()[0]}",
                self.file,
                "see its page on the Hub for config and split",
                code="formats.hub",
            ) from error
        if isinstance(loaded, dict):
            loaded = loaded[self._chosen(list(loaded), Path(self.file))]
        table: pa.Table = loaded.data.table
        return table.replace_schema_metadata(loaded.features.arrow_schema.metadata)

    def _draft(self, rows: Rows, row: dict[str, Any], features: dict[str, Any], where: str, id: str) -> Draft:
        draft = super()._draft(rows, row, features, where, id)
        choices = {}
        kept = draft.extra.get("columns", {})
        for name, value in list(kept.items()):
            feature = features.get(name)
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(value, int):
                known = feature.get("names") or []
                if 0 <= value < len(known):
                    choices[name] = [known[value]]
                    del kept[name]
        if not kept:
            draft.extra = {}
        draft.choices = choices
        return draft


class DatasetsWriter(Writer):
    """Writes a parquet file that `datasets.load_dataset("parquet", data_files=...)` reads with its features.

    Columns are id, text, tokens, `ner_tags` (a sequence of `ClassLabel`s), `image` (`Image`, with the image's bytes
    unless `embed = false`) and choices (`ClassLabel`). All sentences are read for their labels before the first is
    written; they are kept in memory without their images. Spans that overlap are an error.
    """

    def __init__(self, columns: dict[str, str] | None = None, embed: bool = True) -> None:
        super().__init__()
        self.columns, self.embed = named(columns), embed
        self.copies_images = embed

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        rows: list[dict[str, Any]] = []
        photos: list[str | None] = []
        choices: dict[str, dict[str, int]] = {}
        tags: dict[str, int] = {"O": 0}
        for example in only_examples(records, path):
            row, photo = self._row(example, tags, choices)
            rows.append(row)
            photos.append(photo)
        names = _in_order(tags)
        number = {old: names.index(tag) for tag, old in tags.items()}
        c = self.columns
        for row in rows:
            row[c.tags] = [number[tag] for tag in row[c.tags]]
        schema = self._schema(rows, names, choices, any(photos))
        with replacing(path, DataError) as temporary, pq.ParquetWriter(temporary, schema) as file:
            for at in range(0, len(rows), 256):
                batch = rows[at : at + 256]
                if any(photos):
                    for row, photo in zip(batch, photos[at:], strict=False):
                        row[c.images] = self._picture(photo, path.parent, str(row[c.id]))
                file.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                for row in batch:
                    row.pop(c.images, None)

    def _row(
        self, example: Example, tags: dict[str, int], choices: dict[str, dict[str, int]]
    ) -> tuple[dict[str, Any], str | None]:
        found = tags_of(example)
        if found is None:
            raise wrong(
                "spans overlap, and ner_tags cannot hold overlapping spans",
                example.id,
                "use formats.parquet.v1",
                code="formats.overlap",
            )
        c = self.columns
        row: dict[str, Any] = dict(note_of(example, NOTE).get("columns", {}))
        row |= {c.id: row.get(c.id, example.id), c.text: example.text, c.tokens: list(example.tokens)}
        row[c.tags] = [tags.setdefault(tag, len(tags)) for tag in found]
        for name, chosen in example.notes.get(CHOICES, {}).items():
            numbers = choices.setdefault(name, {})
            row[name] = numbers.setdefault(chosen[0], len(numbers))
            if len(chosen) > 1:
                self.losses["further choice"] += len(chosen) - 1
        photos = plain_photos(example, self.losses)
        if len(photos) > 1:
            self.losses["further photo"] += len(photos) - 1
        if example.relations:
            self.losses["relation"] += len(example.relations)
        count_rest(example, self.losses, (NOTE, CHOICES, "mmkit.orphan_spans"))
        return row, photos[0] if photos else None

    def _picture(self, photo: str | None, folder: Path, id: str) -> dict[str, Any] | None:
        if photo is None:
            return None
        from mmkit import Image

        return {"bytes": content(Image(photo), str(folder), id) if self.embed else None, "path": photo}

    def _schema(
        self, rows: list[dict[str, Any]], names: list[str], choices: dict[str, dict[str, int]], pictures: bool
    ) -> pa.Schema:
        c = self.columns
        fields: list[tuple[str, pa.DataType]] = []
        features: dict[str, Any] = {}
        simple = {c.text: "string", **({c.id: "string"} if _all_texts(rows, c.id) else {})}
        extra = dict.fromkeys(
            name for row in rows for name in row if name not in c.names() and name not in choices
        )
        for name, kind in simple.items():
            fields.append((name, pa.string()))
            features[name] = {"dtype": kind, "_type": "Value"}
        if c.id not in simple:
            fields.append((c.id, pa.int64()))
            features[c.id] = {"dtype": "int64", "_type": "Value"}
        fields += [(c.tokens, pa.list_(pa.string())), (c.tags, pa.list_(pa.int64()))]
        features[c.tokens] = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
        features[c.tags] = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "List"}
        for name, numbers in choices.items():
            fields.append((name, pa.int64()))
            features[name] = {"names": list(numbers), "_type": "ClassLabel"}
        if pictures:
            fields.append((c.images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
            features[c.images] = {"_type": "Image"}
        for name in extra:
            kind = pa.array([row.get(name) for row in rows]).type
            fields.append((name, pa.string() if pa.types.is_null(kind) else kind))
        # The library infers columns of other kinds: its description names only those that it must know.
        described = {} if extra else {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        if extra:
            described = {
                b"huggingface": json.dumps(
                    {"info": {"features": features | _inferred(fields, features)}}
                ).encode()
            }
        return pa.schema(fields, metadata=described)


def _inferred(fields: list[tuple[str, pa.DataType]], known: dict[str, Any]) -> dict[str, Any]:
    return {
        n: {"dtype": str(t).replace("double", "float64"), "_type": "Value"}
        for n, t in fields
        if n not in known
    }


def _all_texts(rows: list[dict[str, Any]], column: str) -> bool:
    return all(isinstance(row.get(column), str) for row in rows)


def _in_order(tags: dict[str, int]) -> list[str]:
    """O, then the B- and I- tags of each label, in the order in which the labels first occur."""
    labels = dict.fromkeys(tag[2:] for tag in tags if tag != "O")
    return ["O", *(f"{letter}-{label}" for label in labels for letter in "BI")]
