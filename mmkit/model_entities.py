"""From a recipe to the entity side of its model, and checks that its parts fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.access.network import without_network
from mmkit.config.entities import EntitySettings
from mmkit.config.values import construct
from mmkit.data.types import Entity
from mmkit.decoders.abilities import LinksEntities
from mmkit.decoders.base import Decoder
from mmkit.encoders.base import Encoder
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import MissingImages
from mmkit.entities.one_vector import OneVector
from mmkit.entities.side import EntitySide
from mmkit.errors import PartError, RecipeError, did_you_mean, from_files
from mmkit.fusers.base import Fuser
from mmkit.fusers.needs import Needs
from mmkit.scorers.cosine import CosineScorer

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

SECTION = "model.entities"
PARTS = ("encoders", "fuser", "scorer", "reranker")


def entity_side(recipe: Recipe, encoders: Mapping[str, Encoder], decoder: Decoder) -> EntitySide | None:
    """The entity side of a recipe, not yet built; None for a decoder that does not link.

    Without `[model.entities]` it is the encoder of `[model.encoders]` that the decoder names, and a cosine. Raises
    `RecipeError` for a section without encoders, or with several encoders and no fuser.
    """
    config = recipe.config["model"].get("entities")
    if config is None:
        name = decoder.entity_encoder
        if name is None or name not in encoders:
            return None  # or there is no encoder of that name, which is reported elsewhere
        return EntitySide({name: encoders[name]}, OneVector(name), CosineScorer(), lent=True)
    own: dict[str, Encoder] = {
        name: recipe.build(f"{SECTION}.encoders.{name}") for name in recipe.parts(f"{SECTION}.encoders")
    }
    if not own or ("fuser" not in config and len(own) > 1):
        lacks = "a fuser, because it has several encoders" if own else "an encoder"
        raise RecipeError(
            f"[{SECTION}] needs {lacks}",
            where=recipe.path,
            hint=f"add [{SECTION}.{'fuser' if own else 'encoders.text'}]",
            code="recipe.entity-side",
        )
    fuser = recipe.build(f"{SECTION}.fuser") if "fuser" in config else OneVector(next(iter(own)))
    scorer = recipe.build(f"{SECTION}.scorer") if "scorer" in config else CosineScorer()
    reranker = recipe.build(f"{SECTION}.reranker") if "reranker" in config else None
    settings = construct({k: v for k, v in config.items() if k not in PARTS}, EntitySettings)
    return EntitySide(own, fuser, scorer, reranker, settings)


def entity_problems(
    side: EntitySide,
    encoders: Mapping[str, Encoder],
    fuser: Fuser,
    decoder: Decoder,
    part: Callable[[str, str], str],
) -> list[str]:
    """Why an entity side does not fit the rest of a model, one line each; `part` names a section's part."""
    problems: list[str] = []
    if not side.lent and not isinstance(decoder, LinksEntities):
        return [f"{SECTION}: {part('decoder', 'decoders')} links to no entities; remove this section"]
    at = "model.encoders" if side.lent else f"{SECTION}.encoders"
    own = side.named_encoders
    for name, encoder in own.items():
        says_nothing = type(encoder).check_reads is Encoder.check_reads and not isinstance(
            encoder, ItemEncoder
        )
        if not side.lent and says_nothing:  # an encoder of a view's words, say
            problems.append(
                f"{at}.{name}: this encoder cannot read entities (a text encoder needs a `source`)"
            )
            continue
        try:
            encoder.check_reads(Entity)
        except PartError as error:
            problems.append(f"{at}.{name}: {error.what}; {error.hint}")
    for name, other in side.settings.share.items():
        if name not in own:
            problems.append(f"{SECTION}.share: there is no [{at}.{name}]; {did_you_mean(name, own)}")
        if other not in encoders:
            problems.append(
                f"{SECTION}.share: there is no [model.encoders.{other}]; {did_you_mean(other, encoders)}"
            )
    problems += _fuser_problems(side, part)
    if isinstance(decoder, LinksEntities):
        problems += _scorer_problems(side, fuser, decoder, part)
    return problems


def _fuser_problems(side: EntitySide, part: Callable[[str, str], str]) -> list[str]:
    if side.lent:
        return []
    problems, own = [], side.own_encoders
    name = _named(side.fuser, "entities.fuser", "fusers", part)
    wanted = side.fuser.requires()
    for encoder, needs in wanted.items():
        if encoder not in own:
            problems.append(
                f"{SECTION}.fuser: {name} asks for an encoder named {encoder!r}; {did_you_mean(encoder, own)}"
            )
            continue
        at = f"entities.encoders.{encoder}"
        unmet = Needs.of(needs).unmet(own[encoder], name, part(at, "encoders"))
        problems += [f"model.{at}: {problem}" for problem in unmet]
    for encoder in sorted(set(own) - set(wanted)):
        problems.append(
            f"{SECTION}.encoders.{encoder}: {name} does not use this encoder; remove it or name it"
        )
    return problems


