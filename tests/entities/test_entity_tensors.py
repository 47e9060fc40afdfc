"""The tensors of all entities: computed when they are asked for, kept in blocks, made anew when weights change."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mmkit.batch import Features, States
from mmkit.config.entities import EntitySettings
from mmkit.data.types import Entity, Example
from mmkit.encoders.base import Encoder
from mmkit.entities.linked import RERANKER
from mmkit.entities.side import EntitySide
from mmkit.entities.tensors import EntityTensors, Vectors
from mmkit.fusers.side_by_side import SideBySide
from mmkit.scorers.base import SCORE, Scorer, together
from mmkit.scorers.cosine import CosineScorer
from mmkit.training.entity_cost import encoded_again
from raising import raises

SIZE = 11
ENTITIES = [Entity(f"Q{i}", "n" * (1 + i % 4)) for i in range(SIZE)]


class Letters(Encoder):
    """A vector for each letter of a name, as many as the longest name of a batch has."""

    provides = frozenset({"tokens", "mask"})

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        self.frozen, self.dim, self.read = frozen, 3, 0

    def build(self, special_tokens=(), saved=None):
        torch.manual_seed(0)
        self.table = nn.Embedding(200, 3)
        self.requires_grad_(not self.frozen)

    def save(self, folder): ...

    def check_reads(self, kind: type[Example] | type[Entity]) -> None: ...

    def collate(self, examples: Sequence[Entity], views) -> Features:
        self.read += len(examples)
        longest = max(len(x.name) for x in examples)
        letters = [[100 + int(x.id[1:]) + j for j in range(len(x.name))] for x in examples]
        return {"letters": torch.tensor([row + [0] * (longest - len(row)) for row in letters])}

    def forward(self, inputs: Features) -> Features:
        mask = inputs["letters"] > 0
        return {"tokens": self.table(inputs["letters"]) * mask[..., None], "mask": mask}


class Nearest(Scorer):
    """Keeps the tokens and their number."""

    def build(self, dims, entity_dims):
        self.weight = nn.Parameter(torch.ones(1))

    def entity(self, features: Features) -> Features:
        return {"tokens": self.weight * features["letters.tokens"], "count": features["letters.mask"].sum(1)}

    def scores(self, query: Features, entities: Features) -> Features:
        return {SCORE: (query["query"][:, None, None] * entities["tokens"][None]).sum(-1).amax(-1)}


def made(frozen: bool = False, reranker: Scorer | None = None, **settings) -> EntitySide:
    encoder = Letters(frozen)
    encoder.build()
    scorer = Nearest()
    scorer.build({}, {})
    scorer.requires_grad_(not frozen)
    fuser = SideBySide(["letters"], ("tokens", "mask"))
    settings = {"batch_size": 2, "block": 4, **settings}
    return EntitySide({"letters": encoder}, fuser, scorer, reranker, EntitySettings(**settings))


def tensors(side: EntitySide, **options) -> EntityTensors:
    return EntityTensors(side, ENTITIES, torch.device("cpu"), **options)


def expected(side: EntitySide, row: int) -> Tensor:
    """An entity's tokens, filled up to the longest name."""
    letters = [100 + row + j for j in range(1 + row % 4)]
    table = side.named_encoders["letters"].table.weight.detach()
    return torch.cat([side.scorer.weight.detach() * table[letters], torch.zeros(4 - len(letters), 3)])


def all_tokens(found: EntityTensors) -> Tensor:
    return found.gather(torch.arange(SIZE))["tokens"].detach()


@pytest.mark.parametrize("frozen", [True, False])
def test_rows_and_blocks_are_what_the_parts_make_of_each_entity(frozen):
    side = made(frozen).eval()
    found = tensors(side)
    with torch.no_grad():
        rows = torch.tensor([[10, 3], [0, 3]])
        gathered = found.gather(rows)
    assert gathered["tokens"].shape == (2, 2, 4, 3) and gathered["count"].tolist() == [[3, 4], [1, 4]]
    for row, tokens in zip(rows.flatten().tolist(), gathered["tokens"].flatten(0, 1), strict=True):
        torch.testing.assert_close(tokens, expected(side, row))
    blocks = list(found.blocks())
    assert [first for first, _ in blocks] == [0, 4, 8] and len(found) == SIZE
    assert torch.cat([block["count"] for _, block in blocks]).tolist() == [1 + i % 4 for i in range(SIZE)]


