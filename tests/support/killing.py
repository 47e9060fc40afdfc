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
