"""Decoders that say what they predict by the flags of before: they get the task, and a warning that says so."""

from __future__ import annotations

import pytest

from mmkit.decoders.base import Decoder
from mmkit.tasks import LinkTask, PairTask


@pytest.mark.parametrize(("flag", "task"), [("pairs", PairTask), ("links", LinkTask)])
def test_an_old_flag_becomes_the_task_and_is_warned_of_where_it_is_set(flag, task):
    with pytest.warns(DeprecationWarning, match=f"Old: .*`{flag} = True`.*{task.__name__}") as warned:
        old = type(Decoder)("Old", (Decoder,), {flag: True})
    assert isinstance(old.task, task)
    assert old.compares_examples == (flag == "links")
    assert warned[0].filename == __file__, "so that Python shows it to the one who can change it"


def test_a_task_of_its_own_is_kept(recwarn):
    class New(Decoder):
        task = LinkTask()
        pairs = True

    assert isinstance(New.task, LinkTask) and not recwarn
