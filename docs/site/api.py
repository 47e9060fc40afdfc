"""Writes docs/api.md, what of mmkit is stable: `python docs/site/api.py`."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmkit

PAGE = Path(__file__).resolve().parents[1] / "api.md"

INTRODUCTION = """\
# The public interface

<!-- Written by docs/site/api.py from mmkit/__init__.pyi and the list in that script: change those. -->

What stands on this page is stable: before it changes, the old form warns, and CHANGELOG says so. Everything has types,
which type checkers see (`py.typed`). mmkit's own plugins use nothing else (a test looks).

```python
import mmkit

model = mmkit.load("runs/demo")
```

`import mmkit` takes no time: a name is imported when it is first used.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "Training, scoring, predicting": (
        *(
            "load_recipe",
            "sampled",
            "train",
            "train_seeds",
            "evaluate",
            "check",
            "load",
            "predict_files",
            "read",
            "build_part",
        ),
        *("Recipe", "Result", "SeedResults", "Spread", "Predictor", "PredictedFiles"),
    ),
    "Records": (
        *(
            "Example",
            "Entity",
            "Prediction",
            "Span",
            "Region",
            "Relation",
            "Mention",
            "Image",
            "Media",
            "Box",
        ),
        *("TextView", "GoldRank"),
    ),
    "Stations: what a plugin's parts derive from": (
        *(
            "Reader",
            "Annotator",
            "Failed",
            "MadeBy",
            "Encoder",
            "ItemEncoder",
            "ItemSource",
            "MissingImages",
            "Fuser",
            "Needs",
        ),
        *("Scorer", "Decoder", "Labels", "Metric", "Batch", "Features", "States"),
    ),
    "Tasks: what a decoder is asked, and what it answers": (
        *("Task", "Input", "Answer", "SpanTask", "PairTask", "JointTask", "LinkTask"),
    ),
    "Errors": (
        *("MMKitError", "RecipeError", "PartError", "DataError", "ImageError", "RunError", "TrainingError"),
        *("Interrupted", "TrainingStopped"),
    ),
    "Plugins and their tests": ("hookimpl", "testing"),
}
"""Title → names. Every name that `mmkit` exports is in one of them (a test looks)."""

