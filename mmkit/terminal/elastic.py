"""What torchrun says of its processes, and errors under it: shown once, at the end of torchrun's output.

When a process fails, torchrun prints its own traceback and a summary, so the process's message is a page further up.
torchrun also gives each process the name of a file (`torch.distributed.elastic.multiprocessing.errors`), and prints its
content at the end of the summary.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""The environment variable with the name of the file."""


def restarts() -> int:
    """How often torchrun has started all processes again, because one had ended; 0 without torchrun."""
    return _count("TORCHELASTIC_RESTART_COUNT")


def agent() -> str:
    """A name for the torchrun that started this process on its machine: the same after restarts, and no other's.

    Empty without torchrun. The name is made of the folder that torchrun makes for what its processes say. Where it
    makes none, it is made of `--rdzv-id`, which may be used again.
    """
    file = os.environ.get(ERROR_FILE)
    # the file is <folder>/attempt_<n>/<rank>/error.json
    folder = Path(file).parents[2:3] if file and file != os.devnull else ()
    name = str(folder[0]) if folder else os.environ.get("TORCHELASTIC_RUN_ID", "")
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16] if name else ""


def may_restart() -> bool:
    """Whether torchrun starts all processes again if one ends: `--max-restarts`."""
    return _count("TORCHELASTIC_MAX_RESTARTS") > 0


def local_processes(processes: int) -> int:
    """How many of the `processes` that train together run on this machine; all, if a launcher does not say it."""
    return _count("LOCAL_WORLD_SIZE") or processes


def _count(name: str) -> int:
    value = os.environ.get(name, "0")
    return int(value) if value.isdecimal() else 0


def is_main() -> bool:
    """Whether this process is the first of those that a launcher started together, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def hand_over(said: str) -> bool:
    """Leave an error to torchrun, which will print it; False if torchrun did not start this process.

    If several processes of a machine end with the same error, one of them writes it. The file says when it was written,
    and torchrun's summary ends with the earliest.
    """
    name = os.environ.get(ERROR_FILE)
    if not name or name == os.devnull:
        return False
    file, now = Path(name), int(time.time())
    try:
        # before it is decided who reports it: torchrun ends the others when one has ended
        _write(file, said, now)
        if not _is_first(file.parent.parent, said):
            _write(file, "ended by the error that another process tells", now + 1)
    except OSError:
        return False
    return True


def _write(file: Path, said: str, seconds: int) -> None:
    content = {"message": {"message": said, "extraInfo": {"py_callstack": said, "timestamp": str(seconds)}}}
    file.write_text(json.dumps(content), encoding="utf-8")


def _is_first(folder: Path, said: str) -> bool:
    """Whether no other process that writes below the folder has said this."""
    digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    try:
        (folder / f"said-{digest}").touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True
