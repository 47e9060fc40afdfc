"""`umt.interaction.v1`: words attend to an image's regions and regions to words, over a text encoder's states."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import ALIGNMENT, Fuser
from mmkit.inspection import Inspection, Table
from mmkit.ops.dropout import Dropout
from mmkit_umt.layers import CrossLayer, start


class Interaction(Fuser):
    """The multimodal interaction module of UMT, and the text-only states for its span detection.

    Yu et al., ACL 2020, sections 2.2 and 2.3. Works with any text encoder and any encoder that gives a `grid`, whose
    g × g places are the regions of an image. Of several images, blank ones are masked unless all are blank; a
    single image is never masked.

    States: `tokens [B, T, 2D]`, image-aware words concatenated with gated word-aware visual features;
    `auxiliary [B, T, D]`, from the text alone; `mask [B, T]` and the alignment of words. D is the text encoder's
    width.

    Args:
        text, vision: names of the encoders in the recipe.
        heads: attention heads of every layer.
        hidden: width of the feed-forward networks; None: 4 · D, as in BERT.
        layers: how many layers each cross-modal attention has: words over regions, regions over words, and words
            over the regions that have attended to words.
        dropout: in every layer, and of the text encoder's states.
        initializer_range: standard deviation of the initial weights, called as in BERT's configuration.
    """

    captures = True
    provides: frozenset[str] = frozenset({"tokens", "auxiliary", "mask"}) | ALIGNMENT

    def __init__(
        self,
        text: str = "text",
        vision: str = "vision",
        heads: int = 12,
        hidden: int | None = None,
        layers: tuple[int, int, int] = (1, 1, 1),
        dropout: float = 0.1,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        if heads < 1 or min(layers) < 1 or (hidden is not None and hidden < 1):
            raise ValueError("heads, hidden and layers must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
        if initializer_range <= 0:
            raise ValueError(f"initializer_range must be above 0, not {initializer_range}")
        self.text, self.vision = text, vision
        self.heads, self.hidden, self.layers = heads, hidden, layers
        self.dropout = Dropout(dropout)
        self.initializer_range = initializer_range

    def requires(self) -> dict[str, frozenset[str]]:
        return {self.text: frozenset({"tokens", "mask"}), self.vision: frozenset({"grid", "mask"})}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Make the layers. Raises `PartError` if the text encoder's width is not a multiple of `heads`."""
        width, channels = encoders[self.text].dim, encoders[self.vision].dim

        def layer() -> CrossLayer:
            return CrossLayer(width, self.heads, self.hidden or 4 * width, self.dropout.p)

        def stack(count: int) -> nn.ModuleList:
            return nn.ModuleList(layer() for _ in range(count))

        self.auxiliary = layer()
        self.main = layer()
        self.regions = nn.Linear(channels, width)
        self.asking_regions = nn.Linear(channels, width)
        self.words_over_regions = stack(self.layers[0])
        self.regions_over_words = stack(self.layers[1])
        self.words_over_aware_regions = stack(self.layers[2])
        self.gate = nn.Linear(2 * width, width)
        start(self, self.initializer_range)
        self.dims = {"tokens": 2 * width, "auxiliary": width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        inputs = batch.inputs[self.text]
        text = encoders[self.text](inputs)
        vision = encoders[self.vision](batch.inputs[self.vision])
        states = self.interact(text["tokens"], text["mask"], vision["grid"], vision["mask"])
        shown = ("gate",) if batch.inspecting else ()
        named = {k: states[k] for k in ("tokens", "auxiliary", *shown)}
        return States.of_text(named, inputs, mask=text["mask"])

    def inspect(self, states: States, batch: Batch) -> list[Inspection]:
        """The visual gate of each word (section 2.2), as its mean over the dimensions of the word's first subword.

        Not a number for a word that the text encoder did not read.
        """
        first = states["first_subword"]
        gates = (
            states["gate"].float().mean(-1).gather(1, first.clamp(min=0)).masked_fill(first < 0, torch.nan)
        )
        return [
            {
                "visual gate": Table(
                    x.tokens, ["mean gate"], [[gate] for gate in row[: len(x.tokens)]], by_token=True
                )
            }
            for x, row in zip(batch.examples, gates.tolist(), strict=True)
        ]

    def interact(self, tokens: Tensor, mask: Tensor, grid: Tensor, images: Tensor) -> Features:
        """Every intermediate state, by name, from `tokens [B, T, D]`, `mask [B, T]`, `grid [B, n, C, g, g]` and the
        images' mask `[B, n]`.

        All are `[B, T, D]` except `text_aware_visual [B, n · g², D]` and `tokens [B, T, 2D]`.
        """
        cells = grid.flatten(3).transpose(2, 3).flatten(1, 2)  # [B, n · g², C]
        real = region_mask(images, cells.shape[1])
        hidden = self.dropout(tokens)
        auxiliary = self.auxiliary(hidden, hidden, mask)
        main = self.main(hidden, hidden, mask)
        visual = _through(self.words_over_regions, main, self.regions(cells), real)
        aware = _through(self.regions_over_words, self.asking_regions(cells), main, mask)
        words = _through(self.words_over_aware_regions, main, aware, real)
        gate = torch.sigmoid(self.gate(torch.cat([words, visual], dim=-1)))
        return {
            "auxiliary": auxiliary,
            "main": main,
            "word_aware_visual": visual,
            "text_aware_visual": aware,
            "image_aware_text": words,
            "gate": gate,
            "tokens": torch.cat([words, gate * visual], dim=-1),
        }


def region_mask(images: Tensor, regions: int) -> Tensor | None:
    """Which of an example's `regions` attention may read `[B, regions]`, from its images' mask `[B, n]`; None for all.

    A single image is always read, also if it is blank, and so is the first one if all are blank.
    """
    count = images.shape[1]
    if count == 1:
        return None
    first = torch.arange(count, device=images.device) == 0
    real = images | (first & ~images.any(1, keepdim=True))
    return real.repeat_interleave(regions // count, dim=1)


def _through(layers: nn.ModuleList, asking: Tensor, asked: Tensor, mask: Tensor | None) -> Tensor:
    """A stack of layers: the queries change from layer to layer, keys and values stay the same."""
    for layer in layers:
        asking = layer(asking, asked, mask)
    return asking
