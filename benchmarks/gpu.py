"""Checks mmkit on a GPU, in one command: whether results are right there, and how fast it is.

    python benchmarks/gpu.py                      # all sections, under 8 minutes on an H100
    python benchmarks/gpu.py --list
    python benchmarks/gpu.py --only 'golden*' train_dwe
    python benchmarks/gpu.py --resume             # what is not done yet, or failed
    python benchmarks/gpu.py --device cpu --tiny  # to the end anywhere, with tiny shapes

Each section runs in a process of its own; its findings are written to `benchmarks/results/gpu_<name>.json` as soon as
it ends, and one that fails is recorded while the others go on. The exit code is 1 if a section failed or was left out
for lack of time, 2 if the command cannot be used as it is, and 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
)  # looking for a GPU must not start CUDA before a fork
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from gpu_sections import SECTIONS, Section
from gpu_sections.context import Context, write_json
from gpu_sections.process import function, preload, run_section

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FORMAT = 1
BUDGET = 480.0
DONE = ("ok",)
BAD = ("failed", "out of time", "interrupted")


class UsageError(Exception):
    """What the user has to change; its text says what, where and how."""


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen sections and return the exit code."""
    options = parsed(arguments)
    try:
        sections = chosen([*SECTIONS, *added(options.sections)], options.only, options.skip)
        if options.list:
            for section in sections:
                print(f"{section.name:16} {section.seconds:4.0f} s  {section.about}")
            return 0
        with tempfile.TemporaryDirectory(prefix="mmkit-gpu-") as folder:
            return Session(options, Path(folder)).run(sections)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes: does everything run to the end?")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="sections or patterns")
    parser.add_argument(
        "--skip", nargs="+", default=[], metavar="NAME", help="sections or patterns to leave out"
    )
    parser.add_argument("--list", action="store_true", help="show the sections and what they take on an H100")
    parser.add_argument(
        "--resume", action="store_true", help="keep sections that are done, and run the others"
    )
    parser.add_argument(
        "--again", action="store_true", help="run chosen sections again; keep the others' results"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET,
        metavar="SECONDS",
        help="time for all (default: %(default).0f)",
    )
    parser.add_argument("--name", help="results go to gpu_NAME.json (default: made from the device's name)")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where results go")
    parser.add_argument(
        "--golden",
        type=Path,
        default=Path(os.environ.get("MMKIT_GOLDEN", ROOT.parent / "shared" / "golden")),
        metavar="FOLDER",
        help="golden files (default: $MMKIT_GOLDEN, or shared/golden beside the project)",
    )
    parser.add_argument(
        "--sections",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="Python files with further SECTIONS",
    )
    parser.add_argument(
        "--start",
        choices=("fork", "spawn"),
        default="fork",
        help="how sections' processes start (default: fork)",
    )
    return parser.parse_args(arguments)


def added(files: list[Path]) -> list[Section]:
    """The `SECTIONS` of Python files."""
    sections: list[Section] = []
    for file in files:
        try:
            sections += function(f"{file}:SECTIONS")  # type: ignore[arg-type]
        except (OSError, AttributeError) as error:
            raise UsageError(f"--sections {file}: {error}") from error
    return sections


