"""Killing a process at a chosen moment of what it does."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MORTAL = """
import os, signal

passed = moment = 0

def mortal(kind, name):
    "Let the process be killed before or after each call of a method: at the `moment`-th of these points."
    whole = getattr(kind, name)
    def method(self, *arguments, **more):
        global passed
        for act in (None, whole):
            passed += 1
            if passed == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            if act:
                result = act(self, *arguments, **more)
        return result
    setattr(kind, name, method)
"""
"""What a script begins with that is to be killed; it sets `moment`, and `passed` counts the points so far."""

HERE = Path(__file__).resolve().parent


@functools.cache
def preloadable() -> Path | None:
    """The library of `kill_at.c`; None where there is no compiler, or no way to preload it."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    library = Path(tempfile.mkdtemp()) / "kill_at.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "kill_at.c", "-ldl", "-lpthread"]
    return library if subprocess.run(command, capture_output=True, check=False).returncode == 0 else None


def killed_everywhere(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script that calls `kills.everywhere`; returns what it printed.

    `steps` are the changes that an undisturbed process makes, at each of which one was `killed` (but where it made
    fewer changes that time); `kinds` counts them.
    """
    command = [sys.executable, "-c", script, *map(str, arguments)]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    if (library := preloadable()) is not None:
        environment["LD_PRELOAD"] = str(library)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=3000)
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found)
    return found
