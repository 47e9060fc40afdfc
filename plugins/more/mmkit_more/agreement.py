"""The divergence of a model's distributions with and without a context: the third term of the two-view loss.

MoRe (Wang et al., 2022) takes it from cooperative learning (Wang et al., ACL 2021). Both functions give KL(with ‖
without) of distributions softened by a temperature T: their logarithms are divided by T and normalised again, and the
divergence is multiplied by T². No gradient flows into the view with context: it teaches, the other view learns.
Everything is computed in float32 at least.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.decoders.crf import LinearChainCRF
from mmkit.errors import RecipeError


def tag_agreement(
    crf: LinearChainCRF, with_context: Tensor, without: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Divergence of the tags' posteriors (a CRF's marginals), summed over words, mean over sentences: a scalar.

    Emissions are `[B, W, K]` of each view, `mask [B, W]` is True on each sentence's words. Those with context get
    no gradient, but the CRF's transitions get one through both views, as in the authors' code.
    """
    emissions = torch.cat([with_context.detach(), without])  # one pass over the words for both views
    teacher, learner = crf.log_marginals(emissions, mask.repeat(2, 1)).chunk(2)
    return _divergence(teacher, learner, temperature) / len(mask)  # 0 at masked words, where both are uniform


def class_agreement(with_context: Tensor, without: Tensor, temperature: float = 1.0) -> Tensor:
    """Divergence of the distributions over classes of logits `[B, R]`, mean over the batch: a scalar."""
    dtype = torch.promote_types(with_context.dtype, torch.float32)
    return _divergence(with_context.detach().to(dtype), without.to(dtype), temperature) / len(without)


def check_two_views(context: str | None, two_views: bool, temperature: float) -> None:
    """Raise `RecipeError` for invalid settings of a decoder's two views."""
    if two_views and context is None:
        raise RecipeError(
            "two_views = true, but without a context both views are the same",
            where="model.decoder.two_views",
            hint="name the note that holds the context, or set two_views = false",
            code="more.one-view",
        )
    if temperature <= 0:
        raise RecipeError(
            f"temperature must be more than 0, not {temperature}",
            where="model.decoder.temperature",
            code="part.setting",
        )


def _divergence(teacher: Tensor, learner: Tensor, temperature: float) -> Tensor:
    """KL · T², summed over everything, of log-scores `[..., K]`."""
    p, q = ((scores / temperature).log_softmax(-1) for scores in (teacher, learner))
    return F.kl_div(q, p, reduction="sum", log_target=True) * temperature**2
