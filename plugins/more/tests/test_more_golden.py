"""MoRe's two-view loss, through the decoder: with the authors' emissions ours has their terms and their sum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from golden import CLOSE, golden_files
from mmkit.batch import Batch, States
from mmkit.data.types import Example
from mmkit_more.agreement import tag_agreement
from mmkit_more.tagger import ContextTagger

TYPES = ["a", "b"]  # in BIOES nine tags with O, as many as in the golden files


def tagger_of(golden: dict[str, Tensor], **options: float | bool) -> ContextTagger:
    """A tagger whose emissions are the states it is given."""
    tagger = ContextTagger(types=TYPES, **options)  # type: ignore[arg-type]
    K = len(golden["start_transitions"])
    tagger.build({"tokens": K}, {"types": TYPES, "tags": list(tagger.tag_set(TYPES).names)})
    tagger.linear.weight = nn.Parameter(torch.eye(K))
    tagger.linear.bias = nn.Parameter(torch.zeros(K))
    tagger.crf.load_state_dict({name: golden[name] for name in tagger.crf.state_dict()})
    return tagger


def states_of(golden: dict[str, Tensor]) -> States:
    """The authors' emissions as states: a subword a word, the context's none."""
    mask = golden["mask"].bool()
    position = torch.arange(mask.shape[1]).expand_as(mask).masked_fill(~mask, -1)
    alignment = {"mask": mask, "word_index": position, "first_subword": position}
    plain = {"tokens": golden["original_emissions"], **alignment}
    return States(
        {"tokens": golden["extended_emissions"], **alignment, **{f"plain.{k}": v for k, v in plain.items()}}
    )


@pytest.mark.parametrize("file", golden_files("more_crf"))
def test_golden_two_view_loss(file: Path) -> None:
    golden = load_file(file)
    tagger, states = tagger_of(golden, two_views=True, word_dropout=0.0), states_of(golden)
    losses = tagger.train().loss(states, {"tags": golden["tags"]})
    torch.testing.assert_close(2 * losses["nll"], golden["nll_extended"].squeeze(), **CLOSE)
    torch.testing.assert_close(2 * losses["plain_nll"], golden["nll_original"].squeeze(), **CLOSE)
    torch.testing.assert_close(2 * losses["agreement"], golden["kl"].squeeze(), **CLOSE)
    torch.testing.assert_close(sum(losses.values()), golden["multiview_loss"].squeeze(), **CLOSE)


@pytest.mark.parametrize("file", golden_files("more_crf"))
def test_golden_one_view_and_posteriors(file: Path) -> None:
    golden = load_file(file)
    tagger, states, mask = tagger_of(golden), states_of(golden), golden["mask"].bool()
    losses = tagger.eval().loss(states, {"tags": golden["tags"]})
    torch.testing.assert_close(losses, {"nll": golden["nll_extended"].squeeze()}, **CLOSE)
    posterior = tagger.crf.log_marginals(golden["original_emissions"], mask)
    torch.testing.assert_close(posterior[mask], golden["posterior_original"][mask], **CLOSE)
    kl = tag_agreement(tagger.crf, golden["extended_emissions"], golden["original_emissions"], mask)
    torch.testing.assert_close(kl, golden["kl"].squeeze(), **CLOSE)


@pytest.mark.parametrize("file", golden_files("more_crf"))
def test_golden_paths(file: Path) -> None:
    golden = load_file(file)
    tagger, states = tagger_of(golden).eval(), states_of(golden)
    states.tensors["tokens"] = golden["original_emissions"]
    emissions, mask = tagger.emissions(states)
    tags, _ = tagger.tag(emissions, mask)
    assert torch.equal(tags, golden["viterbi"])
    examples = tuple(Example.from_tokens(str(i), ["w"] * int(n)) for i, n in enumerate(mask.sum(1)))
    spans = [len(p.spans) for p in tagger.decode(states, Batch(examples, {}))]
    assert spans == [len(tagger.tags.chunks(row[None].numpy()).row) for row in golden["viterbi"]]
