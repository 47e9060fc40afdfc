"""The sections of `benchmarks/gpu.py`: what is checked and measured on a GPU, one function each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """One section. A new one is a function of a `Context` (see `context.py`) and a line below."""

    name: str
    target: str
    """`module:function`, or `path/to/file.py:function`; imported in the section's own process."""
    seconds: float
    """What it is expected to take on an H100."""
    about: str
    needs: tuple[str, ...] = ()
    """Modules that are not mmkit's own requirements; without one of them the section is skipped."""


SECTIONS = (
    Section(
        "limits", "gpu_sections.limits:run", 8, "what the device does at best: products, copies, launches"
    ),
    Section(
        "golden_hvpnet",
        "gpu_sections.golden:hvpnet",
        20,
        "HVPNeT's networks beside the authors'",
        ("pytest",),
    ),
    Section(
        "golden_tesga", "gpu_sections.golden:tesga", 10, "TESGA's networks beside the authors'", ("pytest",)
    ),
    Section(
        "golden_linking",
        "gpu_sections.golden:linking",
        10,
        "DWE's and DIM's networks beside theirs",
        ("pytest",),
    ),
    Section(
        "golden_more", "gpu_sections.golden:more", 5, "MoRe's CRF losses beside the authors'", ("pytest",)
    ),
    Section(
        "placed", "gpu_sections.placed:run", 15, "stored features on the device and from disk are the same"
    ),
    Section(
        "train_hvpnet", "gpu_sections.samples:hvpnet", 20, "HVPNeT's sample trained, interrupted, resumed"
    ),
    Section("train_more", "gpu_sections.samples:more", 30, "MoRe's sample trained, interrupted, resumed"),
    Section("train_tesga", "gpu_sections.samples:tesga", 25, "TESGA's sample trained, interrupted, resumed"),
    Section("train_dwe", "gpu_sections.samples:dwe", 20, "DWE's sample trained, interrupted, resumed"),
    Section("train_dim", "gpu_sections.samples:dim", 20, "DIM's sample trained, interrupted, resumed"),
    Section(
        "graphs", "gpu_sections.graphs:run", 30, "HVPNeT's updates captured in CUDA graphs beside eager ones"
    ),
    Section("crf", "gpu_sections.speed:crf", 20, "the CRF beside pytorch-crf", ("torchcrf",)),
    Section(
        "tesga_tables", "gpu_sections.speed:tesga_tables", 10, "TESGA's tables beside states of every pair"
    ),
    Section(
        "tesga_update", "gpu_sections.updates:tesga", 12, "an update of TESGA's network, beside its bound"
    ),
    Section(
        "hvpnet_training",
        "gpu_sections.speed:hvpnet_training",
        50,
        "HVPNeT's update and 30 epochs; stored beside recomputed",
    ),
    Section(
        "more_training",
        "gpu_sections.speed:more_training",
        65,
        "MoRe's update, share of the bf16 peak; padding, buckets, bf16",
    ),
    Section(
        "dwe_training",
        "gpu_sections.speed:dwe_training",
        50,
        "DWE's 300 epochs at WikiMEL's size; beside per example",
        ("h5py",),
    ),
    Section("entity_search", "gpu_sections.speed:entity_search", 20, "search among a million entities"),
    Section(
        "search_10m",
        "gpu_sections.vectors:run",
        15,
        "search among ten million entities, share of the bandwidth",
    ),
    Section("encoding", "gpu_sections.encoding:run", 25, "pictures/s of ResNet-50, CLIP and BLIP"),
)
"""In the order in which they run: what is right first, then how fast it is."""
