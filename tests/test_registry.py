"""Registries: parts are found by name, and a broken one is reported by name while the others work."""

from __future__ import annotations

import gc
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import catalogue
import pytest

from mmkit import hooks, registry
from mmkit.cli.import_check import check_imports
from mmkit.config import packages
from mmkit.errors import Terminated
from mmkit.metrics.base import Metric
from mmkit.registry import Component, components
from raising import raises

METRIC = '''
"""A module."""
from mmkit.metrics.base import Metric

class Counts(Metric):
    """Counts examples.

    And more.
    """

    def __init__(self, start: int = 0) -> None:
        if start < 0:
            raise ValueError("start must not be negative")
        self.start = start

    def reset(self): ...
    def update(self, examples, predictions): ...
    def compute(self): return {"n": 1.0}
'''

names = itertools.count()
Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with a module `parts` and entry points on the path; returns the module's name."""

    def put(entries: str, source: str = METRIC, package: str = "", version: str = "1.2") -> str:
        module = f"mmkit_test_{next(names)}"
        package = package or module.replace("_", "-")
        root = tmp_path / f"site-{module}"
        (root / module).mkdir(parents=True)
        (root / module / "__init__.py").write_text("")
        (root / module / "parts.py").write_text(source, encoding="utf-8")
        info = root / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entries.replace("MODULE", module))
        monkeypatch.syspath_prepend(root)
        return module

    return put


@pytest.fixture
def here() -> Iterator[None]:
    """Forget what a test registers in this process."""
    before = dict(catalogue.REGISTRY)
    yield
    catalogue.REGISTRY.clear()
    catalogue.REGISTRY.update(before)


def one(name: str) -> Component:
    return next(c for c in components() if c.name == name)


def test_an_installed_part_is_listed_with_its_package_and_loaded_by_name(install: Install) -> None:
    module = install("[mmkit_metrics]\nt.counts.v1 = MODULE.parts:Counts\n")
    assert one("t.counts.v1") == Component(
        name="t.counts.v1",
        registry="metrics",
        package=module.replace("_", "-"),
        version="1.2",
        target=f"{module}.parts:Counts",
        description="Counts examples.",
    )
    assert registry.get("metrics", "t.counts.v1").__name__ == "Counts"
    assert registry.find("t.counts.v1")[0] == "metrics"
    assert registry.build_part("metrics", "t.counts.v1", {"start": 3}).start == 3


def test_listing_runs_no_code_of_a_package(install: Install) -> None:
    install(
        "[mmkit_metrics]\nt.counts.v1 = MODULE.parts:Counts\n", "raise RuntimeError('imported')\n" + METRIC
    )
    assert one("t.counts.v1").description == "Counts examples."
    assert not one("t.counts.v1").problem


def test_settings_are_checked_when_a_part_is_built(install: Install) -> None:
    install("[mmkit_metrics]\nt.counts.v1 = MODULE.parts:Counts\n")
    with raises("part.invalid", match=r"t.counts.v1.strat: there is no such setting; did you mean 'start'"):
        registry.build_part("metrics", "t.counts.v1", {"strat": 3})
    with raises("part.refused", match="start must not be negative"):
        registry.build_part("metrics", "t.counts.v1", {"start": -1})


@pytest.mark.parametrize(
    ("target", "source", "says"),
    [
        ("MODULE.prats:Counts", METRIC, "there is no module"),
        ("MODULE.parts.deeper:Counts", METRIC, "there is no module"),
        ("mmkit_nowhere.parts:Counts", METRIC, "there is no package 'mmkit_nowhere'"),
        ("MODULE.parts:Count", METRIC, "has no 'Count'"),
        ("MODULE.parts:Counts", "class Counts(:\n", "parts.py:1: syntax error"),
        ("MODULE.parts:Counts", "x = '\0'\n", "syntax error"),
    ],
)
def test_a_target_that_is_not_there_is_listed_with_its_reason(
    install: Install, target: str, source: str, says: str
) -> None:
    install(f"[mmkit_metrics]\nt.broken.v1 = {target}\n", source)
    assert says in one("t.broken.v1").problem
    assert not one("mmkit.jsonl.v1").problem


def test_a_part_whose_import_fails_is_reported_by_name_and_package(install: Install) -> None:
    module = install(
        "[mmkit_metrics]\nt.broken.v1 = MODULE.parts:Counts\n", "import mmkit_no_such_module\n" + METRIC
    )
    with raises("part.unloadable") as error:
        registry.get("metrics", "t.broken.v1")
    for said in (
        "t.broken.v1",
        module.replace("_", "-"),
        "1.2",
        f"{module}.parts:Counts",
        "mmkit_no_such_module",
    ):
        assert said in str(error.value)


def test_a_part_whose_import_exits_does_not_end_the_process(install: Install) -> None:
    install("[mmkit_metrics]\nt.broken.v1 = MODULE.parts:Counts\n", "raise SystemExit(3)")
    with raises("part.unloadable", match="SystemExit: 3"):
        registry.get("metrics", "t.broken.v1")