PUBLIC_MODULES = (
    "mmkit.annotators.base",
    "mmkit.annotators.makers",
    "mmkit.annotators.pictures",
    "mmkit.annotators.pretrained",
    "mmkit.annotators.run",
    "mmkit.annotators.store",
    "mmkit.batch",
    "mmkit.cache",
    "mmkit.cli.options",
    "mmkit.config.text",
    "mmkit.config.upgrade",
    "mmkit.data.alignment",
    "mmkit.data.conll",
    "mmkit.data.crops",
    "mmkit.data.fingerprints",
    "mmkit.data.image_files",
    "mmkit.data.image_paths",
    "mmkit.data.images",
    "mmkit.data.inside",
    "mmkit.data.jmere",
    "mmkit.data.json_text",
    "mmkit.data.jsonl",
    "mmkit.data.knowledge",
    "mmkit.data.lines",
    "mmkit.data.mnre",
    "mmkit.data.node",
    "mmkit.data.predictions",
    "mmkit.data.problems",
    "mmkit.data.reader",
    "mmkit.data.regular",
    "mmkit.data.sample.names",
    "mmkit.data.sample.pictures",
    "mmkit.data.strings",
    "mmkit.data.tags",
    "mmkit.data.tokenize",
    "mmkit.data.types",
    "mmkit.data.writer",
    "mmkit.decoders.abilities",
    "mmkit.decoders.base",
    "mmkit.decoders.crf",
    "mmkit.decoders.crf_tagger",
    "mmkit.decoders.engines",
    "mmkit.decoders.examined",
    "mmkit.decoders.marked_pairs",
    "mmkit.decoders.pair_classifier",
    "mmkit.decoders.pair_decoder",
    "mmkit.decoders.softmax_tagger",
    "mmkit.decoders.subword_tags",
    "mmkit.decoders.tagger",
    "mmkit.decoders.tagging",
    "mmkit.decoders.viterbi",
    "mmkit.encoders.abilities",
    "mmkit.encoders.base",
    "mmkit.encoders.clip_image",
    "mmkit.encoders.clip_sample",
    "mmkit.encoders.clip_text",
    "mmkit.encoders.item_encoder",
    "mmkit.encoders.items",
    "mmkit.encoders.pictures",
    "mmkit.encoders.sampling",
    "mmkit.encoders.texts",
    "mmkit.encoders.timm_backbone",
    "mmkit.errors",
    "mmkit.files",
    "mmkit.fit",
    "mmkit.fusers.attention",
    "mmkit.fusers.base",
    "mmkit.fusers.needs",
    "mmkit.fusers.pooled",
    "mmkit.fusers.projection",
    "mmkit.hooks",
    "mmkit.inference.devices",
    "mmkit.inference.executor",
    "mmkit.inference.shards.plan",
    "mmkit.inference.shards.schedule",
    "mmkit.inference.shards.work",
    "mmkit.inference.results",
    "mmkit.inspection",
    "mmkit.metrics.base",
    "mmkit.metrics.bootstrap",
    "mmkit.metrics.f1",
    "mmkit.metrics.joint_f1",
    "mmkit.metrics.scoring",
    "mmkit.moved",
    "mmkit.access.network",
    "mmkit.access.secrets",
    "mmkit.ops.dropout",
    "mmkit.ops.losses",
    "mmkit.pages",
    "mmkit.pretrained.networks",
    "mmkit.pretrained.source",
    "mmkit.pretrained.vocabulary",
    "mmkit.registry",
    "mmkit.terminal.rendering",
    "mmkit.runs.folder",
    "mmkit.runs.importing",
    "mmkit.runs.lineage",
    "mmkit.runs.opening",
    "mmkit.scorers.base",
    "mmkit.access.servers",
    "mmkit.tasks",
    "mmkit.tasks.answer",
    "mmkit.tasks.base",
    "mmkit.tasks.notebook",
    "mmkit.files.temporary",
    "mmkit.files.time_limit",
    "mmkit.terminal",
    "mmkit.terminal.notes",
    "mmkit.testing",
    "mmkit.training.schedules",
    "mmkit.trackers",
    "mmkit.training.stopping",
)
"""Building blocks: of these modules, what they define without an underscore before it."""


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION]
    for title, names in GROUPS.items():
        lines.append(f"## {title}\n")
        lines += [f"{entry}\n" for name in names for entry in described(name)]
    lines += [
        "## Building blocks\n",
        "Modules of which a plugin may use everything without an underscore before its name.\n",
        "| module | |\n|---|---|",
        *(f"| `{name}` | {summary(importlib.import_module(name))} |" for name in PUBLIC_MODULES),
    ]
    return "\n".join(lines) + "\n"


def described(name: str) -> Iterator[str]:
    """The entry of a name that `mmkit` exports."""
    found = getattr(mmkit, name)
    home = getattr(found, "__module__", "")
    if inspect.isfunction(found):
        yield f"**`mmkit.{name}{signature(found)}`**  \n{summary(found)}"
    elif inspect.isclass(found) and home.startswith("mmkit"):
        yield f"**`mmkit.{name}`** (`{home}`)  \n{summary(found)}"
    elif inspect.ismodule(found):
        yield f"**`mmkit.{name}`**  \n{summary(found)}"
    else:  # an alias of a type, or what a library made
        yield f"**`mmkit.{name}`**  \n{ALIASES[name]}"


ALIASES = {
    "Box": "`tuple[float, float, float, float]`: left, top, right, bottom in pixels of the picture's file.",
    "Features": "`dict[str, Tensor]`: tensors by name.",
    "Labels": "`dict[str, Any]`: what a decoder learnt of labels, as JSON.",
    "hookimpl": "Marks the implementation of a hook: see `mmkit.hooks` and docs/plugins.md.",
}


def signature(function: Any) -> str:
    """A function's arguments and result as its source has them."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


def summary(documented: Any) -> str:
    """The first paragraph of a docstring, on one line; of a module the first line, without its name of a part."""
    text = inspect.cleandoc(documented.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
