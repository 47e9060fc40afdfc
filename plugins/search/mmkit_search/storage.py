"""A search on disk: what is searched, Optuna's study in SQLite, and who works on which trial.

search.json  study.db  trials/0001/ ...  locks/  trials.jsonl  best.cfg  importance.json

Several processes may work in one folder. Each holds a file lock on its trial. The system releases it when the process
ends, however it ends, so a trial that is running and not locked is one whose process was killed.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from mmkit import DataError, RunError
from mmkit.data.fingerprints import file_sha256
from mmkit.errors import one_line
from mmkit.files import explained, write_json
from mmkit.files.temporary import is_temporary
from mmkit_search.plan import Plan
from mmkit_search.search_file import FORMAT, NAME, read_search_file
from mmkit_search.written import BEST, run_folder

LOCK = "search.lock"
SECONDS = 120
"""For which a process waits for another one's write."""
AGAIN = "repeat that search's own command, or name another --output"


class Claimed(NamedTuple):
    """A trial that this process works on while it holds the lock."""

    trial: optuna.Trial
    frozen: FrozenTrial
    lock: FileLock


class Search:
    """The folder of a search."""

    def __init__(self, folder: Path, plan: Plan, seed: int, startup: int = 10) -> None:
        self.folder, self.plan, self.seed, self.startup = folder, plan, seed, startup
        self.file, self.database, self.best_file = (
            folder / NAME,
            folder / "study.db",
            folder / BEST,
        )

    def run_folder(self, number: int) -> Path:
        """The run of a trial, by Optuna's number."""
        return run_folder(self.folder, number + 1)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from starting and ending trials during the block."""
        with FileLock(self.folder / LOCK, timeout=SECONDS):
            yield

    def open(self) -> None:
        """Make the folder, or see that it holds this search, on the same data.

        Raises `RunError` for a folder that holds something else, or cannot be written.
        """
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.locked():
                now = self._facts()
                if self.file.exists():
                    _check_same(self.folder, self._begun(), now)
                    self._check_data()
                elif other := [p for p in self.folder.iterdir() if p.name != LOCK and not is_temporary(p)]:
                    raise RunError(
                        f"the output folder holds something else than a search: {other[0].name}",
                        where=self.folder,
                        hint="name another --output",
                        code="search.folder-taken",
                    )
                else:
                    write_json(self.file, now)
                self.study = self._open_study()

    def _facts(self) -> dict[str, Any]:
        """What decides the trials. Searched settings have their first value in the recipe's content."""
        first = {name: space.ends[0] for name, space in self.plan.space.items()}
        return {
            "format": FORMAT,
            "seed": self.seed,
            "space": {name: str(space) for name, space in self.plan.space.items()},
            "recipe": self.plan.recipe.with_overrides(first).config,
            "data": {},
        }

    def _begun(self) -> dict[str, Any]:
        """`search.json`. Raises `RunError` if it is damaged."""
        return read_search_file(self.file)

    def _open_study(self) -> optuna.Study:
        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(self.database, timeout=SECONDS)
            connection.execute("PRAGMA trusted_schema = OFF")  # the file may be somebody else's
            return connection

        try:
            # a connection of our own: a path in SQLAlchemy's URL would be read as a template
            storage = optuna.storages.RDBStorage(
                "sqlite://", engine_kwargs={"creator": connect, "poolclass": NullPool}
            )
            study = optuna.create_study(
                storage=storage, study_name="search", direction="maximize", load_if_exists=True
            )
            trials = study.get_trials(deepcopy=False)
        except (
            SQLAlchemyError,
            sqlite3.Error,
            optuna.exceptions.OptunaError,
            RuntimeError,
            ValueError,
        ) as error:
            raise RunError(
                f"Optuna cannot open this file: {one_line(error)[:200]}",
                where=self.database,
                hint="put the file back, or name another --output",
                code="search.damaged",
            ) from error
        for trial in trials:
            if any(self.plan.distributions.get(name) != d for name, d in trial.distributions.items()):
                raise RunError(
                    f"trial {trial.number + 1} is of another space than search.json says",
                    where=self.database,
                    hint="put the file back, or name another --output",
                    code="search.damaged",
                )
        return study

    # data

    def check_run(self, facts: Mapping[str, Any]) -> None:
        """See that a run's data are those of the search; the first run decides. Raises `RunError`."""
        now = _data_of(facts)
        with self.locked():
            begun = self._begun()
            if not begun["data"]:
                write_json(self.file, {**begun, "data": now})
                return
        for file, sha in begun["data"].items():
            if now.get(file) != sha:
                raise _other_data(file)

    def _check_data(self) -> None:
        """Raise `RunError` for a data file that has changed since the first trial."""
        for file, sha in self._begun()["data"].items():
            try:
                same = file_sha256(file) == sha
            except DataError as error:
                raise RunError(
                    error.what, where=file, hint="put the file back", code="search.other-data"
                ) from None
            if not same:
                raise _other_data(file)

    # trials

    def claim(self, wanted: int) -> Claimed | None:
        """The next trial: one whose process was killed, else a new one; None if `wanted` trials are there already."""
        with self.locked():
            trials = self.study.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state == TrialState.RUNNING and (lock := self._lock(frozen.number)):
                    self._seed(frozen.number)
                    return self._claimed(optuna.Trial(self.study, frozen._trial_id), lock)
            if len(trials) >= wanted:
                return None
            number = len(trials)
            self._seed(number)
            trial = self.study.ask()
            lock = self._lock(trial.number)
            if lock is None:
                raise RunError("another process holds this trial", where=self.folder, code="search.claimed")
            return self._claimed(trial, lock)

    def _claimed(self, trial: optuna.Trial, lock: FileLock) -> Claimed:
        """The trial with all its settings: a process can be killed between two of them."""
        for name, distribution in self.plan.distributions.items():
            match distribution:
                case CategoricalDistribution(choices=choices):
                    trial.suggest_categorical(name, choices)
                case IntDistribution(low=low, high=high, step=step, log=log):
                    trial.suggest_int(name, low, high, step=step, log=log)
                case FloatDistribution(low=low, high=high, step=step, log=log):
                    trial.suggest_float(name, low, high, step=step, log=log)
        frozen = next(t for t in self.study.get_trials(deepcopy=False) if t.number == trial.number)
        return Claimed(trial, frozen, lock)

    def _seed(self, number: int) -> None:
        """A sampler for one trial: what it chooses does not depend on when the search was stopped and continued."""
        seed = (self.seed * 1_000_003 + number) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.startup)

    def _lock(self, number: int) -> FileLock | None:
        """The lock of a trial; None if another process has it."""
        folder = self.folder / "locks"
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / f"{number + 1:04d}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock


