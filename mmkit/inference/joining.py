"""Join the processes that torchrun started together, also when it has started them again.

Processes find each other through a store of keys that torchrun keeps for all its starts (`torch.distributed.elastic`,
`use_agent_store`). The addresses of processes that have ended are still in it. So a process that was started again may
try to connect to one of those, which fails at once (Gloo says "Connection refused"), and the whole start is lost. Here
the processes of one start first agree on a word, which is the prefix of all their other keys.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

import torch
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # documented

from mmkit.terminal.elastic import may_restart

TIMEOUT = timedelta(minutes=5)
"""How long a process waits for the others. They import and read at the same time, and need not be equally fast."""
BETWEEN_LOOKS = 0.02
"""Seconds."""


def join_processes(device: torch.device) -> None:
    """Join those that may be started again by torchrun. All others are joined by accelerate."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not (shared and may_restart() and world_size > 1) or torch.distributed.is_initialized():
        return
    rank = int(os.environ["RANK"])
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world_size,
        is_master=False,  # it is torchrun
        timeout=TIMEOUT,
    )
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",  # as accelerate chooses
        store=PrefixStore(agreed_word(store, rank, world_size), store),
        rank=rank,
        world_size=world_size,
    )


def agreed_word(store: Store, rank: int, world_size: int) -> str:
    """A word that the processes of this start have agreed on; what earlier starts left in the store does not matter.

    The first process proposes a word and waits until every other one has answered with its own. Then it writes all
    answers down. A process that has read the word of an earlier start does not find its own answer there, and looks
    again. Raises what the store raises, or `TimeoutError`, if a process is not there in time.
    """
    own = uuid.uuid4().hex
    if rank == 0:
        store.set("mmkit/word", own)
        answers = [store.get(f"mmkit/{own}/{other}").decode() for other in range(1, world_size)]
        store.set(f"mmkit/{own}/all", ",".join(answers))
        return own
    until, answered = time.monotonic() + TIMEOUT.total_seconds(), set()
    while time.monotonic() < until:
        word = store.get("mmkit/word").decode()
        if word not in answered:
            store.set(f"mmkit/{word}/{rank}", own)
            answered.add(word)
        everybody = f"mmkit/{word}/all"
        if store.check([everybody]) and own in store.get(everybody).decode().split(","):
            return word
        time.sleep(BETWEEN_LOOKS)
    raise TimeoutError("the other processes that torchrun started did not answer")
