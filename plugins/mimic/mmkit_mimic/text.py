"""`mimic.text.v1`: CLIP's text tower with the states of all tokens, for mentions and for entities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mmkit.batch import Features
from mmkit.data.types import Entity, Example
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit.encoders.clip_text import ClipTextEncoder
from mmkit.encoders.texts import Texts
from mmkit.errors import PartError
from mmkit.ops.losses import unit

SEPARATOR = " [SEP] "
"""CLIP has no separator: its tokenizer reads this as letters, as in the authors' code."""


class NamedTexts(Texts):
    """`mention [SEP] sentence` of an example, `name [SEP] description` of an entity; all texts are equally long."""

    drops_blanks = False

    def __init__(self) -> None:
        super().__init__("mention_sentence")
        self._length, self._padding = 0, 0

    def set_tokenizer(self, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
        """Cut and pad texts to `max_length` tokens. CLIP pads with its end token."""
        super().set_tokenizer(tokenizer, max_length)
        padding: Any = tokenizer.pad_token_id
        end: Any = tokenizer.eos_token_id
        self._length, self._padding = max_length, end if padding is None else padding

    def identity(self, x: Example | Entity) -> tuple[str, ...]:
        if isinstance(x, Entity):
            return (f"{x.name}{SEPARATOR}{x.description}",)
        return (f"{'' if x.mention is None else x.mention.text}{SEPARATOR}{x.text}",)

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        """Reads both kinds of records."""

    def choice(self) -> Any:
        return {"source": "mimic"}

    def stack(self, loaded: Sequence[Tensor]) -> Features:
        """`input_ids` and `attention_mask [N, max_length]`, int64."""
        ids = torch.full((len(loaded), self._length), self._padding)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(loaded):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "source": "mimic", "padded to": self._length}


class TextTower(ClipTextEncoder):
    """Reads a mention with its sentence, or an entity's name with its description, by CLIP's text tower.

    Texts are cut and padded to `max_length` tokens. `reads_padding` lets padding count as tokens, as in the released
    code: it is then attended to, and a score depends on how far a text is padded.

    Features: `pooled [B, 1, D]`, the projection, of length 1; `tokens [B, 1, T, W]`, the last hidden states, also of
    padding; `token_mask [B, 1, T]`, True where a token counts. `token_dim` is W. Source: the paper's section 4.2 and
    the authors' `codes/model/modeling_mimic.py`.
    """

    provides = frozenset({"pooled", "tokens", "token_mask", "mask"})
    version: ClassVar[str] = "mimic.text.v1"

    def __init__(
        self,
        name: str,
        *,
        reads_padding: bool = False,
        revision: str | None = None,
        max_length: int = 40,
        frozen: bool = False,
        store: bool = True,
    ) -> None:
        if max_length < 3:
            raise PartError(
                f"max_length = {max_length} leaves no token beside start and end", code="part.setting"
            )
        super().__init__(
            name, "mention_sentence", revision=revision, max_length=max_length, frozen=frozen, store=store
        )
        self.source = NamedTexts()
        self.reads_padding, self.token_dim = reads_padding, 0

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        super().build(special_tokens, saved)
        self.token_dim = self.backbone.config.hidden_size

    def network(self, items: Features) -> Features:
        """Features `[N, ...]` of `input_ids` and `attention_mask [N, T]`."""
        seen = self.backbone(input_ids=items["input_ids"], attention_mask=items["attention_mask"])
        real = items["attention_mask"].bool()
        return {
            "pooled": unit(seen.text_embeds),
            "tokens": seen.last_hidden_state,
            "token_mask": torch.ones_like(real) if self.reads_padding else real,
        }

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "reads_padding": self.reads_padding}

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny CLIP, which `mimic.picture.v1` uses too, beside `folder`."""
        return tiny_clip(folder, cls.version, seed, examples)


def tiny_clip(folder: Path, version: str, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
    """The settings of the tiny CLIP that both towers share; `folder` is named after the part `version`."""
    both = folder.with_name(folder.name.replace(version, "mmkit.clip_text.v1"))
    return {"name": str(write_tiny_clip(both, seed, examples)), "revision": None}
