"""Processes that torchrun starts again agree among themselves, whatever earlier starts left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed import HashStore

from mmkit.inference.joining import agreed_word


def start(store: HashStore, pool: ThreadPoolExecutor, ranks: list[int]) -> str:
    """One start of all processes, in this order; the word that each of them got."""
    words = {future.result() for future in [pool.submit(agreed_word, store, r, len(ranks)) for r in ranks]}
    assert len(words) == 1, "they do not agree"
    return words.pop()


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 4).flatmap(lambda n: st.lists(st.permutations(range(n)), min_size=2, max_size=4)))
def test_each_start_agrees_on_a_word_of_its_own(orders: list[list[int]]) -> None:
    store = HashStore()
    with ThreadPoolExecutor(max_workers=4) as pool:
        words = [start(store, pool, order) for order in orders]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("dead", [0, 1])
def test_a_start_that_did_not_come_to_an_end_is_forgotten(dead: int) -> None:
    store = HashStore()
    with ThreadPoolExecutor(max_workers=2) as pool:
        old = start(store, pool, [0, 1])
        if dead:  # the first process had proposed a word, and nobody had answered
            store.set("mmkit/word", "nobody")
        else:  # the second one had answered, and the first ended before it wrote the answers down
            store.set("mmkit/word", "half")
            store.set("mmkit/half/1", "old")
        late = pool.submit(agreed_word, store, 1, 2)  # reads the old word
        assert agreed_word(store, 0, 2) == late.result() not in {old, "nobody", "half"}
