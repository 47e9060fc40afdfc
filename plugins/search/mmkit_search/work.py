"""Running the trials of a search: one after the other in this process, or in several processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from optuna.trial import TrialState

from mmkit import Interrupted, MMKitError
from mmkit.training.stopping import StopSignal
from mmkit_search.results import best_of, score_name, trials_of, write_results
from mmkit_search.storage import Claimed, Search
from mmkit_search.trial import Options, Outcome, run_trial, tidy
from mmkit_search.written import shown

PATIENCE = 60
"""Seconds in which a worker that is asked to stop must have saved its trial."""


def work(search: Search, options: Options) -> None:
    """Run trials until `options.trials` of them are over, or the time is up.

    Raises `MMKitError` for what no other settings can help with, and `Interrupted` on Ctrl-C or SIGTERM. The trial in
    progress is continued by the next call.
    """
    told: set[str] = set()
    with search.locked():
        tidy(search, options.keep)
    with _stopping(search, options):
        while not (options.is_over or options.is_orphan):
            claimed = search.claim(options.trials)
            if claimed is None:
                break
            try:
                outcome = run_trial(search, claimed, options, told)
                if outcome is None:
                    break
                _end(search, claimed, outcome, options)
            finally:
                claimed.lock.release()


def _end(search: Search, claimed: Claimed, outcome: Outcome, options: Options) -> None:
    """Record how a trial ended, remove what is not to be kept, and say it."""
    with search.locked():
        if outcome.error:
            claimed.trial.set_user_attr("error", outcome.error)
        search.study.tell(claimed.trial, outcome.score, outcome.state)
        tidy(search, options.keep)
        write_results(search)
    over = sum(t.state.is_finished() for t in trials_of(search))
    settings = search.plan.settings_of(claimed.frozen.params)
    parts = ", ".join(f"{name} = {shown(value)}" for name, value in settings.items())
    what = {
        TrialState.COMPLETE: f"{score_name(search)} {100 * (outcome.score or 0.0):.2f}",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: f"failed: {outcome.error}",
    }[outcome.state]
    best = best_of(search)
    so_far = f"; best: {100 * (best.value or 0.0):.2f} (trial {best.number + 1})" if best else ""
    options.say(
        f"trial {claimed.frozen.number + 1} ({over} of {options.trials} done): {what} with {parts}{so_far}"
    )


@contextlib.contextmanager
def _stopping(search: Search, options: Options) -> Iterator[None]:
    """Turn a request to stop into one line that says how to go on."""
    with StopSignal() as stop:
        try:
            yield
        except Interrupted as error:
            raise _stopped(search, options, error.exit_code) from None
        except KeyboardInterrupt:
            raise _stopped(search, options, stop.exit_code) from None


def _stopped(search: Search, options: Options, exit_code: int) -> Interrupted:
    over = sum(t.state.is_finished() for t in trials_of(search))
    error = Interrupted(
        f"stopped; {over} of {options.trials} trials are done, run the same command again to go on",
        where=search.folder,
        code="search.interrupted",
    )
    error.exit_code = exit_code
    return error


def work_together(search: Search, options: Options, workers: int, words: Sequence[str]) -> None:
    """Start `workers` processes of `mmkit search` with the arguments `words`, and wait for them.

    Raises `MMKitError` if one of them ends with an error, and `Interrupted` as `work` does.
    """
    command = [sys.executable, "-m", "mmkit", "search", *words]
    with _stopping(search, options):
        # in sessions of their own: Ctrl-C must reach them once, from `_stop`, or they would not wait to save
        processes = [subprocess.Popen(command, start_new_session=True) for _ in range(workers)]
        try:
            codes = [process.wait() for process in processes]
        finally:
            _stop(processes)
    if failed := [code for code in codes if code]:
        over = sum(t.state.is_finished() for t in trials_of(search))
        raise MMKitError(
            f"{len(failed)} of {workers} workers ended early (exit code {failed[0]}), with {over} of {options.trials} "
            f"trials done",
            where=search.folder,
            hint="see the message above; the same command goes on with the other trials",
            code="search.worker",
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask workers that still run to save their trials, and wait for them."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    until = time.monotonic() + PATIENCE
    for process in running:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()  # what it has not saved is computed again
            process.wait()
