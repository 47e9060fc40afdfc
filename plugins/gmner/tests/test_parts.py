"""Fuser, matcher and decoder: contracts, losses, and that predictions depend on nothing but the question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from mmkit.batch import Batch, States
from mmkit.data.types import Box, Example, Image, Prediction, Region, Span, TextView
from mmkit.testing import WordEncoder, check_decoder, check_fuser
from mmkit_gmner.decoder import GroundedTagger
from mmkit_gmner.fuser import TokensAndRegions
from mmkit_gmner.task import VISIBLE
from mmkit_gmner.triples import GroundedTriples
from raising import raises
from regions import RegionEncoder

WHOLE, LEFT, RIGHT = (0.0, 0.0, 100.0, 50.0), (0.0, 0.0, 20.0, 20.0), (60.0, 10.0, 90.0, 40.0)


def example(id: str, text: str, spans: Sequence[Span], boxes: Sequence[Box]) -> Example:
    photo = Image(f"{id}.jpg")
    objects = (Image(photo.path, "object", box) for box in boxes)
    return Example.from_tokens(id, text.split(), images=(photo, *objects), spans=tuple(spans))


def at(*boxes: Box) -> tuple[Region, ...]:
    return tuple(Region(0, box) for box in boxes)


def posts() -> list[Example]:
    return [
        example(
            "a", "Ann loves Paris", [Span(0, 1, "PER", at(LEFT)), Span(2, 3, "LOC")], [WHOLE, LEFT, RIGHT]
        ),
        example(
            "b", "look at Bob Miller in Rome", [Span(2, 4, "PER", at(RIGHT)), Span(5, 6, "LOC")], [WHOLE]
        ),
        example(
            "c",
            "Eve and Oslo today , as ever",
            [Span(0, 1, "PER"), Span(2, 3, "LOC", at(WHOLE))],
            [WHOLE, RIGHT],
        ),
        replace(example("d", "Kim", [Span(0, 1, "PER")], []), images=()),
        example("e", "nothing to see", [], [WHOLE, LEFT]),
    ]


def test_the_contracts() -> None:
    encoders = {"text": WordEncoder(), "regions": RegionEncoder()}
    check_decoder("gmner.grounded_tagger.v1", encoders=encoders, fuser=TokensAndRegions(), examples=posts())
    for attend in (False, True):
        check_fuser("gmner.tokens_and_regions.v1", {"attend": attend, "heads": 4})


def built(examples: Sequence[Example], **settings: Any) -> tuple[GroundedTagger, States, Batch]:
    """A decoder on random states of these examples, one subword a word."""
    torch.manual_seed(3)
    decoder = GroundedTagger(dropout=0.0, **settings)
    decoder.build({"tokens": 8, "regions": 8}, decoder.fit([*examples, *posts()]))
    words = max(len(x.tokens) for x in examples)
    regions = max(1, *(sum(i.role == "object" for i in x.images) for x in examples))
    lengths = torch.tensor([len(x.tokens) for x in examples])
    first = (
        torch.arange(words).expand(len(examples), -1).masked_fill(torch.arange(words) >= lengths[:, None], -1)
    )
    there = torch.arange(regions) < torch.tensor(
        [[sum(i.role == "object" for i in x.images)] for x in examples]
    )
    states = States(
        {
            "tokens": torch.randn(len(examples), words, 8),
            "first_subword": first,
            "regions": torch.randn(len(examples), regions, 8) * there.unsqueeze(2),
            "region_mask": there,
        }
    )
    inputs = {"text": {"first_subword": first}}
    questions = tuple(decoder.task.question(x) for x in examples)
    return decoder, states, Batch(questions, inputs, decoder.targets(examples, inputs))


def test_the_losses_are_those_of_the_definition() -> None:
    examples = posts()
    decoder, states, batch = built(examples)
    losses = decoder.loss(states, batch.targets)
    visible = region = 0.0
    for row, own in enumerate(examples):
        objects = [image.box for image in own.images if image.role == "object"]
        for span in own.spans:
            if not objects:
                continue
            mean = states["tokens"][row, span.start : span.end].mean(0)
            kind = decoder.matcher.types.weight[decoder.type_ids[span.label]]
            query = decoder.matcher.query(torch.cat([mean, kind]))
            there = states["regions"][row, : len(objects)]
            scores = torch.stack([decoder.matcher.key(query) @ r / math.sqrt(8) for r in there])
            shares = scores.softmax(0)
            logit = decoder.matcher.visible(torch.cat([query, shares @ there]))[0]
            shown = bool(span.regions)
            visible -= torch.nn.functional.logsigmoid(logit if shown else -logit).item()
            right = [i for i, box in enumerate(objects) if span.regions and box == span.regions[0].box]
            region -= sum(shares[i].log().item() for i in right)  # one region is right, with overlap 1
    assert losses["visible"].item() == pytest.approx(visible / len(examples), rel=1e-4)
    assert losses["region"].item() == pytest.approx(region / len(examples), rel=1e-4)


def test_overlaps_of_a_half_or_more_share_the_target() -> None:
    near, far = (0.0, 0.0, 20.0, 16.0), (0.0, 0.0, 20.0, 9.0)  # 0.8 and 0.45 of LEFT
    own = example("a", "Ann", [Span(0, 1, "PER", at(LEFT))], [LEFT, near, far])
    decoder, states, batch = built([own])
    torch.testing.assert_close(batch.targets["overlap"], torch.tensor([[1.0, 0.8, 0.45]]))
    predicted = decoder.matcher(states, _spans(batch)).regions[0]
    wanted = torch.tensor([1 / 1.8, 0.8 / 1.8])
    expected = (wanted * (wanted.log() - predicted[:2])).sum()
    torch.testing.assert_close(decoder.loss(states, batch.targets)["region"], expected)


def _spans(batch: Batch) -> Any:
    from mmkit_gmner.matcher import Spans

    return Spans(*batch.targets["spans"].unbind(1))


def test_what_is_learnt_of_names_that_no_region_shows() -> None:
    own = example("a", "Ann", [Span(0, 1, "PER", at(LEFT))], [WHOLE])
    logits = []
    for uncovered in ("visible", "none"):
        decoder, states, batch = built([own], uncovered=uncovered)
        logit = decoder.matcher(states, _spans(batch)).visible[0]
        losses = decoder.loss(states, batch.targets)
        sign = 1 if uncovered == "visible" else -1
        torch.testing.assert_close(losses["visible"], -torch.nn.functional.logsigmoid(sign * logit))
        assert losses["region"].item() == 0
        logits.append(logit)
    assert logits[0] == logits[1]


def test_a_batch_without_names_or_regions_has_losses() -> None:
    own = replace(example("e", "nothing to see", [], []), images=())
    decoder, states, batch = built([own, own])
    losses = decoder.loss(states, batch.targets)
    assert losses["visible"].item() == losses["region"].item() == 0
    sum(losses.values()).backward()  # type: ignore[union-attr]


def test_a_region_that_was_not_read_is_neither_right_nor_chosen() -> None:
    """Its photo is there, but not the file of its features: the encoder has moved the others up, or has none."""
    own = example("a", "Ann", [Span(0, 1, "PER", at(LEFT))], [WHOLE, LEFT])
    decoder, states, batch = built([own], threshold=0.0)
    states.tensors["region_mask"][:] = False
    losses = decoder.loss(states, batch.targets)
    assert losses["region"].item() == 0 and torch.isfinite(losses["visible"])

    other = Image("other.jpg")
    two = replace(own, images=(own.images[0], other, Image("other.jpg", "object", WHOLE), own.images[2]))
    for read, learns in ((1, False), (2, True)):
        decoder, states, batch = built([two], threshold=0.0)
        states.tensors["region_mask"][:] = torch.arange(2) < read
        assert (decoder.loss(states, batch.targets)["region"].item() > 0) == learns
        (found,) = decoder.decode(states, batch)
        assert found.spans and all(bool(span.regions) == learns for span in found.spans)


def test_a_photo_that_is_there_twice_is_the_first() -> None:
    own = example("a", "Ann", [Span(0, 1, "PER", at(LEFT))], [LEFT])
    twice = replace(own, images=(own.images[0], *own.images))
    assert built([twice])[2].targets["overlap"].item() == 1
    metric = GroundedTriples()
    metric.update([twice], [Prediction("a", twice.spans, (1.0,))])
    assert metric.compute()["coverage"] == metric.compute()["gmner_f1"] == 1


def test_regions_are_chosen_for_what_is_found_and_seen() -> None:
    decoder, states, batch = built(posts(), threshold=0.0)
    found = decoder.decode(states, batch)
    assert any(p.spans for p in found)
    for prediction, question in zip(found, batch.examples, strict=True):
        assert not question.spans
        objects = [image.box for image in question.images if image.role == "object"]
        assert len(prediction.notes[VISIBLE]) == len(prediction.spans)
        for span, visible in zip(prediction.spans, prediction.notes[VISIBLE], strict=True):
            assert len(span.regions) == bool(objects)
            assert all(region.box in objects and region.image == 0 for region in span.regions)
            assert (visible > 0) == bool(objects)
    decoder.grounding = replace(decoder.grounding, threshold=1.0)
    assert not any(span.regions for p in decoder.decode(states, batch) for span in p.spans)


def test_predictions_do_not_depend_on_the_gold_names() -> None:
    examples = posts()
    decoder, states, batch = built(examples, threshold=0.0)
    other = replace(batch, examples=tuple(examples), targets={})
    assert decoder.decode(states, batch) == decoder.decode(states, other)


def test_object_images_that_are_no_regions_are_refused() -> None:
    own = posts()[0]
    strange = replace(own, images=(*own.images, Image("crop.jpg", "object")))
    with raises("gmner.no-region", match="crop.jpg"):
        built([strange])
    (problem,) = GroundedTagger().examine([own, strange])
    assert (problem.code, [id for id, _ in problem.at]) == ("gmner.no-region", ["a"])


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with raises("part.setting"):
        GroundedTagger(threshold=threshold)


def test_states_of_two_widths_are_refused() -> None:
    decoder = GroundedTagger()
    with raises("part.widths"):
        decoder.build({"tokens": 8, "regions": 4}, decoder.fit(posts()))


def test_a_type_that_was_not_learnt_is_named() -> None:
    decoder, _, batch = built(posts())
    with raises("task.unknown-span-type"):
        decoder.targets([example("x", "Ann", [Span(0, 1, "FOOD")], [])], batch.inputs)


def test_a_context_is_a_second_text() -> None:
    own = replace(example("x", "Ann sings", [], []), notes={"gmner.context": "Ann is a singer"})
    decoder = GroundedTagger(context="gmner.context")
    assert decoder.views(own)["text"] == replace(TextView.of(own), second=("Ann", "is", "a", "singer"))
    assert GroundedTagger().views(own)["text"] == TextView.of(own)
    assert not list(decoder.examine([own, posts()[0]]))
    (problem,) = decoder.examine(posts())
    assert problem.code == "gmner.no-context"
    with raises("encoder.wrong-note"):
        decoder.views(replace(own, notes={"gmner.context": ["a"]}))
