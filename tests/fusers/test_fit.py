"""Parts that fit: what they say of themselves at assembly, and what they give at the first batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import catalogue
import pytest
import torch
from torch import Tensor, nn

from mmkit import registry
from mmkit.batch import Batch, States
from mmkit.data.types import Example, Prediction
from mmkit.decoders.base import Decoder
from mmkit.encoders.abilities import ReadsViews, TakesPrefix
from mmkit.encoders.base import Encoder
from mmkit.fit import fitting_parts
from mmkit.fusers.base import Fuser
from mmkit.fusers.needs import Needs
from mmkit.loading.sample import sampled
from mmkit.model import Model
from mmkit.recipe import load_recipe
from raising import raises


class Words(Encoder):
    """An encoder of words that gives what it is told to give."""

    provides = frozenset({"tokens", "pooled"})
    extra_views: tuple[str, ...] = ()

    def __init__(self, dim: int = 3, given: Sequence[str] = ("tokens", "pooled"), width: int = 3) -> None:
        super().__init__()
        self.dim, self.given, self.width = dim, given, width
        self.weight = nn.Parameter(torch.ones(1))

    def build(self, special_tokens=(), saved=None) -> None: ...

    def save(self, folder) -> None: ...

    def collate(self, examples: Sequence[Example], views: Sequence[Mapping]) -> dict[str, Tensor]:
        return {"ids": torch.zeros(len(examples), 2, dtype=torch.long)}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        made = inputs["ids"].unsqueeze(-1).expand(-1, -1, self.width) * self.weight
        return {name: made if name == "tokens" else made[:, 0] for name in self.given}


class Hands(Fuser):
    """Hands on what one encoder gives, and says of it what it is told to say."""

    provides = frozenset({"tokens"})

    def __init__(self, needs: Needs | frozenset[str] = frozenset({"tokens"}), width: int = 3) -> None:
        super().__init__()
        self.needs, self.dims, self.runs = needs, {"tokens": width}, 0
        self.also: dict[str, Tensor] = {}

    def requires(self) -> dict[str, Needs | frozenset[str]]:
        return {"text": self.needs}

    def build(self, encoders: Mapping[str, Encoder]) -> None: ...

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        self.runs += 1
        return States({**encoders["text"](batch.inputs["text"]), **self.also})


class Silent(Decoder):
    """Predicts nothing; counts how often it was asked."""

    def fit(self, examples) -> dict[str, Any]:
        return {}

    def build(self, dims, labels, entities=()) -> None: ...

    def targets(self, examples, inputs) -> dict[str, Tensor]:
        return {"gold": torch.zeros(len(examples))}

    def loss(self, states, targets) -> dict[str, Tensor]:
        return {"loss": states["tokens"].sum()}

    def decode(self, states, batch) -> list[Prediction]:
        return [Prediction(example.id) for example in batch.examples]


@runtime_checkable
class Sings(Protocol):
    """An encoder that sings."""

    def sing(self) -> str: ...


# Needs


def test_needs_may_be_words():
    needs = Needs.of({"tokens", "prefix", "view:plain"})
    assert needs == Needs(frozenset({"tokens"}), (TakesPrefix,), frozenset({"plain"}))
    assert Needs.of(needs) is needs
    assert Needs.of(frozenset({"tokens"})) == Needs(frozenset({"tokens"}))


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        (Needs(frozenset({"tokens"})), []),
        (
            Needs(frozenset({"tokens", "grid", "mask"})),
            ["mine.hands.v1 needs grid, mask from it, but mine.words.v1 provides pooled, tokens"],
        ),
        (
            Needs(abilities=(Sings,)),
            ["mine.hands.v1 needs Sings (an encoder that sings), which mine.words.v1 is not"],
        ),
        (Needs(abilities=(ReadsViews,)), []),
        (
            Needs(views=frozenset({"plain"})),
            [
                "mine.hands.v1 reads further views with it, which its settings do not collate; "
                "set extra_views = ['context', 'plain']"
            ],
        ),
    ],
)
def test_what_is_not_met_is_said(needs: Needs, says: list[str]):
    words = Words()
    words.extra_views = ("context",)
    assert needs.unmet(words, "mine.hands.v1", "mine.words.v1") == says


def test_a_view_that_is_collated_is_there():
    words = Words()
    words.extra_views = ("context", "plain")
    assert Needs(views=frozenset({"plain"})).unmet(words, "a", "b") == []


# At assembly


class NeedsMuch(Hands):
    """Needs what BERT does not have."""

    def __init__(self) -> None:
        super().__init__(Needs(frozenset({"tokens", "grid"}), (Sings,), frozenset({"plain"})))


class GivesLittle(Hands):
    """Gives a decoder of words nothing."""

    provides = frozenset({"tokens"})


@pytest.fixture
def registered() -> Iterator[None]:
    parts = {"test.needs_much.v1": NeedsMuch, "test.gives_little.v1": GivesLittle}
    for name, part in parts.items():
        registry.fusers.register(name, func=part)
    yield
    for name in parts:
        catalogue.REGISTRY.pop((*registry.fusers.namespace, name))


def problems(fuser: str) -> list[str]:
    recipe = sampled(load_recipe("text_only_twitter15"))
    recipe = recipe.with_overrides({"model.fuser": {"@fusers": fuser}})
    with raises("recipe.parts-do-not-fit") as refused:
        fitting_parts(recipe)
    return str(refused.value).splitlines()


def test_all_that_does_not_fit_is_said_at_once(registered):
    said = "\n".join(problems("test.needs_much.v1"))
    assert (
        "model.encoders.text: test.needs_much.v1 needs grid from it, but mmkit.transformer.v1 provides"
        in said
    )
    assert "model.encoders.text: test.needs_much.v1 needs Sings (an encoder that sings)" in said
    assert "set extra_views = ['plain']" in said
    assert (
        "crf_tagger.v1 needs first_subword, mask, word_index, but test.needs_much.v1 provides tokens" in said
    )


def test_a_decoder_is_told_what_its_fuser_gives(registered):
    said = problems("test.gives_little.v1")
    assert len(said) == 2 and said[1].endswith("but test.gives_little.v1 provides tokens")


# At the first batch

EXAMPLES = tuple(Example.from_tokens(str(i), ("a", "b")) for i in range(2))


def model(words: Words, hands: Hands) -> Model:
    return Model({"text": words}, hands, Silent(), {})


def run(made: Model, training: bool) -> None:
    made.train(training)
    batch = made.collate(made.items(EXAMPLES), targets=training)
    if training:
        made(batch)
    else:
        made.predict(batch)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("words", "hands", "where", "what"),
    [
        (
            Words(given=["tokens"]),
            Hands(),
            "model.encoders.text",
            "Words says that it gives pooled, but gives tokens",
        ),
        (Words(dim=4), Hands(), "model.encoders.text", "`pooled` is 4 wide"),
        (
            Words(width=5, dim=5),
            Hands(),
            "model.fuser",
            "Hands says that `tokens` is 3 wide, but its shape is (2, 2, 5)",
        ),
    ],
)
def test_a_part_that_gives_something_else_is_named(training, words, hands, where, what):
    with raises("part.not-as-said") as refused:
        run(model(words, hands), training)
    assert refused.value.where == where
    assert what in refused.value.what


def test_states_that_are_promised_have_to_be_there():
    hands = Hands()
    hands.provides = frozenset({"tokens", "gate"})
    with raises("part.not-as-said", match="Hands says that it gives gate, but gives pooled, tokens"):
        run(model(Words(), hands), training=True)


def test_what_only_training_has_is_looked_for_only_there():
    hands = Hands()
    hands.provides_in_training = frozenset({"second"})
    run(model(Words(), hands), training=False)
    with raises("part.not-as-said", match="gives second"):
        run(model(Words(), hands), training=True)
    hands.also = {"second": torch.zeros(2)}
    run(model(Words(), hands), training=True)


def test_only_the_first_batch_is_looked_at():
    words, hands = Words(), Hands()
    made = model(words, hands)
    for _ in range(3):
        run(made, training=True)
    assert hands.runs == 3  # no pass beside those that are needed
    assert not words._forward_hooks
    words.given = ["tokens"]
    run(made, training=True)


def test_an_encoder_is_looked_at_even_if_the_fuser_fails_later():
    words, hands = Words(), Hands()
    hands.provides = frozenset({"nothing"})
    with raises("part.not-as-said"):
        run(model(words, hands), training=True)
    assert not words._forward_hooks


def test_compiled_encoders_are_looked_at_where_they_run_as_written():
    words, hands = Words(given=["tokens"]), Hands()
    made = model(words, hands)
    made.compiled = True
    run(made, training=True)  # the encoder is taken at its word
    with raises("part.not-as-said", match="gives pooled"):
        run(made, training=False)
