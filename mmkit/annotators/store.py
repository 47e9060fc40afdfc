"""Annotators' results on disk: computed once, even if the process is killed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from mmkit.cache import cache_dir
from mmkit.errors import MMKitError
from mmkit.files import parsed_json
from mmkit.files.ownership import check_own


class ResultStore:
    """JSON results by key, in one SQLite file. Several processes may use it at once.

    A call of `put` is one transaction: after a crash it is in the file completely or not at all. The rollback
    journal is kept (not write-ahead logging) because caches are often on network file systems.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, result TEXT NOT NULL)"
            )
            self._database.commit()

    @classmethod
    def of(cls, fingerprint: str) -> ResultStore:
        """The store in the user's cache for an annotator with this fingerprint.

        Raises `MMKitError` if another user may have written it.
        """
        name = hashlib.sha256(fingerprint.encode()).hexdigest()[:32]
        path = cache_dir("annotations") / f"{name}.sqlite"
        check_own([path, path.with_name(f"{path.name}-journal")])
        return cls(path)

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """The stored results of `keys`."""
        found: dict[str, Any] = {}
        with self._explained():
            wanted = list(keys)
            for start in range(0, len(wanted), 500):  # well under SQLite's limit on parameters of a statement
                some = wanted[start : start + 500]
                marks = ",".join("?" * len(some))
                rows = self._database.execute(f"SELECT key, result FROM results WHERE key IN ({marks})", some)
                found.update((key, parsed_json(result)) for key, result in rows)
        return found

    def put(self, results: Mapping[str, Any]) -> None:
        """Add results in one transaction; a key that is already there keeps its result."""
        rows = [(key, json.dumps(result, ensure_ascii=False)) for key, result in results.items()]
        with self._explained(), self._database:
            self._database.executemany("INSERT OR IGNORE INTO results VALUES (?, ?)", rows)

    def __len__(self) -> int:
        with self._explained():
            return int(self._database.execute("SELECT count(*) FROM results").fetchone()[0])

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> ResultStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError, ValueError) as reason:
            raise MMKitError(
                f"the store of annotation results cannot be used: {reason}",
                where=self.path,
                hint="check that the disk has space and is writable; if the file is damaged, delete it",
                code="annotator.store-unusable",
            ) from reason
