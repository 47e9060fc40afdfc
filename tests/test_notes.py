"""Many messages of one kind: the first few in full, and how many more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.types import Example
from mmkit.loading.split import Split
from mmkit.terminal.notes import SHOWN, capped, few


@given(st.lists(st.text(max_size=5), max_size=20), st.integers(1, 10))
def test_the_first_few_and_the_number_of_others(messages: list[str], shown: int) -> None:
    said = capped(messages, shown)
    assert said[:shown] == messages[:shown]
    assert len(said) == min(len(messages), shown + 1)
    if len(messages) > shown:
        assert said[-1] == f"and {len(messages) - shown} more of this kind"


def test_names_in_a_message() -> None:
    assert few(["a", "b", "c"]) == "a, b, c"
    assert few(list("abcde")) == "a, b, c and 2 more"


def test_records_that_were_not_annotated_are_capped() -> None:
    split = Split(
        "train", [Example.from_tokens("x", "a")], files=[{"file": "f", "sha256": "0" * 12, "variant": None}]
    )
    split.failures = {f"Q{i}": "no answer" for i in range(1000)}
    failed = [note for note in split.notes() if "not annotated" in note]
    assert len(failed) == SHOWN and split.notes()[-1] == "and 995 more of this kind"