def chosen(sections: list[Section], only: list[str], skip: list[str]) -> list[Section]:
    """The sections that match `only` and not `skip`, in their order."""
    names = [section.name for section in sections]
    for pattern in (*only, *skip):
        if not fnmatch.filter(names, pattern):
            near = difflib.get_close_matches(pattern, names, n=2)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(names)}"
            raise UsageError(f"no section is called {pattern!r}; {hint}")

    def matches(name: str, patterns: list[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    return [s for s in sections if matches(s.name, only) and not matches(s.name, skip)]


class Session:
    """One call of the command: the file of results, the time that is left, and a cache of its own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.began = time.monotonic()
        self.start = options.start
        os.environ["MMKIT_CACHE"] = str(
            folder / "cache"
        )  # samples are made once; the user's own stays as it is

    def run(self, sections: list[Section]) -> int:
        """Run sections one after the other, writing the file after each."""
        if self.start == "fork":
            preload()
        machine = self.probed()
        self.file = (
            self.options.results / f"gpu_{self.options.name or default_name(machine, self.options.tiny)}.json"
        )
        self.results = self.opened(machine)
        for section in sections:
            known = self.results["sections"].get(section.name, {})
            if self.options.resume and known.get("status") in DONE:
                print(f"{section.name:16} done before ({known['seconds']:.0f} s, commit {known['commit']})")
                continue
            outcome = self.outcome(section)
            self.record(section.name, {**outcome, "commit": machine["commit"]})
            if outcome["status"] == "interrupted":
                return 130
        return self.summary([section.name for section in sections])

    def probed(self) -> dict[str, Any]:
        """The machine's facts; where a forked process cannot use the device, processes are spawned from then on."""
        probe = Section("probe", "gpu_sections.machine:probe", 10, "")
        outcome = run_section(probe, self.context("probe"), 120, self.start)
        if outcome["status"] != "ok" and self.start == "fork":
            self.start = "spawn"
            outcome = run_section(probe, self.context("probe again"), 120, self.start)
        if outcome["status"] != "ok":
            hint = "name another --device, or look at nvidia-smi and the installed torch"
            raise UsageError(f"--device {self.options.device} cannot be used: {outcome['error']}; {hint}")
        return {**outcome["facts"], "processes": self.start}

    def context(self, name: str) -> Context:
        """A section's surroundings."""
        folder = self.folder / name
        folder.mkdir()
        options, file = self.options, self.folder / f"{name}.json"
        return Context(options.device, options.tiny, folder, options.golden.absolute(), file)

    def opened(self, machine: dict[str, Any]) -> dict[str, Any]:
        """The file's content, to which sections are added; a new one's if there is none."""
        fixed = {
            "format": FORMAT,
            "tiny": self.options.tiny,
            "device": self.options.device,
            "gpu": machine["gpu"],
        }
        if not self.file.exists():
            return {**fixed, "machine": machine, "sections": {}}
        if not (self.options.resume or self.options.again):
            raise UsageError(
                f"{self.file} holds results: --resume goes on with them, --again replaces those of the chosen "
                "sections, --name writes another file"
            )
        try:
            results = json.loads(self.file.read_text(encoding="utf-8"))
            differs = [key for key, value in fixed.items() if results[key] != value]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.file} is damaged ({error}): remove it, or give another --name"
            ) from error
        if differs:
            told = ", ".join(f"{key} {results[key]!r} there and {fixed[key]!r} now" for key in differs)
            raise UsageError(f"{self.file} is of other circumstances ({told}): give another --name")
        return {**results, "machine": machine}

    def outcome(self, section: Section) -> dict[str, Any]:
        """Run a section in the time that is left."""
        left = self.options.budget - (time.monotonic() - self.began)
        usual = self.options.tiny or self.options.device == "cpu"  # what is expected holds for a GPU
        if left < (0 if usual else section.seconds / 2):
            note = (
                f"{max(left, 0):.0f} s were left of --budget {self.options.budget:.0f}; go on with --resume"
            )
            return {"status": "out of time", "note": note, "seconds": 0.0}
        limit = left if usual else min(left, 30 + 3 * section.seconds)
        return run_section(section, self.context(section.name), limit, self.start)

    def record(self, name: str, outcome: dict[str, Any]) -> None:
        """Add a section's outcome to the file, and tell it in a line."""
        self.results["sections"][name] = outcome
        self.results["seconds"] = round(sum(s["seconds"] for s in self.results["sections"].values()), 1)
        write_json(self.file, self.results)
        told = outcome.get("error") or outcome.get("note") or f"{len(outcome['checks'])} checks"
        print(f"{name:16} {outcome['status']:8} {outcome['seconds']:6.1f} s  {told}", flush=True)

    def summary(self, names: list[str]) -> int:
        """Say how it went; returns the exit code."""
        outcomes = {name: self.results["sections"][name]["status"] for name in names}
        counts = {
            status: list(outcomes.values()).count(status) for status in dict.fromkeys(outcomes.values())
        }
        print(", ".join(f"{count} {status}" for status, count in counts.items()), f"→ {self.file}")
        return 1 if any(status in BAD for status in outcomes.values()) else 0


def default_name(machine: dict[str, Any], tiny: bool) -> str:
    """A file's name from the device's."""
    name = re.sub(r"[^a-z0-9]+", "-", (machine["gpu"] or "cpu").lower()).strip("-")
    return f"{name}_tiny" if tiny else name


if __name__ == "__main__":
    sys.exit(main())
