"""Killing a process at a chosen moment of what it does."""

from __future__ import annotations

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

EVERYWHERE = """
import os, signal, sys

class Kills:
    "Counts what a process does to files below some folders, and kills it before the `moment`-th of these steps."

    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def __init__(self, folders, moment):
        self.folders, self.moment, self.passed, self.kinds = tuple(folders), moment, 0, {}
        fsync = os.fsync
        def counted(descriptor):
            self.step("fsync")
            fsync(descriptor)
            self.step("synced")
        os.fsync = counted
        sys.addaudithook(self.heard)

    def heard(self, event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, (str, bytes, os.PathLike)) and (flags or 0) & self.WRITING and self.watched(path):
                self.step("open")
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"):
            if any(self.watched(path) for path in arguments if isinstance(path, (str, bytes, os.PathLike))):
                self.step(event)

    def watched(self, path):
        return os.path.abspath(os.fsdecode(path)).startswith(self.folders)

    def step(self, kind):
        self.passed += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.passed == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)
"""
"""Defines `Kills`, for a process that is to die at every single step of what it writes, one after the other."""
