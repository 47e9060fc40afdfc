"""The tables: the cells of the direct form, its loss and gradient, targets, and what is read off marked cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Batch, States
from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit_tesga import head as module
from mmkit_tesga.head import TableHead
from mmkit_tesga.reading import chosen
from mmkit_tesga.tables import TableDecoder
from raising import raises

H, T, B = 6, 9, 3
TYPES, RELATIONS = ["loc", "per"], ["born_in", "parent", "peer"]
MASK = torch.arange(T) < torch.tensor([[9], [5], [1]])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head(labels: int = 3, dropout: float = 0.0) -> TableHead:
    torch.manual_seed(1)
    return TableHead(2 * H, labels, dropout)


def direct(head: TableHead, states: Tensor, mask: Tensor | None) -> Tensor:
    """The table as it is written in the paper: concatenated states of every pair, `[B, T, T, R]`."""
    fused = states[..., H:]
    shape = (len(states), T, T, H)
    rows, columns = fused.unsqueeze(2).expand(shape), fused.unsqueeze(1).expand(shape)
    whole = head.overall(states, mask)[:, None, None].expand(shape)
    return head.cells(head.pair(torch.cat([rows, columns, whole], dim=3)))


@pytest.mark.parametrize("cells", [1, 30, 1 << 20])
@pytest.mark.parametrize("masked", [False, True])
def test_blocks_are_the_table_of_the_direct_form(
    cells: int, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CELLS", cells)
    scorer, states, mask = head(), draw(B, T, 2 * H), MASK if masked else None
    wanted = direct(scorer, states, mask)
    whole = torch.cat([scores for _, _, scores in scorer.blocks(states, mask, upper=False)], dim=1)
    torch.testing.assert_close(whole, wanted)
    for rows, columns, scores in scorer.blocks(states, mask, upper=True):
        torch.testing.assert_close(scores, wanted[:, rows, columns])


def test_cells_follow_the_memory_that_is_free() -> None:
    assert module.cells_together(0, 384) == module.CELLS  # a CPU
    assert module.cells_together(1 << 60, 384) == module.MOST
    found = module.cells_together(24 << 30, 384)
    assert found & (found - 1) == 0  # a little more or less memory changes nothing
    taken = found * 384 * module.FLOATS * 4
    assert taken <= (24 << 30) * module.SHARE < 2 * taken
    assert found >= 16 * 128 * 128  # a table of 16 sentences of 128 positions is one block
    assert module.free_bytes(torch.device("cpu")) == 0


def test_cells_can_be_set() -> None:
    decoder = TableDecoder(cells=B * T)
    assert decoder.cells == B * T
    scorer, states = head(), draw(B, T, 2 * H)
    whole = [rows for rows, _, _ in scorer.blocks(states, MASK, upper=False)]
    scorer.together = B * T
    assert [rows for rows, _, _ in scorer.blocks(states, MASK, upper=False)] == [
        slice(i, i + 1) for i in range(T)
    ]
    assert len(whole) == 1
    with raises("part.setting", match="cells"):
        TableDecoder(cells=0)


def test_the_sentences_vector_looks_at_no_padding_unless_it_is_to() -> None:
    scorer, states = head(), draw(B, T, 2 * H)
    changed = states.masked_fill(~MASK.unsqueeze(2), 7.0)
    assert torch.equal(scorer.overall(states, MASK), scorer.overall(changed, MASK))
    assert not torch.equal(scorer.overall(states, None), scorer.overall(changed, None))


def sentence(id: str, words: int, spans: list[Span], *relations: Relation) -> Example:
    tokens = [f"w{i}" for i in range(words)]
    return Example.from_tokens(id, tokens, spans=tuple(spans), relations=relations)


PER, LOC = Span(0, 2, "per"), Span(3, 4, "loc")
EXAMPLES = (
    sentence("a", 4, [PER, LOC], Relation(PER, LOC, "born_in"), Relation(LOC, PER, "peer")),
    sentence("b", 3, [Span(2, 3, "per")]),
    sentence("c", 1, []),
)
FIRST = torch.tensor([[1, 2, 4, 7], [1, 2, -1, -1], [0, -1, -1, -1]])  # two words of b are cut off or padding
CELLS = {
    "entities": [[0, 1, 2, 1], [0, 7, 7, 0]],
    "relations": [[0, 1, 7, 0], [0, 7, 1, 2]],
}


def decoder(**settings: object) -> TableDecoder:
    torch.manual_seed(2)
    made = TableDecoder(**{"dropout": 0.0, **settings})
    labels = made.fit(EXAMPLES)
    made.build({"entities": 2 * H, "relations": 2 * H}, labels | {"relations": RELATIONS})
    return made


def states_of(seed: int = 3) -> States:
    drawn = {task: draw(B, T, 2 * H, seed=seed + i) for i, task in enumerate(CELLS)}
    return States({**drawn, "mask": MASK, "first_subword": FIRST})


def test_learns_labels() -> None:
    assert TableDecoder().fit(EXAMPLES) == {"types": ["loc", "per"], "relations": ["born_in", "peer"]}
    assert TableDecoder(tasks=["entities"]).fit(EXAMPLES) == {"types": ["loc", "per"]}
    assert TableDecoder(types=["per", "loc"], relations=RELATIONS).fit(EXAMPLES)["types"] == ["per", "loc"]


def test_cells_begin_around_the_prior() -> None:
    made, states = decoder(prior=0.01), states_of()
    for head in made.heads.values():
        torch.nn.init.zeros_(head.labels.weight)
    table = made.probabilities(states, "relations")
    torch.testing.assert_close(table[0], torch.full_like(table[0], 0.01))


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_a_prior_is_a_probability_that_can_be_changed(prior: float) -> None:
    with raises("part.setting"):
        TableDecoder(prior=prior)


def test_targets_are_the_cells_of_first_subwords() -> None:
    targets = decoder().targets(EXAMPLES, {"text": {"first_subword": FIRST}})
    assert {task: cells.tolist() for task, cells in targets.items()} == CELLS
    none = decoder().targets(EXAMPLES[2:], {"text": {"first_subword": FIRST[2:]}})
    assert all(cells.shape == (0, 4) for cells in none.values())


def test_loss_and_gradient_are_those_of_dense_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS", 60)  # several blocks
    made, states = decoder(), states_of()
    targets = {task: torch.tensor(cells) for task, cells in CELLS.items()}
    losses = made.loss(states, targets)
    sum(losses.values()).backward()
    found = {name: p.grad for name, p in made.named_parameters()}
    made.zero_grad(set_to_none=True)
    for task, cells in CELLS.items():
        scorer = made.heads[task]
        scores = direct(scorer, states[task], MASK)
        labels = torch.zeros_like(scores)
        for b, i, j, r in cells:
            labels[b, i, j, r] = 1
        real = MASK[:, :, None] & MASK[:, None]
        real = (real.triu() if task == "entities" else real)[..., None].expand_as(scores)
        dense = F.binary_cross_entropy_with_logits(scores[real], labels[real], reduction="sum") / (B * T)
        torch.testing.assert_close(losses[task], dense)
        dense.backward()
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_padding_and_cells_below_the_diagonal_hold_nothing() -> None:
    made = decoder()
    real = MASK[:, :, None] & MASK[:, None]
    assert torch.equal(
        made.probabilities(states_of(), "entities") > 0, real.triu()[..., None].expand(-1, -1, -1, 2)
    )
    assert torch.equal(
        made.probabilities(states_of(), "relations") > 0, real[..., None].expand(-1, -1, -1, 3)
    )


def predicted(made: TableDecoder, scores: dict[str, dict[tuple[int, int, int], float]]) -> Prediction:
    """What is read off tables whose cells of the first example have these probabilities, all others 0."""

    def blocks(table, states):
        whole = torch.full((B, T, T, len(table.labels)), -20.0)
        for (i, j, r), p in scores.get(table.task, {}).items():
            whole[0, i, j, r] = torch.tensor(p).logit()
        yield slice(0, 4), slice(0, T), whole[:, :4]
        yield slice(4, T), slice(4 if table.upper else 0, T), whole[:, 4:, 4 if table.upper else 0 :]

    made._blocks = blocks
    return made.decode(states_of(), Batch(EXAMPLES, {}))[0]


def test_reads_entities_and_the_relations_between_them() -> None:
    entities = {(1, 2, 1): 0.9, (7, 7, 0): 0.8, (3, 3, 0): 0.99, (4, 4, 0): 0.4}
    relations = {(1, 7, 0): 0.7, (7, 1, 2): 0.6, (1, 4, 0): 0.9, (1, 7, 1): 0.3}
    found = predicted(decoder(), {"entities": entities, "relations": relations})
    assert found.spans == (PER, LOC), "(3, 3) is no word's first subword, (4, 4) not probable enough"
    assert found.span_scores == pytest.approx((0.9, 0.8))
    assert found.relations == (Relation(PER, LOC, "born_in"), Relation(LOC, PER, "peer"))
    assert found.relation_scores == pytest.approx((0.7, 0.6))


def test_a_span_has_one_type_and_a_relation_the_best_entity() -> None:
    entities = {(1, 2, 1): 0.9, (1, 2, 0): 0.8, (1, 1, 1): 0.95, (7, 7, 0): 0.8}
    found = predicted(decoder(), {"entities": entities, "relations": {(1, 7, 0): 0.7}})
    assert found.spans == (Span(0, 1, "per"), PER, LOC)
    assert found.relations == (Relation(Span(0, 1, "per"), LOC, "born_in"),)


def test_without_a_relation_table_there_are_entities_alone() -> None:
    made = decoder(tasks=["entities"])
    assert set(made.heads) == {"entities"} and "relations" not in made.requires
    assert predicted(made, {"entities": {(1, 2, 1): 0.9}}).spans == (PER,)


spans = st.builds(
    lambda start, length, label: Span(start, start + length, label),
    st.integers(0, 7),
    st.integers(1, 5),
    st.sampled_from(TYPES),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(spans, st.floats(0.5, 1), max_size=9), st.sampled_from(["keep", "nested", "flat"]))
def test_overlaps_are_as_asked_for_and_better_spans_win(scored: dict[Span, float], overlaps: str) -> None:
    kept = chosen(scored, overlaps)

    def clash(a: Span, b: Span) -> bool:
        shared = set(range(a.start, a.end)) & set(range(b.start, b.end))
        inside = len(shared) == min(a.end - a.start, b.end - b.start)
        same = (a.start, a.end) == (b.start, b.end)
        return same or (bool(shared) and (overlaps == "flat" or (overlaps == "nested" and not inside)))

    assert not any(clash(a, b) for a in kept for b in kept if a != b)
    for span in scored.keys() - kept.keys():
        assert any(clash(span, other) and kept[other] >= scored[span] for other in kept)


def test_unknown_labels_name_the_example() -> None:
    with raises("tesga.unknown-label", match="type 'pers'") as error:
        decoder().check([sentence("x", 2, [Span(0, 1, "pers")])])
    assert "x" in str(error.value) and "'per'" in str(error.value)
    relation = Relation(PER, LOC, "born")
    with raises("tesga.unknown-label", match="relation 'born'"):
        decoder().check([sentence("x", 4, [PER, LOC], relation)])
    with raises("task.no-relations"):
        TableDecoder().fit(EXAMPLES[1:])


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"threshold": 1.0}, "part.setting"),
        ({"tasks": ["relations"]}, "part.setting"),
        ({"tasks": []}, "part.setting"),
        ({"dropout": 1.5}, "part.setting"),
        ({"types": ["per", "per"]}, "part.label-names"),
        ({"relations": []}, "part.label-names"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], code: str) -> None:
    with raises(code):
        TableDecoder(**settings)


def test_scores_of_float_tables_stay_probabilities() -> None:
    with torch.no_grad():
        found = decoder(threshold=1e-6).decode(states_of(), Batch(EXAMPLES, {}))
    assert all(0 < score <= 1 for p in found for score in (*p.span_scores, *p.relation_scores))
    assert sum(len(p.spans) for p in found) == 10 + 3 + 1, (
        "every stretch of words whose ends were not cut off"
    )
    assert np.isfinite([s for p in found for s in p.span_scores]).all()


def test_relations_without_their_task_are_refused() -> None:
    with raises("part.setting"):
        TableDecoder(tasks=["entities"], relations=["peer"])
