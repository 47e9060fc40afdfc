"""Import every registered part in another process, and say which fail: `mmkit list-components --check`.

The parent hands the worker a list of parts; the worker answers each with a line. A part that ends the worker
(`sys.exit`, a crash in native code) is the first one without an answer; a new worker continues after it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import TextIO

from mmkit import registry
from mmkit.errors import MMKitError, one_line
from mmkit.registry import Component

TIMEOUT = 600.0
"""Seconds after which an import counts as hanging."""

WORKER = """
import json, sys
job = json.load(sys.stdin)
sys.path[:] = job["path"]
from mmkit.cli.import_check import work
work(job["parts"])
"""


def check_imports(components: Sequence[Component], timeout: float = TIMEOUT) -> dict[tuple[str, str], str]:
    """Import every part in another process; returns (registry, name) → reason for those that fail."""
    todo = list(
        dict.fromkeys((c.registry, c.name) for c in components if c.package != registry.HERE)
    )  # a name that two packages provide is asked for once; the answer names both
    failures = {}
    while todo:
        answers, death = _run(todo, timeout)
        for part, problem in zip(todo, answers, strict=False):
            if problem:
                failures[part] = problem
        if death and len(answers) < len(todo):
            failures[todo[len(answers)]] = death
        todo = todo[len(answers) + 1 :]
    return failures


def _run(parts: Sequence[tuple[str, str]], timeout: float) -> tuple[list[str], str]:
    """One worker's answers, in order (empty for a part that is fine), and how it died if it died early."""
    job = json.dumps({"path": sys.path, "parts": parts})
    try:
        done = subprocess.run(
            [sys.executable, "-c", WORKER],
            input=job.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        output, death = done.stdout, _death(done.returncode)
    except subprocess.TimeoutExpired as error:
        output, death = error.stdout or b"", f"its import did not end within {timeout:.0f} s"
    lines = output.decode("utf-8", "replace").splitlines()
    return [json.loads(line) for line in lines], death


def _death(code: int) -> str:
    if code < 0:
        return f"its import kills the process ({signal.Signals(-code).name})"
    return f"its import ends the process (exit code {code})"


def work(parts: Sequence[tuple[str, str]]) -> None:
    """The worker: answer each part with a JSON string on a line of standard output."""
    answers = _private_stdout()
    for name, part in parts:
        try:
            registry.get(name, part)
            problem = ""
        except MMKitError as error:
            problem = error.what
        except BaseException as error:
            problem = one_line(error)
        answers.write(json.dumps(problem) + "\n")
        answers.flush()


def _private_stdout() -> TextIO:
    """Our own stream to standard output; from now on, what parts print goes to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream
