"""What a search found: the table of its trials, the best recipe, and how much each setting matters."""

from __future__ import annotations

import json
import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mmkit.files import atomic, write_json
from mmkit.terminal.rendering import Terminal
from mmkit_search.storage import Search
from mmkit_search.written import ENOUGH, IMPORTANCE, TOO_FEW, TRIALS, name_of, shown

STATES = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}
SHOWN = 10
"""Trials in the table on a terminal."""


def trials_of(search: Search) -> list[FrozenTrial]:
    """All trials, in their order."""
    return search.study.get_trials(deepcopy=False)


def best_of(search: Search) -> FrozenTrial | None:
    """The completed trial with the highest score, the first of equal ones."""
    complete = [t for t in trials_of(search) if t.state == TrialState.COMPLETE and t.value is not None]
    return max(complete, key=value_of, default=None)


def value_of(trial: FrozenTrial) -> float:
    """The score of a trial that has one."""
    assert trial.value is not None
    return trial.value


def row(search: Search, trial: FrozenTrial) -> dict[str, Any]:
    """A trial as a line of `trials.jsonl`. The score of a pruned one is that of its last epoch."""
    return {
        "trial": trial.number + 1,
        "state": STATES[trial.state],
        "score": trial.value,
        "epoch_scores": {str(epoch): score for epoch, score in sorted(trial.intermediate_values.items())},
        "settings": search.plan.settings_of(trial.params),
        "run": search.run_folder(trial.number).relative_to(search.folder).as_posix(),
        **({"error": trial.user_attrs["error"]} if "error" in trial.user_attrs else {}),
    }


def write_results(search: Search) -> None:
    """Write `trials.jsonl`, `importance.json` and `best.cfg`; the caller holds the search's lock."""
    with atomic(search.folder / TRIALS) as file:
        for trial in trials_of(search):
            file.write(json.dumps(row(search, trial), ensure_ascii=False) + "\n")
    write_json(search.folder / IMPORTANCE, importance(search))
    best = best_of(search)
    if best is not None:
        with atomic(search.best_file) as file:
            file.write(f"# The best settings that `mmkit search` found: trial {best.number + 1}, ")
            file.write(f"{score_name(search)} {best.value:.4f} on the development split.\n\n")
            file.write(search.plan.recipe_of(best.params).to_str())


def score_name(search: Search) -> str:
    """The score that is made as high as possible."""
    return name_of(search.plan.recipe.training.score)


def importance(search: Search) -> dict[str, float]:
    """How much each setting matters, as parts of 1 (PED-ANOVA); empty if there are too few completed trials."""
    complete = [t for t in trials_of(search) if t.state == TrialState.COMPLETE]
    if len(complete) < ENOUGH or len({t.value for t in complete}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}


def report(search: Search) -> None:
    """Write everything, and print the best trials and settings."""
    with search.locked():
        write_results(search)
        matters = importance(search)
    from rich.markup import escape
    from rich.table import Table

    trials = trials_of(search)
    terminal, best = Terminal(), best_of(search)
    ordered = sorted((t for t in trials if t.value is not None), key=value_of, reverse=True)
    if ordered:
        more = f" (the best {SHOWN} of {len(trials)})" if len(ordered) > SHOWN else ""
        table = Table(title=f"trials{more}", title_justify="left")
        for name in ("trial", "state", score_name(search), *search.plan.space):
            table.add_column(escape(name))
        for trial in ordered[:SHOWN]:
            settings = search.plan.settings_of(trial.params)
            values = [shown(settings.get(name)) for name in search.plan.space]
            cells = [str(trial.number + 1), STATES[trial.state], f"{100 * value_of(trial):.2f}", *values]
            table.add_row(*map(escape, cells))
        terminal.print(table)
    if matters:
        table = Table(title="how much each setting matters", title_justify="left")
        table.add_column("setting")
        table.add_column("part", justify="right")
        for name, part in matters.items():
            table.add_row(escape(name), f"{100 * part:.0f} %")
        terminal.print(table)
    elif best is not None:
        line = TOO_FEW
        terminal.print(line, markup=False, highlight=False, soft_wrap=True)
