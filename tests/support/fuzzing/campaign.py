"""Fuzzing for as long as one likes: `make fuzz`, or `python -m fuzzing.campaign --minutes 60`.

Cases run in a process of their own, which is ended when one takes longer than 20 seconds or more than 2 GB. What
failed is kept in `.fuzz/failures.jsonl`, and is tried first the next time; what is done is kept too, so that a campaign
goes on where the last one stopped. `--case NAME:NUMBER` repeats one with its traceback.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

SECONDS = 20.0
BYTES = 2_000_000_000
SHARES = {"run": 0.15, "index": 0.3, "chat": 0.5}
"""Of the cases of other kinds, for those that take long."""


def main() -> int:
    options = _options()
    if options.case:
        return _repeat(options.case)
    kept = Path(options.folder)
    kept.mkdir(parents=True, exist_ok=True)
    state = Campaign(kept)
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="mmkit-fuzz-") as scratch:
        state.run(Path(scratch), deadline, options.cases, options.only)
    print(state.summary())
    return 1 if state.failures() else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzzing.campaign", description="Damage files, and read them.")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("FUZZ_MINUTES", "60")))
    parser.add_argument("--cases", type=int, default=10**9, help="stop after so many, of all targets")
    parser.add_argument("--folder", default=".fuzz", help="where failures and progress are kept")
    parser.add_argument("--only", default="", help="targets whose name begins so")
    parser.add_argument("--case", help="repeat one: NAME:NUMBER")
    return parser.parse_args()


class Campaign:
    """Cases in rounds over all targets, and what came of them."""

    def __init__(self, folder: Path) -> None:
        self.failed, self.progress = folder / "failures.jsonl", folder / "progress.json"
        known = json.loads(self.progress.read_text()) if self.progress.exists() else {}
        self.next: dict[str, int] = known.get("next", {})
        self.ended: Counter[str] = Counter(known.get("ended", {}))
        self.slowest: list[Any] = known.get("slowest", [0.0, ""])
        self.largest: list[Any] = known.get("largest", [0, ""])
        self.new = 0

    def failures(self) -> list[dict[str, Any]]:
        """Those that are kept, each case once."""
        if not self.failed.exists():
            return []
        lines = self.failed.read_text(encoding="utf-8").splitlines()
        return list({(f["target"], f["number"]): f for f in map(json.loads, lines)}.values())

    def run(self, scratch: Path, deadline: float, most: int, only: str) -> None:
        from fuzzing.targets import names

        wanted = [name for name in names() if name.startswith(only)]
        self._again(scratch, wanted)
        while time.monotonic() < deadline and self.new < most:
            for name in wanted:
                left = deadline - time.monotonic()
                if left <= 0 or self.new >= most:
                    break
                count = max(5, round(400 * SHARES.get(name.partition("/")[0], 1.0)))
                first = self.next.get(name, 0)
                self._batch(scratch, name, range(first, first + min(count, most - self.new)), left)

    def _again(self, scratch: Path, wanted: list[str]) -> None:
        """What failed before: cases that are right now are forgotten."""
        before = [f for f in self.failures() if f["target"] in wanted]
        others = [f for f in self.failures() if f["target"] not in wanted]
        self.failed.write_text("".join(json.dumps(f) + "\n" for f in others), encoding="utf-8")
        for failure in before:
            self._batch(scratch, failure["target"], [failure["number"]], 60.0, again=True)

    def _batch(
        self, scratch: Path, name: str, numbers: range | list[int], left: float, again: bool = False
    ) -> None:
        """Run cases in a process, and watch it."""
        waiting = list(numbers)
        while waiting and left > 0:
            began = time.monotonic()
            folder = Path(tempfile.mkdtemp(dir=scratch))
            results, sender = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("fork").Process(
                target=_work, args=(sender, name, waiting, folder, began + left)
            )
            process.start()
            sender.close()
            waiting = self._watch(name, waiting, process, results, again)
            left -= time.monotonic() - began
        if not again:
            self._save()

    def _watch(self, name: str, waiting: list[int], process: Any, results: Any, again: bool) -> list[int]:
        """Take results until the process ends; the cases that are left."""
        waiting = list(waiting)
        ready = False
        since = time.monotonic()
        while True:
            try:
                if results.poll(0.2):
                    result = results.recv()
                    since = time.monotonic()
                    if result is None:
                        ready = True
                        continue
                    self._note(name, waiting.pop(0), result, again)
                    continue
            except EOFError:
                process.join()
                if process.exitcode == 0:
                    return []
                reason = f"the process died ({process.exitcode})"
            else:
                if not ready and time.monotonic() - since < 300:
                    continue
                took, held = time.monotonic() - since, _resident(process.pid)
                if took < SECONDS and held < BYTES * 1.5:
                    continue
                reason = (
                    f"it took more than {SECONDS:.0f} s" if took >= SECONDS else f"it took {held:,} bytes"
                )
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            if not ready:
                raise SystemExit(f"{name} cannot be made: {reason}")
            self._note(
                name, waiting.pop(0), {"end": "FAILED", "why": reason, "seconds": 0.0, "bytes": 0}, again
            )
            return waiting

    def _note(self, name: str, number: int, result: dict[str, Any], again: bool) -> None:
        case = f"{name}:{number}"
        if not again:
            self.new += 1
            self.next[name] = number + 1
            self.ended[result["end"]] += 1
        self.slowest = max(self.slowest, [round(result["seconds"], 2), case])
        self.largest = max(self.largest, [result["bytes"], case])
        if result["end"] == "FAILED":
            print(f"FAILED {case}: {result['why']}\n  again: make fuzz CASE={case}", flush=True)
            kept = {"target": name, "number": number, "why": result["why"], "where": result.get("where", "")}
            with self.failed.open("a", encoding="utf-8") as file:
                file.write(json.dumps(kept) + "\n")

    def _save(self) -> None:
        kept = {"next": self.next, "ended": self.ended, "slowest": self.slowest, "largest": self.largest}
        self.progress.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def summary(self) -> str:
        total = sum(self.ended.values())
        codes = len([code for code in self.ended if code not in ("read", "FAILED")])
        lines = [
            f"{total:,} cases, {self.new:,} of them now: {self.ended['read']:,} were read, the others ended in one "
            f"message, of {codes} codes; {len(self.failures())} fail",
            f"the longest took {self.slowest[0]} s ({self.slowest[1]})",
            f"the most memory was {self.largest[0] / 1e6:,.0f} MB ({self.largest[1]})",
        ]
        return "\n".join([*lines, *(f"  {f['target']}:{f['number']}  {f['why']}" for f in self.failures())])


def _work(sender: Any, name: str, numbers: list[int], folder: Path, deadline: float) -> None:
    """Run cases, one after the other, and send how each ended. In a process of its own."""
    from fuzzing.target import run_case
    from fuzzing.targets import make
    from mmkit import registry

    os.environ["MMKIT_CACHE"] = str(folder / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    _silence()
    registry.entry_points = functools.cache(
        registry.entry_points
    )  # installed packages don't change meanwhile
    target = make(name, folder / "target")
    sender.send(None)
    for number in numbers:
        if time.monotonic() > deadline:
            break
        Path("/proc/self/clear_refs").write_text("5")  # the peak of the resident memory begins anew
        began = time.monotonic()
        result: dict[str, Any] = {}
        try:
            result["end"], _ = run_case(target, rng_of(name, number))
        except BaseException as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            result = {"end": "FAILED", "why": said, "where": f"{frame.filename}:{frame.lineno}"}
        result |= {"seconds": time.monotonic() - began, "bytes": _peak()}
        if result["end"] != "FAILED" and result["seconds"] > SECONDS:
            result |= {"end": "FAILED", "why": f"it took {result['seconds']:.0f} s"}
        if result["end"] != "FAILED" and result["bytes"] > BYTES:
            result |= {"end": "FAILED", "why": f"it took {result['bytes']:,} bytes"}
        sender.send(result)
    sender.close()
    os._exit(0)


def rng_of(name: str, number: int) -> Random:
    """The random numbers of a case."""
    return Random(f"{name}:{number}")


def _silence() -> None:
    """Without what libraries say by themselves; native code's words go nowhere, too."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


def _repeat(case: str) -> int:
    """Run one case, and show what it ends in."""
    from fuzzing.target import run_case
    from fuzzing.targets import make

    name, _, number = case.rpartition(":")
    with tempfile.TemporaryDirectory(prefix="mmkit-fuzz-") as scratch:
        os.environ["MMKIT_CACHE"] = f"{scratch}/cache"
        os.environ["HF_HUB_OFFLINE"] = "1"
        target = make(name, Path(scratch) / "target")
        began = time.monotonic()
        end, told = run_case(target, rng_of(name, int(number)))
        print(f"{case}: {end} in {time.monotonic() - began:.2f} s; damaged: {', '.join(told)}")
    return 0


def _status(pid: int | str, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _resident(pid: int) -> int:
    return _status(pid, "VmRSS")


def _peak() -> int:
    return _status("self", "VmHWM")


if __name__ == "__main__":
    sys.exit(main())