def _data_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """File → SHA-256, from a `run.json`."""
    data = facts.get("data", {})
    return {file["file"]: file["sha256"] for origin in data.values() for file in origin["files"]}


def _other_data(file: str) -> RunError:
    return RunError(
        "this data file has changed since the search began",
        where=file,
        hint="put the file back, or name another --output",
        code="search.other-data",
    )


def _check_same(folder: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `RunError` unless two `search.json`s are of the same search, and say what differs."""
    differ = (
        [] if begun.get("seed") == now["seed"] else [f"--seed was {begun.get('seed')} and is {now['seed']}"]
    )
    for what in ("space", "recipe"):
        before, after = dict(_flat("", begun[what])), dict(_flat("", now[what]))
        searched = {*begun["space"], *now["space"]} if what == "recipe" else set()
        for name in dict.fromkeys([*before, *after]):
            if name not in searched and before.get(name) != after.get(name):
                differ.append(f"{name} was {before.get(name, 'not set')} and is {after.get(name, 'not set')}")
    if differ:
        more = [f"and {len(differ) - 10} more"] if len(differ) > 10 else []
        raise RunError(
            "the folder holds another search:\n  " + "\n  ".join([*differ[:10], *more]),
            where=folder,
            hint=AGAIN,
            code="search.other-search",
        )


def _flat(at: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flat(f"{at}.{key}" if at else key, value)
    else:
        yield at, node
