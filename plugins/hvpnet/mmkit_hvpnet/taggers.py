"""`hvpnet.crf_tagger.v1` and `hvpnet.softmax_tagger.v1`: taggers of every subword."""

from __future__ import annotations

from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.softmax_tagger import SoftmaxTagger
from mmkit.decoders.subword_tags import SubwordTags
from mmkit.decoders.tagging import Scheme


class SubwordCrfTagger(SubwordTags, CrfTagger):
    """Tags every subword with a linear-chain CRF, as HVPNeT does; spans are scored by its marginals.

    `text` names the text encoder, `types` the span types in label order (default: those of the training data,
    sorted). See `SubwordTags` for the tags. Well-formed sequences cannot be enforced: an X does not say which tags
    may follow it.

    Loss `nll`: the negative log-likelihood of a sentence's tags, mean over sentences.
    """

    captures = True

    def __init__(
        self,
        text: str = "text",
        *,
        scheme: Scheme = "bio",
        types: list[str] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(text, scheme=scheme, types=types, dropout=dropout)


class SubwordSoftmaxTagger(SubwordTags, SoftmaxTagger):
    """Tags every subword on its own by a softmax over tags.

    `text` names the text encoder, `types` the span types in label order (default: those of the training data,
    sorted). See `SubwordTags` for the tags.

    Loss `cross_entropy`: mean over a sentence's subwords, then over sentences.
    """

    captures = True

    def __init__(
        self,
        text: str = "text",
        *,
        scheme: Scheme = "bio",
        types: list[str] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(text, scheme=scheme, types=types, dropout=dropout)
