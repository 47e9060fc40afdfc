"""The vectors of images on disk, and what is known about each image. A process may be killed at any point.

    vectors-<n>.f16   float16, one row after another; rows are only appended
    pictures.db       SQLite: articles, images with the row of their vector, images without a vector, and the state

`commit` works in two steps. First the appended vectors are saved. Then one transaction in `pictures.db` saves the new
images, the number of vectors and their checksum. A killed process may have appended more vectors than that. Readers
ignore them, and the next writer cuts them off. If an image is removed, its vector stays in the file until `compact`
copies the vectors in use to a new file. A transaction then makes the new file the valid one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from mmkit.errors import DataError
from mmkit.files import explained, parsed_json, sync_folder
from mmkit_retrieval.checksums import checksum

Array = np.ndarray[Any, np.dtype[Any]]

FORMAT = 1
DATABASE = "pictures.db"
BLOCK = 1 << 14
"""How many vectors are copied at once."""

_SCHEMA = """
CREATE TABLE state (value TEXT NOT NULL);
CREATE TABLE articles (id TEXT PRIMARY KEY, title TEXT NOT NULL, lead TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pictures (
    row INTEGER PRIMARY KEY, article TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL,
    path TEXT NOT NULL, caption TEXT NOT NULL
);
CREATE TABLE unreadable (article TEXT NOT NULL, path TEXT NOT NULL, reason TEXT NOT NULL);
CREATE UNIQUE INDEX pictures_by_article ON pictures (article, number);
CREATE INDEX pictures_by_content ON pictures (content);
CREATE INDEX unreadable_by_article ON unreadable (article);
"""


@dataclass(frozen=True, slots=True)
class Model:
    """The CLIP model that vectors come from: its name, and its vector of a fixed image (`probe [D]`)."""

    clip: str
    revision: str | None
    probe: tuple[float, ...]

    @property
    def width(self) -> int:
        return len(self.probe)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Model:
        return cls(facts["clip"], facts["revision"], tuple(facts["probe"]))


@dataclass(frozen=True, slots=True)
class State:
    """The state of the last commit: number, rows and checksum of the file of vectors, and the model they come from.

    `generation` counts the commits.
    """

    generation: int = 0
    file: int = 0
    rows: int = 0
    check: int = 0
    model: Model | None = None

    def path(self, folder: Path) -> Path:
        return folder / f"vectors-{self.file}.f16"

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def of(cls, text: str, where: Path) -> State:
        facts = parsed_json(text)
        check_format(facts.pop("format"), where)
        model = facts.pop("model")
        return cls(model=Model.of(model) if model else None, **facts)


def read_state(database: sqlite3.Connection, path: Path) -> State:
    """The state of the last commit. Raises `DataError`, which names `path`, if another version wrote it."""
    return State.of(database.execute("SELECT value FROM state").fetchone()[0], path)


def mapped(folder: Path, state: State) -> Array:
    """The vectors `[rows, D]` in float16, memory-mapped. Raises `DataError` if the file is missing or too short."""
    if state.model is None or not state.rows:
        return np.empty((0, state.model.width if state.model else 0), np.float16)
    shape, path = (state.rows, state.model.width), state.path(folder)
    try:
        return np.memmap(path, np.float16, "r", shape=shape)
    except (OSError, ValueError) as error:
        raise damaged(path, "it is missing or too short") from error


def check_vectors(folder: Path, state: State) -> None:
    """Raise `DataError` if the checksum of the vectors is wrong."""
    vectors, path = mapped(folder, state), state.path(folder)
    if len(vectors) and checksum(path, vectors.nbytes) != state.check:
        raise damaged(path, "the checksum of its vectors is wrong")


def is_index(folder: Path) -> bool:
    """Whether an image index was started in `folder`."""
    return (folder / DATABASE).exists()


def check_format(found: int, where: Path) -> None:
    """Raise `DataError` if another version wrote the image index."""
    if found != FORMAT:
        what = f"the image index has format {found}, and this version reads {FORMAT}"
        raise DataError(
            what,
            where=where,
            hint="update mmkit-retrieval, or build the index again",
            code="retrieval.index-format",
        )


def damaged(path: Path, what: str) -> DataError:
    """The error for a file of an index that cannot be used."""
    return DataError(
        f"the image index is damaged: {what}",
        where=path,
        hint="delete the whole index folder, not images/ alone, and build it again",
        code="retrieval.index-damaged",
    )


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite, and of a state that cannot be read, into `DataError`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        hint = (
            "make sure that the disk has room and is writable, and that no other process is writing the index"
        )
        raise DataError(
            f"the image index cannot be used: {error}", where=path, hint=hint, code="retrieval.index-unusable"
        ) from error
    except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
        raise damaged(path, str(error) or type(error).__name__) from error


def storable(text: str) -> str:
    """`text` with lone surrogates written as escapes, because UTF-8 cannot encode them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class VectorStore:
    """Writes the files of a folder. Only one process may write at a time.

    `state` and `committed` (how many images) are those of the last commit. `model` may be set before the first vector
    is added. Raises `DataError` if another process is writing there, if the files are damaged, or if the disk is full
    or not writable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with explained(folder, DataError):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock")
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                hint = "wait for it to end"
                raise DataError(
                    "another process is writing this index", where=folder, hint=hint, code="retrieval.locked"
                ) from None
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        with self._errors():
            self._database = sqlite3.connect(self.folder / DATABASE, isolation_level=None)
            if not self._database.execute("SELECT name FROM sqlite_master").fetchone():
                self._database.executescript(f"BEGIN; {_SCHEMA}")
                self._database.execute("INSERT INTO state VALUES (?)", (State().to_json(),))
                self._database.execute("COMMIT")
            self.state = read_state(self._database, self.folder / DATABASE)
            self.committed = len(self)
            check_vectors(self.folder, self.state)
            self._tidy()
            self._begin()

    def _tidy(self) -> None:
        """Remove what a killed process left: temporary files, and files of vectors that are not in use."""
        for path in [*self.folder.glob("vectors-*.f16"), *self.folder.glob(".*.tmp")]:
            if path != self.state.path(self.folder):
                path.unlink()

    def _begin(self) -> None:
        """Cut the file of vectors to the length in the state, open it, and begin a transaction."""
        path = self.state.path(self.folder)
        is_new = not path.exists()
        self._file: IO[bytes] = path.open("a+b", buffering=0)
        size = self.state.rows * self.width * 2
        if path.stat().st_size > size:
            self._file.truncate(size)
        if is_new:
            sync_folder(self.folder)
        self.model = self.state.model
        self._rows, self._check, self._changed = self.state.rows, self.state.check, False
        self._database.execute("BEGIN IMMEDIATE")

    @property
    def width(self) -> int:
        """D, or 0 before the first vector."""
        return self.state.model.width if self.state.model else 0

    def __len__(self) -> int:
        """How many images have a vector, committed or not."""
        return int(self._query("SELECT count(*) FROM pictures").fetchone()[0])

    def rows(self, statement: str) -> Iterator[Any]:
        """The rows of a SELECT statement."""
        yield from self._query(statement)

    def unreadable(self) -> int:
        """How many images have no vector."""
        return int(self._query("SELECT count(*) FROM unreadable").fetchone()[0])

    def remove(self, articles: Iterable[str]) -> None:
        """Remove articles and their images."""
        for id in map(storable, articles):
            for table, column in (("articles", "id"), ("pictures", "article"), ("unreadable", "article")):
                done = self._query(f"DELETE FROM {table} WHERE {column} = ?", id)
                self._changed |= done.rowcount > 0

    def add_article(self, id: str, title: str, lead: str) -> None:
        """Add an article. Its images are added after it."""
        self._query("INSERT INTO articles VALUES (?, ?, ?)", storable(id), storable(title), storable(lead))
        self._changed = True

    def add_unreadable(self, article: str, path: str, reason: str) -> None:
        """Note an image that has no vector, and the reason."""
        self._query("INSERT INTO unreadable VALUES (?, ?, ?)", *map(storable, (article, path, reason)))
        self._changed = True

    def vector_of(self, content: str) -> Array | None:
        """The vector `[D]` of an image of the same content, if there is one."""
        found = self._query("SELECT row FROM pictures WHERE content = ? LIMIT 1", content).fetchone()
        if found is None or self.model is None:
            return None
        size = 2 * self.model.width
        return np.frombuffer(os.pread(self._file.fileno(), size, found[0] * size), np.float16)

    def add(self, pictures: Sequence[tuple[str, int, str, str, str]], vectors: Array) -> None:
        """Add images (article, number, content, path, caption) with their vectors `[N, D]`."""
        data = np.ascontiguousarray(vectors, np.float16).tobytes()
        with explained(self.folder, DataError):
            written = self._file.write(data)
        if written != len(data):
            hint = "free some space, or give another folder"
            raise DataError(
                "cannot write: the disk is full", where=self.folder, hint=hint, code="file.unwritable"
            )
        fields = [
            (row, storable(article), number, content, storable(path), storable(caption))
            for row, (article, number, content, path, caption) in enumerate(pictures, self._rows)
        ]
        with self._errors():
            self._database.executemany("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?)", fields)
        self._rows += len(fields)
        self._check, self._changed = zlib.crc32(data, self._check), True

    def commit(self) -> None:
        """Save all changes so far: first the vectors, then the transaction that refers to them."""
        if not self._changed:
            return
        with self._errors():
            os.fsync(self._file.fileno())
            file = self.state.file
            self._store(State(self.state.generation + 1, file, self._rows, self._check, self.model))
            self._changed = False
            self._database.execute("BEGIN IMMEDIATE")

    def compact(self) -> None:
        """Commit, and delete the vectors of removed images. Rows are then 0, 1, 2 and so on."""
        self.commit()
        if len(self) == self.state.rows:
            return
        old = self.state.path(self.folder)
        kept = np.array([row for (row,) in self._query("SELECT row FROM pictures ORDER BY row")], np.int64)
        file = self.state.file + 1
        state = State(self.state.generation + 1, file, len(kept), self._copy(kept, file), self.model)
        with self._errors():
            # in ascending order, and only to lower rows: no image gets the row of another
            moves = [(new, int(row)) for new, row in enumerate(kept) if new != row]
            self._database.executemany("UPDATE pictures SET row = ? WHERE row = ?", moves)
            self._store(state)
            self._file.close()
            old.unlink()
            self._begin()

    def _copy(self, rows: Array, file: int) -> int:
        """Copy the vectors of these rows to a new file, and return its checksum."""
        vectors, check = mapped(self.folder, self.state), 0
        path = State(file=file).path(self.folder)
        with explained(path, DataError), path.open("wb") as target:
            for first in range(0, len(rows), BLOCK):
                data = vectors[rows[first : first + BLOCK]].tobytes()
                check = zlib.crc32(data, check)
                target.write(data)
            target.flush()
            os.fsync(target.fileno())
        sync_folder(self.folder)
        return check

    def _store(self, state: State) -> None:
        self._database.execute("UPDATE state SET value = ?", (state.to_json(),))
        count = len(self)
        self._database.execute("COMMIT")
        self.state, self.committed = state, count

    def close(self) -> None:
        """Close the files. Changes that are not committed are lost."""
        self._database.close()
        self._file.close()
        self._lock.release()

    def __enter__(self) -> VectorStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _query(self, statement: str, *fields: Any) -> sqlite3.Cursor:
        with self._errors():
            return self._database.execute(statement, fields)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with explained(self.folder, DataError), database_errors(self.folder / DATABASE):
            yield
