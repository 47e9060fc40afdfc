"""The list of articles that an index contains: `articles.db`, an SQLite file."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from mmkit.errors import DataError

_MARKS = 500
"""The most parameters in one statement; SQLite allows more."""


class State(IntEnum):
    """Which parts of an index contain an article, as far as is known."""

    HELD = 0  # all parts contain it
    COMMITTING = 1  # a commit of it has begun; whether it ended is unknown
    IN_TEXT = 2  # the text index contains it; for the image index this is unknown
    IN_DOUBT = 3  # unknown for all parts


class Entry(NamedTuple):
    """What the list says about an article, and whether this pass has seen the article already."""

    digest: str
    state: State
    seen: bool


class Ledger:
    """The list of articles: id → digest, state, and the last pass that saw the article in the corpus.

    A *pass* is one reading of a corpus. All changes since the last `commit` are one transaction: after a crash the file
    has all of them or none. Raises `DataError` if the file cannot be used. A full disk raises `OSError`, as elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
            )
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS articles"
                " (id TEXT PRIMARY KEY, digest TEXT NOT NULL, state INTEGER NOT NULL, pass INTEGER NOT NULL)"
                " WITHOUT ROWID"
            )
            self._pass = int(self.fact("pass") or 0) + 1
            self.note("pass", self._pass)

    def fact(self, key: str) -> Any:
        """The value stored under a key, or None."""
        with self._explained():
            row = self._database.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])

    def note(self, key: str, value: Any) -> None:
        """Store a JSON value under a key."""
        with self._explained():
            self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def known(self, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries of those articles that are in the list."""
        found = {}
        with self._explained():
            for start in range(0, len(ids), _MARKS):
                some = ids[start : start + _MARKS]
                marks = ",".join("?" * len(some))
                for row in self._database.execute(f"SELECT * FROM articles WHERE id IN ({marks})", some):
                    found[row[0]] = Entry(row[1], State(row[2]), row[3] == self._pass)
        return found

    def put(self, digests: Mapping[str, str], state: State = State.HELD) -> None:
        """Enter articles that this pass has seen, with their state."""
        rows = [(id, digest, int(state), self._pass) for id, digest in digests.items()]
        with self._explained():
            self._database.executemany("INSERT OR REPLACE INTO articles VALUES (?, ?, ?, ?)", rows)

    def doubt(self, ids: Sequence[str]) -> None:
        """Note that these articles are about to be removed from the index."""
        with self._explained():
            rows = [(int(State.IN_DOUBT), id) for id in ids]
            self._database.executemany("UPDATE articles SET state = ? WHERE id = ?", rows)

    def resolve(self, state: State) -> None:
        """Set the state of all articles whose commit was interrupted."""
        with self._explained():
            values = (int(state), int(State.COMMITTING))
            self._database.execute("UPDATE articles SET state = ? WHERE state = ?", values)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove articles from the list."""
        with self._explained():
            self._database.executemany("DELETE FROM articles WHERE id = ?", [(id,) for id in ids])

    def unseen(self, size: int, held: bool = True) -> Iterator[list[str]]:
        """Articles that this pass has not seen, `size` at a time. Without `held`, only those that are not `HELD`."""
        query = "SELECT id FROM articles WHERE id > ? AND pass < ? AND state >= ? ORDER BY id LIMIT ?"
        least, last = 0 if held else 1, ""
        while True:
            with self._explained():
                ids = [row[0] for row in self._database.execute(query, (last, self._pass, least, size))]
            if not ids:
                return
            yield ids
            last = ids[-1]

    def count_unseen(self) -> int:
        """How many articles this pass has not seen."""
        with self._explained():
            query = "SELECT count(*) FROM articles WHERE pass < ?"
            return int(self._database.execute(query, (self._pass,)).fetchone()[0])

    def holds_any(self) -> bool:
        """Whether any article is known to be in all parts of the index."""
        with self._explained():
            query = "SELECT 1 FROM articles WHERE state = ? LIMIT 1"
            return self._database.execute(query, (int(State.HELD),)).fetchone() is not None

    def commit(self) -> None:
        """Save all changes so far."""
        with self._explained():
            self._database.execute("COMMIT")
            self._database.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close the file without committing."""
        self._database.close()

    def __len__(self) -> int:
        with self._explained():
            return int(self._database.execute("SELECT count(*) FROM articles").fetchone()[0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as reason:
            if reason.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from reason
            raise DataError(
                f"the list of articles in the index cannot be used: {reason}",
                where=self.path,
                hint="make sure that the disk has room and is writable; if the file is damaged, build the index again",
                code="retrieval.ledger-unusable",
            ) from reason
