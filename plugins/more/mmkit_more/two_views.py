"""`more.two_views.v1`: the text encoder's states of two views, the second one in training only."""

from __future__ import annotations

from collections.abc import Mapping

from mmkit.batch import Batch, States, of_view
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import ALIGNMENT, Fuser
from mmkit.fusers.needs import Needs

PLAIN = "plain."
"""Before the names of the second view's states."""


def states_of_second(*names: str) -> frozenset[str]:
    """What the second view's states of these names are called."""
    return frozenset(PLAIN + name for name in names)


SECOND = states_of_second("tokens", "mask", "first_subword", "marker_index")


def second_view(states: States) -> States:
    """The second view's states under the names that the main view's have."""
    return States({k.removeprefix(PLAIN): v for k, v in states.tensors.items() if k.startswith(PLAIN)})


class TwoViews(Fuser):
    """Encodes a sentence with its context and, in training, also without it (MoRe; Wang et al., 2022).

    `text` names the encoder, which needs `extra_views = ["plain"]`, and `view` that second view. States: the main
    view's, as `mmkit.text_only.v1` gives them, and in training the second one's `plain.tokens`, `plain.mask`,
    `plain.first_subword` and `plain.marker_index`. To predict, only the main view is read.
    """

    captures = True
    provides: frozenset[str] = frozenset({"tokens", "mask", "pooled"}) | ALIGNMENT
    provides_in_training: frozenset[str] = SECOND

    def __init__(self, text: str = "text", view: str = "plain") -> None:
        super().__init__()
        self.text, self.view = text, view

    def requires(self) -> dict[str, Needs]:
        features = frozenset({"tokens", "mask", "pooled"})
        return {self.text: Needs(features, views=frozenset({self.view}))}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        width = encoders[self.text].dim
        self.dims = {"tokens": width, "pooled": width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        encoder, inputs = encoders[self.text], batch.inputs[self.text]
        states = States.of_text(encoder(inputs), inputs)
        if self.training and batch.targets:  # a mixture that trains its experts along has none for them
            plain = of_view(inputs, self.view)
            second = States.of_text(encoder(plain), plain)
            states.tensors |= {name: second[name.removeprefix(PLAIN)] for name in SECOND}
        return states
