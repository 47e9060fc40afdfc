"""The registries: parts are found by name, through entry points, wherever they are installed.

    [project.entry-points.mmkit_fusers]
    "mypackage.gate.v1" = "mypackage.gate:Gate"

In a notebook or a test, `@registry.fusers.register("mine.gate.v1")` does the same for one process.
A broken plugin is reported by name and does not affect the others. A name that two packages provide is an error.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import catalogue

from mmkit.config import sources
from mmkit.config.packages import part_hint, word_hint
from mmkit.config.parameters import parameters, takes_any
from mmkit.config.values import Problems, construct, fit_arguments
from mmkit.errors import PartError, Terminated, did_you_mean, listed, one_line

BASES = {
    "readers": "mmkit.data.reader:Reader",
    "writers": "mmkit.data.writer:Writer",
    "annotators": "mmkit.annotators.base:Annotator",
    "encoders": "mmkit.encoders.base:Encoder",
    "fusers": "mmkit.fusers.base:Fuser",
    "scorers": "mmkit.scorers.base:Scorer",
    "decoders": "mmkit.decoders.base:Decoder",
    "metrics": "mmkit.metrics.base:Metric",
}
"""The registries in the order in which a model runs, each with its parts' base class; no recipe names a writer."""

HERE = "(this process)"
"""The package of a part that was registered by a decorator rather than by an entry point."""


@dataclass(frozen=True)
class Component:
    """A registered part, described without importing it. `problem` says why it cannot be used, if so."""

    name: str
    registry: str
    package: str
    version: str
    target: str
    description: str = ""
    problem: str = ""


def _places() -> tuple[tuple[str, int], ...]:
    """Where packages may be, and when each place changed: packages that are installed meanwhile change it."""
    found = []
    for place in sys.path:
        with contextlib.suppress(OSError):
            found.append((place, Path(place).stat().st_mtime_ns))
    return tuple(found)


@lru_cache(maxsize=1)
def _entry_points(places: tuple[tuple[str, int], ...]) -> Any:
    """All entry points. Reading them takes as long as importing a small package, and a recipe asks for dozens."""
    return entry_points()


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """No search for garbage: an import makes next to none, and with transformers a fifth of its time goes there."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


class Registry(catalogue.Registry):  # type: ignore[misc]  # catalogue has no types
    """One registry. `register` is catalogue's; `get` loads one entry point and explains what goes wrong."""

    def __init__(self, name: str) -> None:
        super().__init__(("mmkit", name), entry_points=True)
        self.name = name

    def installed(self) -> list[EntryPoint]:
        """This registry's entry points, as they are now; catalogue reads them only when it is imported."""
        return list(_entry_points(_places()).select(group=self.entry_point_namespace))

    def here(self) -> dict[str, Any]:
        """Parts registered in this process."""
        return {key[-1]: part for key, part in catalogue.REGISTRY.items() if key[:-1] == self.namespace}

    def names(self) -> list[str]:
        """All names, whether their parts can be loaded or not."""
        return sorted({entry.name for entry in self.installed()} | set(self.here()))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def full_name(self, name: str) -> str:
        """The registered name that a user means, who may give its middle alone: `label-studio`.

        Of several versions it is the last one, and of several packages the only one that both reads and writes the
        format. A name with a dot is returned as it is. Raises `PartError` for a short name that fits none, or parts
        of several packages.
        """
        if "." in name:
            return name
        short: dict[str, str] = {}
        fits: dict[str, str] = {}
        for known in self.names():
            package, _, rest = known.partition(".")
            middle = rest.rpartition(".v")[0].replace("_", "-")
            short[middle] = known
            if middle == name.replace("_", "-"):
                fits[package] = known
        both = [known for known in fits.values() if known in readers and known in writers]
        if len(fits) > 1 and len(both) == 1:
            return both[0]
        if len(fits) > 1:
            raise PartError(
                f"{name!r} may be {listed(sorted(fits.values()))}",
                hint="give the whole name",
                code="part.ambiguous",
            )
        if not fits:
            hint = word_hint(name) or did_you_mean(name, short)
            raise PartError(f"there is no {name!r} among the {self.name}", hint=hint, code="part.unknown")
        return next(iter(fits.values()))

    def get(self, name: str) -> type:
        """The class registered as `name`.

        Raises `PartError` if there is none, if two packages provide it, if its import fails, or if it is not a part
        of this station.
        """
        entries = [entry for entry in self.installed() if entry.name == name]
        providers = [_package(entry)[0] for entry in entries] + [HERE] * (name in self.here())
        if not providers:
            raise self._unknown(name)
        if len(providers) > 1:
            raise PartError(
                f"{name!r} is provided by {listed(providers)}",
                where=name,
                hint="uninstall one of them",
                code="part.provided-twice",
            )
        part: type = self._load(entries[0]) if entries else self.here()[name]
        self._check(name, part, providers[0])
        return part

    def _load(self, entry: EntryPoint) -> Any:
        try:
            with _no_collections():
                return entry.load()
        except Terminated:
            raise
        except (Exception, SystemExit) as error:  # a plugin's import may raise anything
            package, version = _package(entry)
            raise PartError(
                f"cannot be loaded from package {package} {version} ({entry.value}): {one_line(error)}",
                where=entry.name,
                hint=f"fix or uninstall {package}; `mmkit list-components --check` tries every part",
                code="part.unloadable",
            ) from error

    def _check(self, name: str, part: Any, package: str) -> None:
        module, _, attribute = BASES[self.name].partition(":")
        base = getattr(importlib.import_module(module), attribute)
        if not (isinstance(part, type) and issubclass(part, base)):
            raise PartError(
                f"is among the {self.name} of {package}, but is not a subclass of {module}.{attribute}",
                where=name,
                hint="this is for the package's author to fix",
                code="part.wrong-class",
            )
        if missing := sorted(getattr(part, "__abstractmethods__", ())):
            raise PartError(
                f"{part.__qualname__} of package {package} lacks {listed(missing)}",
                where=name,
                hint=f"a part of the {self.name} must define them: see {module}.{attribute}",
                code="part.incomplete",
            )

    def _unknown(self, name: str) -> PartError:
        what = f"there is no {name!r} among the {self.name}"
        for other in ALL.values():
            if other is not self and name in other:
                return PartError(
                    f"{what}: it is one of the {other.name}",
                    hint=did_you_mean(name, self.names()),
                    code="part.unknown",
                )
        return PartError(what, hint=part_hint(name) or did_you_mean(name, self.names()), code="part.unknown")