def test_a_process_that_is_asked_to_end_while_it_imports_a_part_ends(install: Install) -> None:
    module = install(
        "[mmkit_metrics]\nt.broken.v1 = MODULE.parts:Counts\n",
        "from mmkit.errors import Terminated\nraise Terminated(143)",
    )
    with pytest.raises(Terminated):  # which is no fault of the package
        registry.get("metrics", "t.broken.v1")
    with pytest.raises(Terminated):
        hooks.load_named("it cannot be loaded", f"{module}.parts:Counts", code="x")


def test_a_name_from_two_packages_names_both(install: Install) -> None:
    for package in ("mmkit-first", "mmkit-second"):
        install("[mmkit_metrics]\nt.twice.v1 = MODULE.parts:Counts\n", package=package)
    with raises("part.provided-twice", match="mmkit-second and mmkit-first"):
        registry.get("metrics", "t.twice.v1")
    listed = [c for c in components("metrics") if c.name == "t.twice.v1"]
    assert [c.package for c in listed] == ["mmkit-first", "mmkit-second"]
    assert all("mmkit-second and mmkit-first" in c.problem for c in listed)


@pytest.mark.usefixtures("here")
def test_parts_of_this_process(install: Install) -> None:
    @registry.metrics.register("t.mine.v1")
    class Mine(Metric):
        """Mine.

        More of mine.
        """

        def reset(self) -> None: ...
        def update(self, examples: object, predictions: object) -> None: ...
        def compute(self) -> dict[str, float]:
            return {}

    assert registry.get("metrics", "t.mine.v1") is Mine
    assert (one("t.mine.v1").package, one("t.mine.v1").description) == (registry.HERE, "Mine.")
    install("[mmkit_metrics]\nt.mine.v1 = MODULE.parts:Counts\n", package="mmkit-other")
    with raises("part.provided-twice", match=r"mmkit-other and \(this process\)"):
        registry.get("metrics", "t.mine.v1")


@pytest.mark.usefixtures("here")
def test_a_part_of_the_wrong_kind_or_unfinished_is_refused() -> None:
    registry.fusers.register("t.dict.v1", func=dict)
    with raises("part.wrong-class", match=r"mmkit.fusers.base.Fuser"):
        registry.get("fusers", "t.dict.v1")
    registry.metrics.register("t.half.v1", func=type("Half", (Metric,), {"reset": lambda self: None}))
    with raises("part.incomplete", match=r"Half .* lacks compute and update"):
        registry.get("metrics", "t.half.v1")


@pytest.mark.parametrize(
    ("station", "name", "code", "says"),
    [
        ("readers", "mmkit.jsonl.v2", "part.unknown", "'mmkit.jsonl.v1'"),
        ("fusers", "mmkit.jsonl.v1", "part.unknown", "readers"),
        ("fusers", "tesgaa.x.v1", "part.unknown", r"mmkit\.concat\.v1"),
        ("fuser", "x", "part.no-registry", "'fusers'"),
    ],
)
def test_unknown_names(station: str, name: str, code: str, says: str) -> None:
    with raises(code, match=says):
        registry.get(station, name)


def test_finding_over_all_registries() -> None:
    with raises("part.unknown", match=r"'mmkit.jsonl.v1'"):
        registry.find("mmkit.json.v1")


@pytest.mark.parametrize("known", packages.known_packages(), ids=lambda known: known.package)
def test_a_known_package_that_is_lacking_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, known: packages.KnownPackage
) -> None:
    monkeypatch.setattr(packages, "is_installed", lambda package: False)
    for word in known.parts:
        with raises("part.unknown", match=re.escape(known.install)):
            registry.find(f"{word}.no_such_part.v1")