def test_training_computes_the_rows_that_a_batch_asks_for_once_each_with_gradients():
    side = made().train()
    found = tensors(side)
    encoder = side.named_encoders["letters"]
    gathered = found.gather(torch.tensor([5, 1, 5]))
    assert encoder.read == 2
    gathered["tokens"].sum().backward()
    assert encoder.table.weight.grad[105].tolist() == [2.0] * 3  # two mentions of one entity
    assert not encoder.table.weight.grad[103].any() and side.scorer.weight.grad.any()


def test_what_nothing_changes_is_computed_once():
    side = made(frozen=True).train()
    found = tensors(side)
    for _ in range(3):
        found.gather(torch.tensor([5, 1]))
        list(found.blocks())
    assert side.named_encoders["letters"].read == SIZE and found.version == 1


def step(side: EntitySide, found: EntityTensors, fused: bool = False) -> None:
    side.train()
    optimizer = torch.optim.AdamW(side.parameters(), lr=0.1, fused=fused)
    found.gather(torch.tensor([5, 1]))["tokens"].square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    side.eval()


@pytest.mark.parametrize("fused", [True, False])
def test_all_are_made_anew_after_an_update_and_not_in_between(fused):
    side = made().eval()
    found = tensors(side)
    with torch.inference_mode():
        before = all_tokens(found)
    step(side, found, fused)
    with torch.inference_mode():
        after = all_tokens(found)
        assert torch.equal(after, together([block for _, block in found.blocks()])["tokens"])
    assert found.version == 2 and not torch.equal(before, after)
    torch.testing.assert_close(after, torch.stack([expected(side, row) for row in range(SIZE)]))


def test_the_settings_say_how_many_evaluations_they_last_but_other_weights_end_them():
    side = made(refresh=3).eval()
    found, versions = tensors(side), []
    for _ in range(7):
        with torch.inference_mode():
            all_tokens(found)
            all_tokens(found)
        versions.append(found.version)
        step(side, found)
    assert versions == [1, 1, 1, 2, 2, 2, 3]
    with torch.inference_mode():
        all_tokens(found)
    assert found.version == 3
    with torch.no_grad():
        side.scorer.weight.copy_(torch.tensor([2.0]))  # the best epoch's weights are loaded
    with torch.inference_mode():
        torch.testing.assert_close(all_tokens(found), torch.stack([expected(side, r) for r in range(SIZE)]))
    assert found.version == 4


def test_results_are_scored_with_entities_of_the_weights_that_are_put_back():
    side = made(refresh=3).eval()
    found = tensors(side)
    with torch.inference_mode():
        all_tokens(found)
    step(side, found)  # the last epoch, without an evaluation
    with torch.no_grad():
        side.scorer.weight.copy_(torch.tensor([2.0]))
    side.refresh = 1
    with torch.inference_mode():
        torch.testing.assert_close(all_tokens(found), torch.stack([expected(side, r) for r in range(SIZE)]))


@pytest.mark.parametrize(("refresh", "frozen", "told"), [(1, False, 0), (3, False, 1), (3, True, 0)])
def test_a_run_that_goes_on_says_if_it_cannot_do_so_exactly(refresh, frozen, told):
    side = made(refresh=refresh, frozen=frozen)
    if frozen:
        side.requires_grad_(False)
    found = encoded_again(side)
    assert len(found) == told and all("model.entities.refresh = 3" in message for message in found)


def test_recent_ones_are_those_that_are_there():
    side = made().train()
    found = tensors(side)
    first = found.recent(torch.tensor([4]))
    step(side, found)
    again = found.recent(torch.tensor([4]))
    assert torch.equal(first["tokens"], again["tokens"]) and found.version == 1
    assert not again["tokens"].requires_grad


