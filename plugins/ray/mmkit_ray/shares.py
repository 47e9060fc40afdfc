"""How many actors there are, and what each gets of the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shares:
    """Actors of a pool, and the CPUs and GPUs of each."""

    actors: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, Any]], workers: int | None, device: str) -> Shares:
        """Shares of the machines that live, as `ray.nodes()` lists them.

        As many actors as the user wants; else one for each GPU, unless they are to run on the CPU; else one for each
        machine with CPUs. CPUs are shared evenly, so that an actor fits on any machine. They are its threads, too: Ray
        sets `OMP_NUM_THREADS`, unless the user has.
        """
        resources = [node["Resources"] for node in nodes if node["Alive"]]
        cpus = [int(one["CPU"]) for one in resources if one.get("CPU", 0) >= 1]
        gpus = 0 if device == "cpu" else int(sum(one.get("GPU", 0) for one in resources))
        actors = workers or gpus or max(1, len(cpus))
        on_each = -(-actors // max(1, len(cpus)))
        return cls(actors, max(1, min(cpus, default=1) // on_each), 1 if gpus else 0)