def test_the_known_packages_of_this_repository_are_all_there_are() -> None:
    plugins = sorted((Path(__file__).resolve().parents[1] / "plugins").glob("*/pyproject.toml"))
    names = {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"] for file in plugins}
    assert {known.package for known in packages.known_packages()} == names


# -- importing everything ------------------------------------------------------------------------------------


def test_checking_imports_survives_whatever_a_part_does(install: Install) -> None:
    reasons = {
        "fine": (METRIC, ""),
        "chatty": ("print('a line', flush=True)\nimport os; os.write(1, b'more')\n" + METRIC, ""),
        "exits": ("raise SystemExit('bye')", "SystemExit: bye"),
        "quits": ("import os; os._exit(0)", "ends the process (exit code 0)"),
        "aborts": ("import os; os.abort()", "kills the process (SIGABRT)"),
        "fails": ("import mmkit_no_such_module", "No module named 'mmkit_no_such_module'"),
        "misses": ("", "has no attribute 'Counts'"),
        "wrong": ("class Counts: ...", "not a subclass of mmkit.metrics.base.Metric"),
        "last": (METRIC, ""),
    }
    for name, (source, _) in reasons.items():
        install(f"[mmkit_metrics]\nt.{name}.v1 = MODULE.parts:Counts\n", source)
    mine = [c for c in components("metrics") if c.name.startswith("t.")]
    failures = check_imports(mine)
    assert {name for _, name in failures} == {f"t.{n}.v1" for n, (_, reason) in reasons.items() if reason}
    for name, (_, reason) in reasons.items():
        assert reason in failures.get(("metrics", f"t.{name}.v1"), "")


def test_an_import_that_hangs_is_a_failure(install: Install) -> None:
    install("[mmkit_metrics]\nt.hangs.v1 = MODULE.parts:Counts\n", "while True: pass")
    mine = [c for c in components("metrics") if c.name.startswith("t.")]
    assert "did not end within 1 s" in check_imports(mine, timeout=1)["metrics", "t.hangs.v1"]


def test_a_package_that_is_installed_meanwhile_is_found(install: Install) -> None:
    assert "t.late.v1" not in registry.metrics
    install("[mmkit_metrics]\nt.late.v1 = MODULE.parts:Counts\n")
    assert "t.late.v1" in registry.metrics


def test_garbage_is_collected_again_after_an_import_that_fails(install: Install) -> None:
    install(
        "[mmkit_metrics]\nt.stops.v1 = MODULE.parts:Counts\n", "import gc; raise ValueError(gc.isenabled())"
    )
    with raises("part.unloadable", match="ValueError: False"):
        registry.metrics.get("t.stops.v1")
    assert gc.isenabled()


def test_listing_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from mmkit.registry import components; from mmkit import hooks\n"
        "assert components() and hooks.manager()\n"
        "assert not {'torch', 'transformers', 'timm'} & set(sys.modules), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- hooks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_manager", None)
    monkeypatch.setattr(hooks, "broken", {})


HOOKS = """
from pathlib import Path
from mmkit.hooks import hookimpl

@hookimpl
def mmkit_recipe_folders():
    return [Path("somewhere")]
"""


@pytest.mark.usefixtures("fresh_hooks")
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import mmkit_no_such_module", "No module named 'mmkit_no_such_module'"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        (
            HOOKS.replace("mmkit_recipe_folders", "mmkit_recipe_foldres"),
            "did you mean 'mmkit_recipe_folders'",
        ),
        (HOOKS.replace("folders()", "folders(unknown)"), "unknown"),
    ],
)
def test_a_broken_hook_module_is_reported_and_the_others_work(
    install: Install, source: str, says: str
) -> None:
    install("[mmkit]\nbad = MODULE.parts\n", source, package="mmkit-bad")
    install("[mmkit]\ngood = MODULE.parts\n", HOOKS, package="mmkit-good")
    found = dict(hooks.call_each("mmkit_recipe_folders"))
    assert found["good"] == [Path("somewhere")]
    assert list(hooks.broken) == ["bad"]
    assert hooks.broken["bad"].startswith("mmkit-bad: ")
    assert says in hooks.broken["bad"]
    assert "\n" not in hooks.broken["bad"]


def test_implementations_are_registered_for_a_block_only() -> None:
    class Plugin:
        @hooks.hookimpl
        def mmkit_recipe_folders(self) -> list[Path]:
            return [Path("mine")]

    plugin = Plugin()
    with hooks.registered(plugin):
        assert [Path("mine")] in hooks.manager().hook.mmkit_recipe_folders()
    assert [Path("mine")] not in hooks.manager().hook.mmkit_recipe_folders()

    class Misspelt:
        @hooks.hookimpl
        def mmkit_runend(self) -> None: ...

    with raises("plugin.unknown-hook", match="'mmkit_run_end'"), hooks.registered(plugin, Misspelt()):
        pytest.fail("not reached")
    assert not hooks.manager().is_registered(plugin)


def test_a_short_name_of_several_packages_is_the_one_that_is_read_and_written() -> None:
    """`more.conll.v1` is only read."""
    assert registry.readers.full_name("conll") == "formats.conll.v1"
    with raises("part.ambiguous", match=r"mmkit\.mnre\.v1.*more\.mnre\.v1"):
        registry.readers.full_name("mnre")


def test_a_class_that_a_plugin_brings_is_loaded_or_refused_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving_module.py").write_text("raise SystemExit('no display')\n")
    monkeypatch.syspath_prepend(tmp_path)
    target = "mmkit.metrics.linking:Linking"
    assert hooks.load_class("u", "w", target, Metric, code="x.y").__name__ == "Linking"
    for target, reason in {
        "leaving_module:A": "no display",
        "mmkit.metrics.linking:Lnking": "Lnking",
    }.items():
        with raises("x.y", match=f"{target}: m cannot be loaded: .*{reason}"):
            hooks.load_class("m cannot be loaded", "w", target, Metric, code="x.y")
    for target in ("mmkit.metrics.linking:TOP", "mmkit.metrics.linking:DataError"):
        with raises("x.y", match=f"{target}: m is no metric"):
            hooks.load_class("u", "m is no metric", target, Metric, code="x.y")