readers = Registry("readers")
writers = Registry("writers")
annotators = Registry("annotators")
encoders = Registry("encoders")
fusers = Registry("fusers")
scorers = Registry("scorers")
decoders = Registry("decoders")
metrics = Registry("metrics")
ALL: dict[str, Registry] = {
    r.name: r for r in (readers, writers, annotators, encoders, fusers, scorers, decoders, metrics)
}


def registry_of(name: str) -> Registry:
    """The registry called `name`. Raises `PartError`."""
    if name not in ALL:
        raise PartError(
            f"there is no registry {name!r}", hint=did_you_mean(name, ALL), code="part.no-registry"
        )
    return ALL[name]


def get(registry: str, name: str) -> type:
    """The class registered as `name` in `registry`; see `Registry.get` for the errors."""
    return registry_of(registry).get(name)


def find(name: str) -> tuple[str, type]:
    """The registry that holds `name`, and the class. Raises `PartError`."""
    for registry in ALL.values():
        if name in registry:
            return registry.name, registry.get(name)
    names = [known for registry in ALL.values() for known in registry.names()]
    raise PartError(
        f"there is no part {name!r}", hint=part_hint(name) or did_you_mean(name, names), code="part.unknown"
    )


def build_part(registry: str, name: str, settings: Mapping[str, Any]) -> Any:
    """The part `name`, constructed with plain `settings`, which are checked against its type hints.

    Raises `PartError` with everything that is wrong with them; a `ValueError` of the constructor becomes one.
    """
    part = get(registry, name)
    known = parameters(part)
    problems = Problems()
    fitted = fit_arguments(settings, known, name, problems, free=takes_any(part))
    if problems.found:
        raise PartError(
            "\n  ".join(f"{p.path}: {p}" for p in problems.found), where=f"@{registry}", code="part.invalid"
        )
    arguments = {k: construct(value, known[k].hint) if k in known else value for k, value in fitted.items()}
    try:
        return part(**arguments)
    except ValueError as error:
        raise PartError(str(error), where=name, code="part.refused") from error


def components(registry: str | None = None) -> list[Component]:
    """Every registered part, read from metadata and source files: nothing is imported.

    A part whose source shows that it is broken is listed with its `problem`.
    """
    chosen = [registry_of(registry)] if registry else list(ALL.values())
    return [component for r in chosen for component in _components(r)]


def _components(registry: Registry) -> list[Component]:
    found = [_installed_component(registry.name, entry) for entry in registry.installed()]
    for name, part in registry.here().items():
        target = f"{part.__module__}:{part.__qualname__}"
        summary = next(iter(inspect.cleandoc(part.__doc__ or "").splitlines()), "")
        found.append(Component(name, registry.name, HERE, "", target, summary))
    providers = Counter(component.name for component in found)
    for i, component in enumerate(found):
        if providers[component.name] > 1:
            packages = [c.package for c in found if c.name == component.name]
            found[i] = Component(**{**vars(component), "problem": f"provided by {listed(packages)}"})
    return sorted(found, key=lambda c: (c.name, c.package))


def _installed_component(registry: str, entry: EntryPoint) -> Component:
    package, version = _package(entry)
    summary = problem = ""
    try:
        summary = sources.find(entry.value).summary
    except sources.SourceError as error:
        problem = str(error)
    return Component(entry.name, registry, package, version, entry.value, summary, problem)


def _package(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("?", "")