def _scorer_problems(
    side: EntitySide, fuser: Fuser, decoder: LinksEntities, part: Callable[[str, str], str]
) -> list[str]:
    problems = []
    for section, scorer in (("scorer", side.scorer), ("reranker", side.reranker)):
        if scorer is None:
            continue
        name = (
            part("decoder", "decoders")
            if side.lent
            else _named(scorer, f"entities.{section}", "scorers", part)
        )
        at = "model.decoder" if side.lent else f"{SECTION}.{section}"
        lacking = sorted(scorer.requires - fuser.provides)
        if lacking:
            problems.append(
                f"{at}: {name} needs {', '.join(lacking)}, but {part('fuser', 'fusers')} provides "
                f"{', '.join(sorted(fuser.provides))}"
            )
        lacking = sorted(scorer.entity_requires - side.fuser.provides)
        if lacking and not side.lent:
            problems.append(
                f"{at}: {name} needs {', '.join(lacking)} of entities, but "
                f"{_named(side.fuser, 'entities.fuser', 'fusers', part)} provides "
                f"{', '.join(sorted(side.fuser.provides))}"
            )
    try:
        decoder.check_scorer(side.scorer)
    except PartError as error:
        problems.append(f"model.decoder: {error.what}; {error.hint}")
    return problems


def _named(built: Any, section: str, station: str, part: Callable[[str, str], str]) -> str:
    """The registered name of a part; if the recipe left the section out, the name of its class."""
    try:
        return part(section, station)
    except KeyError:
        return type(built).__name__


def of_other_run(folder: Path | None) -> AbstractContextManager[None]:
    """What is around building an encoder from the files of another run, which may be anybody's: nobody is contacted."""
    return nullcontext() if folder is None else without_network(folder.parent.parent)


def build_entity_encoders(
    side: EntitySide,
    recipe: Recipe,
    encoders: Mapping[str, Encoder],
    special_tokens: Sequence[str],
    saved: Path | None,
    fetch_frozen: bool,
    missing: MissingImages,
    seed: Callable[[str], None],
    folders: Mapping[str, Path],
) -> list[PartError]:
    """Build the side's own encoders after the model's `encoders`, whose networks they may share; as `assemble` does.

    Returns the errors of those that cannot be made.
    """
    errors: list[PartError] = []
    for name, encoder in side.own_encoders.items():
        if isinstance(encoder, ItemEncoder):
            encoder.missing = missing
        seed(f"entities.encoders.{name}")
        folder = saved / "entities" / name if saved else None
        folder = None if encoder.frozen and fetch_frozen else folder
        begun = folders.get(f"{SECTION}.encoders.{name}")
        try:
            with from_files(begun or folder, f"the encoder {name!r} of entities"), of_other_run(begun):
                encoder.build(special_tokens, begun or folder)
        except PartError as error:
            errors.append(error.at(error.where or f"{recipe.path}: [{SECTION}.encoders.{name}]"))
        if encoder.frozen:
            encoder.requires_grad_(False)
    if not errors:
        side.share(encoders)
    return errors


def build_entity_side(side: EntitySide, recipe: Recipe, fuser: Fuser, seed: Callable[[str], None]) -> None:
    """Build the side's fuser and scorers, now that the mentions' `fuser` is built; `seed` seeds by name.

    Raises `PartError`, and `RecipeError` for widths that cannot be compared.
    """
    seed("entities.fuser")
    side.fuser.build(side.named_encoders)
    for name, scorer in (("scorer", side.scorer), ("reranker", side.reranker)):
        if scorer is None:
            continue
        seed(f"entities.{name}")
        try:
            scorer.build(fuser.dims, side.fuser.dims)
        except PartError as error:
            if not side.lent:
                raise error.at(error.where or f"{recipe.path}: [{SECTION}.{name}]") from error
            encoder = next(iter(side.named_encoders))
            query, entity = fuser.dims.get("query"), side.fuser.dims["pooled"]
            raise RecipeError(
                f"the query has width {query}, but entities of model.encoders.{encoder} have width {entity}",
                where=recipe.path,
                hint=f"set model.fuser.dim to {entity}",
                code="recipe.query-width",
            ) from error
