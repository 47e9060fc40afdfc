"""Which registered part an unexpected error comes from, found in its traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from types import FrameType
from typing import Any

from mmkit import registry
from mmkit.errors import one_line


def blame(error: BaseException) -> str:
    """What failed, as a sentence: the part with its package and version, or the package alone.

    It names the innermost call in which a registered part is involved: "mine.gate.v1 of mmkit-mine 0.1.0 failed in
    forward: ...". Without any, it names the innermost module of a package that is not a library of mmkit.
    """
    frames = list(_frames(error))
    parts = _classes()
    for frame in frames:
        for owner in _owners(frame):
            for known in owner.__mro__ if isinstance(owner, type) else ():
                if known in parts and _top(frame) in ("mmkit", known.__module__.partition(".")[0]):
                    name, package = parts[known]
                    return f"{name} of {package} failed in {frame.f_code.co_name}: {one_line(error)}"
    for frame in frames:
        top = _top(frame)
        if top.startswith("mmkit") and top != "mmkit":
            return f"{_package_of(top)} failed in {frame.f_code.co_name}: {one_line(error)}"
    return one_line(error)


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames of an error's traceback, the innermost first."""
    found = []
    traceback = error.__traceback__
    while traceback is not None:
        found.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return reversed(found)


def _owners(frame: FrameType) -> Iterator[Any]:
    """The class of a method's object, or the class itself of a class method."""
    name = frame.f_code.co_varnames[0] if frame.f_code.co_argcount else ""
    first = frame.f_locals.get(name)
    if name == "self":
        yield type(first)
    elif name == "cls":
        yield first


def _top(frame: FrameType) -> str:
    """The package whose code a frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _classes() -> dict[type, tuple[str, str]]:
    """Class of a registered part → its name, and its package with version; of modules that are imported already."""
    found: dict[type, tuple[str, str]] = {}
    for component in registry.components():
        module, _, attribute = component.target.partition(":")
        part = getattr(sys.modules.get(module), attribute, None)
        if isinstance(part, type):
            found[part] = component.name, f"{component.package} {component.version}".strip()
    return found


def _package_of(top: str) -> str:
    """The distribution that brings a module, with its version."""
    for name in packages_distributions().get(top, ()):
        return f"{name} {version(name)}"
    return top