def test_half_precision_is_how_they_are_kept_not_how_they_are_compared():
    side = made(dtype="float16").eval()
    found = tensors(side)
    with torch.no_grad():
        assert {block["tokens"].dtype for _, block in found.blocks()} == {torch.float16}
        gathered = found.gather(torch.tensor([2]))
    assert gathered["tokens"].dtype == torch.float32 and gathered["count"].dtype == torch.int64
    torch.testing.assert_close(gathered["tokens"][0], expected(side, 2), atol=2e-3, rtol=0)


def test_evaluating_leaves_modes_as_they_are():
    side = made()
    side.train()
    side.fuser.eval()
    with side.evaluating():
        assert not side.scorer.training and not torch.is_grad_enabled()
    assert side.scorer.training and not side.fuser.training and torch.is_grad_enabled()


def test_a_reranker_s_tensors_are_kept_beside_the_scorer_s():
    class Longest(Scorer):
        def build(self, dims, entity_dims): ...

        def entity(self, features: Features) -> Features:
            return {"longest": features["letters.mask"].sum(1)}

        def scores(self, query: Features, entities: Features) -> Features:
            return {SCORE: entities["longest"][None].float()}

    side = made(frozen=True, reranker=Longest()).eval()
    kept = tensors(side).gather(torch.tensor([3]))
    assert kept.keys() == {"tokens", "count", RERANKER + "longest"}
    assert kept[RERANKER + "longest"].tolist() == [4]


def test_progress_counts_entities():
    said = []
    side = made(frozen=True).eval()
    list(tensors(side, progress=lambda done, total: said.append((done, total))).blocks())
    assert said[-1] == (SIZE, SIZE) and said == sorted(said)


class First(Encoder):
    """The first letter's vector."""

    provides = frozenset({"pooled"})

    def build(self, special_tokens=(), saved=None):
        self.dim = 3
        self.table = nn.Embedding(200, 3)

    def save(self, folder): ...

    def collate(self, examples, views):
        return {"row": torch.tensor([int(x.id[1:]) for x in examples])}

    def forward(self, inputs):
        return {"pooled": self.table(inputs["row"])}


def test_one_tensor_is_searched_as_vectors():
    encoder, fuser = First(), SideBySide(["first"], ("pooled",))
    encoder.build()
    fuser.build({"first": encoder})
    side = EntitySide(
        {"first": encoder},
        fuser,
        CosineScorer(entity="first.pooled"),
        None,
        EntitySettings(batch_size=2, block=4),
    ).eval()
    found = tensors(side)
    vectors = Vectors(found, "first.pooled", fuser.dims["first.pooled"])
    with torch.inference_mode():
        assert len(vectors) == SIZE and vectors.dim == 3 and vectors.device.type == "cpu"
        whole = torch.cat([block for _, block in vectors.blocks()])
        torch.testing.assert_close(whole, encoder.table.weight[:SIZE])
        torch.testing.assert_close(vectors.norms(), whole.norm(dim=1))
        torch.testing.assert_close(vectors.gather(torch.tensor([[3], [1]])), whole[[3, 1]][:, None])
    with torch.no_grad():
        encoder.table.weight.mul_(2)
    with torch.inference_mode():
        torch.testing.assert_close(vectors.norms(), 2 * whole.norm(dim=1))
        assert vectors.version == 2
    with torch.no_grad():
        encoder.table.weight[4] = torch.nan
    with torch.inference_mode(), raises("features.not-finite", match="entities 4 to 7"):
        vectors.norms()


def test_only_like_networks_are_shared():
    one, other = Letters(), Letters()
    one.build()
    other.build()
    side = EntitySide(
        {"letters": one}, SideBySide(["letters"]), Nearest(), None, EntitySettings(share={"letters": "text"})
    )
    side.share({"text": other})
    assert one.table is other.table
    frozen = Letters(frozen=True)
    frozen.build()
    with raises("recipe.shared-network", match="model.encoders.text.*frozen"):
        side.share({"text": frozen})
    unlike = First()
    unlike.build()
    unlike.table = nn.Embedding(5, 3)
    with raises("recipe.shared-network", match="model.encoders.text"):
        side.share({"text": unlike})


def test_states_are_what_a_scorer_reads_of_a_query():
    scorer = Nearest()
    states = States({"query": torch.ones(2, 3)})
    assert scorer.query(states) is states.tensors
