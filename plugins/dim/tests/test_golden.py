"""The authors' network: with their weights, imported as a checkpoint's are, ours computes the same.

Each golden file holds features that went into their code and what came out; weights are regenerated from its salt.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from golden import CLOSE, authors_state, golden_files, salt_of
from linking import Given, attach_golden, golden_features, golden_mentions, weighted
from mmkit.batch import Batch
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.model import Model
from mmkit.ops.losses import n_pair_loss
from mmkit.runs.importing import load_converted
from mmkit_dim.convert import convert_state
from mmkit_dim.fuser import DynamicQuery

ROLES = {"mention": "mention", "text": "text", "photo": "image", "caption": "caption"}
"""Our encoders, and the golden features each gives."""


def imported(file: Path) -> Model:
    """mmkit's model with the authors' weights."""
    encoders = {name: Given() for name in (*ROLES, "entity")}
    fuser = DynamicQuery()
    fuser.build(encoders)
    model = Model(encoders, fuser, EntityMatcher(loss="n_pair", negatives="listed"), {})
    load_converted(model, convert_state(authors_state("dim", salt_of(file))), file)
    return model.eval()


@pytest.mark.parametrize("file", golden_files("dim"))
def test_golden_fuser(file: Path) -> None:
    golden = load_file(file)
    fuser = imported(file).fuser
    with torch.no_grad():
        query = fuser.head(fuser.add(**golden_features(golden, ROLES)))
        loss = n_pair_loss(query, golden["positive"][:, 0], golden["negative"][:, 0])
    torch.testing.assert_close(query, golden["query"], **CLOSE)
    torch.testing.assert_close(loss.reshape(1), golden["loss"], **CLOSE)


@pytest.mark.parametrize("file", golden_files("dim"))
def test_golden_model(file: Path, tmp_path: Path) -> None:
    golden, model = load_file(file), imported(file)
    attach_golden(model.decoder, golden, tmp_path)
    with torch.no_grad():
        examples = golden_mentions(golden, "negative")
        batch = Batch(examples, golden_features(golden, ROLES), model.decoder.targets(examples, {}))
        losses = model(batch)
        asked = golden_mentions(golden, "candidates")
        _, ranks = model.predict_and_rank(Batch(asked, golden_features(golden, ROLES)), asked)
    torch.testing.assert_close(weighted(losses, "dim_wikimel"), golden["loss"], **CLOSE)
    assert [rank.among for rank in ranks if rank is not None] == golden["rank"].tolist()
