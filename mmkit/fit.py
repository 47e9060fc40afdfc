"""A recipe's parts, and whether they fit together: their declarations are compared before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from mmkit.data.types import Example
from mmkit.decoders.base import Decoder
from mmkit.encoders.base import Encoder
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.entities.side import EntitySide
from mmkit.errors import PartError, RecipeError, did_you_mean
from mmkit.fusers.base import Fuser
from mmkit.fusers.needs import Needs
from mmkit.model_entities import entity_problems, entity_side

if TYPE_CHECKING:
    from mmkit.recipe import Recipe


@dataclass(frozen=True)
class Parts:
    """A recipe's parts as they are constructed: without weights, and before any file is read."""

    encoders: Mapping[str, Encoder]
    fuser: Fuser
    decoder: Decoder
    entity_side: EntitySide | None = None

    @property
    def reading(self) -> dict[str, Encoder]:
        """The encoders that read examples: all but one that only reads the knowledge base."""
        lent = {} if self.entity_side is None else self.entity_side.lent
        return {name: encoder for name, encoder in self.encoders.items() if name not in lent}

    @property
    def encoder_sections(self) -> dict[str, Encoder]:
        """All encoders, by the section of the recipe that names them."""
        own = {} if self.entity_side is None else self.entity_side.own_encoders
        sections = {"model.encoders": self.encoders, "model.entities.encoders": own}
        return {f"{at}.{name}": encoder for at, some in sections.items() for name, encoder in some.items()}


def fitting_parts(recipe: Recipe) -> Parts:
    """A recipe's parts, checked to fit together as far as this is possible without data or weights.

    They are for one model: `assemble` builds them. Raises `RecipeError` if they do not fit.
    """
    encoders = {name: recipe.build(f"model.encoders.{name}") for name in recipe.parts("model.encoders")}
    fuser, decoder = recipe.build("model.fuser"), recipe.build("model.decoder")
    parts = Parts(encoders, fuser, decoder, entity_side(recipe, encoders, decoder))
    check_fit(recipe, parts)
    return parts


def check_fit(recipe: Recipe, parts: Parts) -> None:
    """Refuse parts that do not fit, with both sides of every mismatch in one message."""
    if problems := list(_problems(recipe, parts)):
        raise RecipeError(
            "the parts do not fit:\n  " + "\n  ".join(problems),
            where=recipe.path,
            code="recipe.parts-do-not-fit",
        )


def _problems(recipe: Recipe, parts: Parts) -> Iterator[str]:
    def part(section: str, station: str) -> str:
        """The registered name of a part."""
        return str(recipe.part(f"model.{section}", station))

    encoders, decoder, side = parts.encoders, parts.decoder, parts.entity_side
    needs = {name: Needs.of(wanted) for name, wanted in parts.fuser.requires().items()}
    fuser = part("fuser", "fusers")
    yield from _names(encoders)
    for name, needed in needs.items():
        if name in encoders:
            unmet = needed.unmet(encoders[name], fuser, part(f"encoders.{name}", "encoders"))
            yield from (f"model.encoders.{name}: {problem}" for problem in unmet)
        else:
            yield f"model.fuser: {fuser} asks for an encoder named {name!r}; {did_you_mean(name, encoders)}"
    alone = {decoder.entity_encoder} if side is None or side.lent else set()
    if "entities" not in recipe.config["model"]:
        yield from _one_vector(parts, needs, part("decoder", "decoders"), fuser, part)
    if side is not None:
        yield from entity_problems(side, encoders, parts.fuser, decoder, part)
    yield from _sources({name: encoder for name, encoder in encoders.items() if name not in alone})
    for name in sorted(set(encoders) - set(needs) - alone):
        yield f"model.encoders.{name}: {fuser} does not use this encoder; remove it or name it"
    yield from _windows(parts, needs, decoder, part)
    provided = parts.fuser.provides | parts.fuser.provides_in_training
    if lacking := sorted(decoder.requires - provided):
        yield (
            f"model.decoder: {part('decoder', 'decoders')} needs {', '.join(lacking)}, "
            f"but {fuser} provides {', '.join(sorted(provided)) or 'nothing'}"
        )


def _names(encoders: Iterable[str]) -> Iterator[str]:
    """Names of encoders that cannot be used as names of the run's folders or of weights."""
    for name in encoders:
        if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or hasattr(nn.ModuleDict(), name):
            yield (
                f"model.encoders.{name}: an encoder cannot be called {name!r}; "
                "choose a name of letters and digits"
            )


def _sources(encoders: Mapping[str, Encoder]) -> Iterator[str]:
    """Encoders whose settings make them read what examples do not have."""
    for name, encoder in encoders.items():
        try:
            encoder.check_reads(Example)
        except PartError as error:
            yield f"model.encoders.{name}: {error.what}; {error.hint}"


def _windows(parts: Parts, needs: Iterable[str], decoder: Decoder, part: Any) -> Iterator[str]:
    """Encoders that are set to read windows, for a decoder that needs a text as one."""
    if decoder.reads_windows:
        return
    for name in needs:
        if name in parts.encoders and parts.encoders[name].reads_in_windows:
            yield (
                f"model.encoders.{name}: {part('decoder', 'decoders')} cannot use a text that is read in windows "
                "(taggers and tables can); leave out window_overlap, or raise max_length"
            )


def _one_vector(
    parts: Parts, needs: Mapping[str, Needs], decoder: str, fuser: str, part: Any
) -> Iterator[str]:
    """Reasons why a decoder cannot read the knowledge base with the encoder that it names."""
    name, encoders = parts.decoder.entity_encoder, parts.encoders
    if name is None:
        return
    if name not in encoders:
        yield f"model.decoder: {decoder} asks for an encoder named {name!r}; {did_you_mean(name, encoders)}"
    elif name in needs:
        yield (
            f"model.encoders.{name}: {fuser} reads examples with it, so {decoder} cannot read "
            "the knowledge base with it; add another encoder for that (frozen encoders share one network)"
        )
    elif not isinstance(encoders[name], ItemEncoder) or "pooled" not in encoders[name].provides:
        yield (
            f"model.encoders.{name}: {decoder} needs one vector for each entity, "
            f"which {part(f'encoders.{name}', 'encoders')} does not give (a text encoder needs a `source`)"
        )


def check_causal(parts: Parts) -> None:
    """Refuse a causal language model if the decoder needs states of tokens that have seen the whole text.

    Whether a model is causal is known once the encoders are built. Raises `PartError`.
    """
    for name, wanted in parts.fuser.requires().items():
        reads_tokens = "tokens" in Needs.of(wanted).features
        if reads_tokens and parts.encoders[name].causal and not parts.decoder.reads_causal:
            raise PartError(
                f"this is a causal language model: the state of a word does not see the words after it, but "
                f"{type(parts.decoder).__name__} reads the states of words",
                where=f"model.encoders.{name}",
                hint="use an encoder such as BERT, RoBERTa, XLM-R, DeBERTa, ModernBERT or T5's; a decoder that can use "
                "a causal model, because it generates text, says reads_causal = True",
                code="encoder.causal",
            )
