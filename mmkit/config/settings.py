"""The `[training]` section of a recipe: every setting, its type and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OPTIMIZERS = ("adamw", "adam")
"""How updates follow from gradients."""

SCHEDULES = ("linear", "cosine", "constant")
"""How the learning rate goes on after its warm-up."""


@dataclass
class GroupSettings:
    """`[training.groups.NAME]`: parameters whose full name matches `pattern` (a regular expression, searched).

    The first matching group in recipe order wins; None means the value of `[training]`. A group that matches no
    parameter is an error.
    """

    pattern: str
    learning_rate: float | None = None
    weight_decay: float | None = None


@dataclass
class TrainingSettings:
    """How a model is trained. `batch_size` is the global batch of one update, whatever the number of devices."""

    epochs: int = 10
    batch_size: int = 16
    accumulate: int = 1
    """Micro-batches an update is cut into: more of them need less memory and give the same update."""
    eval_batch_size: int = 64
    optimizer: str = "adamw"
    """One of `OPTIMIZERS`, or one that a plugin brings (the hook `mmkit_optimizers`)."""
    learning_rate: float = 3e-5
    weight_decay: float = 0.01
    no_decay: str = ""
    """Regular expression of parameter names without weight decay, e.g. `bias|LayerNorm`; empty: decay on all."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    groups: dict[str, GroupSettings] = field(default_factory=dict)
    schedule: str = "linear"
    """One of `SCHEDULES`, or one that a plugin brings (the hook `mmkit_schedules`)."""
    schedule_every: Literal["step", "epoch"] = "step"
    warmup: float = 0.0
    """A fraction of all updates if below 1, else a number of updates (epochs with `schedule_every = epoch`)."""
    clip: float = 0.0
    """Largest gradient norm; 0 clips nothing."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere. fp32 is float32 in full, whatever PyTorch is set to. tf32
    (NVIDIA GPUs) is float32 whose products and convolutions round their inputs to 10 bits; a run trained in it predicts
    in fp32 on other devices."""
    compile: bool = False
    """Whether `torch.compile` compiles the encoders that compute in every batch."""
    score: str | dict[str, float] = ""
    """A figure's name (`spans.f1`), or weights over several; the best epoch is the one with the highest score."""
    ties: Literal["earlier", "later"] = "earlier"
    eval_from: int = 1
    """The first epoch after which the development set is scored."""
    eval_every: int = 0
    """Also score every so many updates; 0: after each epoch only."""
    patience: int = 0
    """Evaluations without a better score after which training stops; 0: never."""
    checkpoint_every: int = 0
    """Also save for `--resume` every so many updates; 0: after each epoch only."""
    check_every: int = 50
    """Updates between looks at whether the loss is still finite (each look waits for the device)."""
    log_every: int = 50
    loss_weights: dict[str, float] = field(default_factory=dict)
    workers: int = 0
    """Processes that collate batches; 0 collates in the main one, which is enough when features are stored."""
    bucket: int = 100
    """Batches whose examples are sorted by length together; 1: pure shuffling."""
    save_frozen: bool = True
    """Whether the run keeps frozen weights too; without them, loading fetches the backbone by name."""
    feature_memory: float = 0.5
    """Share of the GPU's free memory that stored features may take before they stay on the host."""
