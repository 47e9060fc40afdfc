"""The authors' networks: with their weights, imported as a checkpoint's are, ours computes the same.

Each golden file holds the states that went into their code and what came out; weights are regenerated from its salt.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from golden import CLOSE, authors_state, golden_files, salt_of
from linking import Given
from mmkit.batch import Batch, Features
from mmkit.decoders.base import Decoder
from mmkit.model import Model
from mmkit.runs.importing import load_converted
from mmkit_tesga.classifier import RelationClassifier
from mmkit_tesga.convert import TesgaImporter, convert_state
from mmkit_tesga.fuser import SimilarityGated, Task
from mmkit_tesga.tables import TableDecoder

WIDTH = 768


class Words(Given):
    """Gives its inputs back as a text's states."""

    provides = frozenset({"tokens", "mask", "lengths", "similarity"})


def imported(file: Path, form: str, tasks: list[Task], decoder: Decoder) -> Model:
    """mmkit's model with the authors' weights, in the released form: padding is looked at."""
    encoders = {name: Words(WIDTH) for name in ("text", "visual", "similarity")}
    fuser = SimilarityGated(tasks=tasks, mask_padding=False)
    fuser.build(encoders)
    state = authors_state(f"tesga_{form}", salt_of(file))
    labels = TesgaImporter().labels(state)
    decoder.build(fuser.dims, labels)
    model = Model(encoders, fuser, decoder, labels)
    load_converted(model, convert_state(state), file)
    return model.eval()


def batch(golden: Features, targets: Features) -> Batch:
    mask = golden["mask"].T.bool()
    positions = torch.arange(mask.shape[1]).expand(mask.shape)
    lengths = torch.full((len(mask), 1), golden["visual"].shape[1])
    photos = torch.ones(len(mask), 1, dtype=torch.bool)
    inputs = {
        "text": {"tokens": golden["text"], "mask": mask, "first_subword": positions, "word_index": positions},
        "visual": {"tokens": golden["visual"].unsqueeze(1), "lengths": lengths, "mask": photos},
        "similarity": {"similarity": golden["similarity"].unsqueeze(1), "mask": photos},
    }
    return Batch((), inputs, targets)


def marked(labels: Tensor) -> Tensor:
    """The cells that the authors' label table `[T, T, B, R]` marks, `[N, 4]`."""
    return labels.permute(2, 0, 1, 3).nonzero()


def summed(losses: dict[str, Tensor], sentences: int) -> Tensor:
    """The authors' loss: ours, which are means over sentences, summed over them."""
    return sum(loss * sentences for loss in losses.values()).reshape(1)


@pytest.mark.parametrize("file", [*golden_files("tesga_joint"), *golden_files("tesga_ner")])
def test_golden_tables(file: Path) -> None:
    golden, form = load_file(file), file.stem.split("_")[1]
    tasks: list[Task] = ["entities", "relations"] if form == "joint" else ["entities"]
    decoder = TableDecoder(tasks=tasks, mask_padding=False)
    model = imported(file, form, tasks, decoder)
    names = {"entities": "entity", "relations": "relation"}
    given = batch(golden, {task: marked(golden[f"{names[task]}_labels"]) for task in tasks})
    with torch.no_grad():
        states = model.fuser(model.named_encoders, given)
        for task in tasks:
            table = decoder.probabilities(states, task).permute(1, 2, 0, 3)
            torch.testing.assert_close(table, golden[f"{names[task]}_scores"], **CLOSE)
        loss = summed(decoder.loss(states, given.targets), len(golden["text"]))
    torch.testing.assert_close(loss, golden["loss"], **CLOSE)


@pytest.mark.parametrize("file", golden_files("tesga_re"))
def test_golden_relations(file: Path) -> None:
    golden = load_file(file)
    decoder = RelationClassifier(mask_padding=False)
    model = imported(file, "re", ["relations"], decoder)
    given = batch(golden, {"relation": golden["relation_label"]})
    with torch.no_grad():
        states = model.fuser(model.named_encoders, given)
        loss = summed(decoder.loss(states, given.targets), len(golden["text"]))
        logits = decoder.logits(states)
    torch.testing.assert_close(logits, golden["relation_scores"], **CLOSE)
    torch.testing.assert_close(loss, golden["loss"], **CLOSE)
