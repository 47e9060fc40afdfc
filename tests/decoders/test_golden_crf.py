"""The CRF part of MoRe (Wang et al., 2022): likelihoods, posteriors, two-view loss and Viterbi paths."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from golden import CLOSE, golden_files
from mmkit.decoders.crf import LinearChainCRF


@pytest.mark.parametrize("file", golden_files("more_crf"))
def test_golden_more_crf(file):
    golden = load_file(file)
    start = golden["start_transitions"]
    crf = LinearChainCRF(len(start))
    crf.load_state_dict({name: golden[name] for name in crf.state_dict()})
    mask, tags = golden["mask"].bool(), golden["tags"]
    original, extended = golden["original_emissions"], golden["extended_emissions"]

    nll_original = -crf.log_likelihood(original, tags, mask).mean()
    nll_extended = -crf.log_likelihood(extended, tags, mask).mean()
    torch.testing.assert_close(nll_original, golden["nll_original"].squeeze(), **CLOSE)
    torch.testing.assert_close(nll_extended, golden["nll_extended"].squeeze(), **CLOSE)

    with_context, without = crf.log_marginals(extended, mask), crf.log_marginals(original, mask)
    torch.testing.assert_close(without[mask], golden["posterior_original"][mask], **CLOSE)

    # Two-view loss: KL(with ‖ without) of the token posteriors, summed over tokens, over the batch size.
    kl = (with_context.exp() * (with_context - without)).sum() / len(mask)
    torch.testing.assert_close(kl, golden["kl"].squeeze(), **CLOSE)
    loss = (nll_original + nll_extended) / 2 + kl / 2
    torch.testing.assert_close(loss, golden["multiview_loss"].squeeze(), **CLOSE)

    assert torch.equal(crf.viterbi(original, mask)[0], golden["viterbi"])
