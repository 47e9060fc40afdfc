"""Kills work at every single change that it makes to files, has it done again, and compares what comes out.

Imported by scripts that `killing.killed_everywhere` runs, in a process into which `kill_at.c` is preloaded where there
is a compiler. Elsewhere Python's own changes are counted alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

KINDS = ("open", "write", "sync", "rename", "remove", "mkdir", "truncate")


class Preloaded:
    """Counts what any library changes below a folder, and kills the process before the `moment`-th change."""

    def __init__(self, library: str, folder: str, moment: int) -> None:
        self._counted = ctypes.CDLL(library)
        self._counted.kill_watch(os.fsencode(folder), ctypes.c_long(moment))

    @property
    def passed(self) -> int:
        return int(self._counted.kill_passed())

    @property
    def kinds(self) -> dict[str, int]:
        return {name: int(self._counted.kill_count(i)) for i, name in enumerate(KINDS)}


class Heard:
    """Counts what Python itself changes below a folder, and kills the process before the `moment`-th change."""

    EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod")
    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def __init__(self, folder: str, moment: int) -> None:
        self.folder, self.moment, self.passed = folder, moment, 0
        self.kinds: dict[str, int] = {}
        fsync = os.fsync

        def counted(descriptor: int) -> None:
            self._step("sync")
            fsync(descriptor)
            self._step("synced")

        os.fsync = counted  # type: ignore[assignment]
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if (flags or 0) & self.WRITING and self._is_watched(path):
                self._step("open")
        elif event in self.EVENTS and any(map(self._is_watched, arguments)):
            self._step(event)

    def _is_watched(self, path: Any) -> bool:
        named = isinstance(path, str | bytes | os.PathLike)
        return named and str(Path(os.fsdecode(path)).absolute()).startswith(self.folder)

    def _step(self, kind: str) -> None:
        self.passed += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.passed == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files in a folder."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def listed(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def told(work: Callable[[], Any]) -> Any:
    """What `work` gives as JSON, done in another process: threads of libraries do not survive the next fork."""
    code, said = _in_a_child(work, Path("/nowhere"), 0)
    assert code == 0, "see above"
    return json.loads(said)[2]


def everywhere(
    work: Callable[[], object],
    fresh: Callable[[], object],
    folder: Path,
    compare: Callable[[], Any],
    again: Callable[[], object] | None = None,
) -> None:
    """Kill `work` at each of its changes to `folder`, do it `again`, and compare with what undisturbed work gives.

    `fresh` puts everything back to the beginning. Prints the number of kills, by kind, as JSON. `KILL_EVERY=10` in the
    environment kills at every tenth change only, for a quick look.
    """
    fresh()
    code, said = _in_a_child(work, folder, 0)
    assert code == 0
    (steps, kinds, _), expected = json.loads(said), compare()
    killed = 0
    for moment in range(1, steps + 1, int(os.environ.get("KILL_EVERY", "1"))):
        fresh()
        code, _ = _in_a_child(work, folder, moment)
        assert code in (-9, 0), (moment, code)  # 0: it made a step less this time
        killed += code == -9
        code, _ = _in_a_child(again or work, folder, 0)
        assert code == 0, f"killed at step {moment}: it cannot go on"
        found = compare()
        assert found == expected, f"killed at step {moment}: {found} instead of {expected}"
    print(json.dumps({"steps": steps, "killed": killed, "kinds": kinds}))


def _in_a_child(work: Callable[[], object], folder: Path, moment: int) -> tuple[int, str]:
    """Fork, do the work there, and say how the child ended and how many changes it made."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            library = os.environ.get("LD_PRELOAD")
            counts = Preloaded(library, str(folder), moment) if library else Heard(str(folder), moment)
            result = work()
            code = 0
            with os.fdopen(write, "w") as pipe:
                json.dump([counts.passed, counts.kinds, result], pipe, default=repr)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said
