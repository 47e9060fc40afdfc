"""The `[training]` section of a recipe: every setting, its type and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OPTIMIZERS = ("adamw", "adam")
"""The optimizers of the core."""

SCHEDULES = ("linear", "cosine", "constant")
"""The schedules of the core: the learning rate after its warm-up."""


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

    init_from: str = ""
    """A run folder whose weights are the first ones: everything that fits; empty: none."""
    epochs: int = 10
    batch_size: int = 16
    accumulate: int = 1
    """Number of micro-batches in an update: more of them need less memory and give the same update."""
    eval_batch_size: int = 64
    optimizer: str = "adamw"
    """One of `OPTIMIZERS`, or one from a plugin (the hook `mmkit_optimizers`)."""
    learning_rate: float = 3e-5
    weight_decay: float = 0.01
    no_decay: str = ""
    """Regular expression of the names of parameters without weight decay, e.g. `bias|LayerNorm`; empty: decay on
    all."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    groups: dict[str, GroupSettings] = field(default_factory=dict)
    schedule: str = "linear"
    """One of `SCHEDULES`, or one from a plugin (the hook `mmkit_schedules`)."""
    schedule_every: Literal["step", "epoch"] = "step"
    warmup: float = 0.0
    """A fraction of all updates if below 1, else a number of updates (epochs with `schedule_every = epoch`)."""
    clip: float = 0.0
    """Largest gradient norm; 0: no clipping."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """auto: bf16 on a GPU that supports it, and on a CPU that computes in it if ten million weights, or wide layers,
    compute in every batch (see `mmkit.inference.devices`); fp32 elsewhere. fp32 is full float32, whatever PyTorch is
    set to. tf32 (NVIDIA GPUs) is float32 whose products and convolutions round their inputs to 10 bits; a run trained
    in it predicts in fp32 on other devices."""
    compile: bool = False
    """Whether `torch.compile` compiles the encoders that run in every batch."""
    shard: Literal["no", "encoders"] = "no"
    """encoders: several processes spread weights, gradients and moments of the trained transformers over one another,
    block by block (see `mmkit.training.sharding`)."""
    graphs: Literal["auto", "on", "off"] = "off"
    """Whether updates are captured in CUDA graphs, of which a GPU gets one launch for each: lengths are then padded to
    multiples of 8. auto: on an NVIDIA GPU, in one process, where every part says that it can be captured; a note says
    which does not. on: also parts that do not say; those that say that they cannot are an error. It has not run on a
    GPU yet, so the default is off."""
    score: str | dict[str, float] = ""
    """The name of a score (`spans.f1`), or weights of several scores; the best epoch has the highest."""
    ties: Literal["earlier", "later"] = "earlier"
    eval_from: int = 1
    """The first epoch after which the development set is scored."""
    eval_epochs: int = 1
    """Only every n-th epoch is followed by an evaluation, counted from `eval_from`."""
    eval_every: int = 0
    """Also score after every n updates; 0: only after epochs."""
    patience: int = 0
    """Stop after this many evaluations without a better score; 0: never."""
    checkpoint_every: int = 0
    """Also save for `--resume` after every n updates; 0: only after each epoch."""
    keep_checkpoint: bool = False
    """Whether a complete run keeps its last checkpoint, so that `--resume` with more epochs can go on from there."""
    check_every: int = 50
    """Updates between checks that the loss is still finite (each check waits for the device)."""
    log_every: int = 50
    loss_weights: dict[str, float] = field(default_factory=dict)
    workers: int | Literal["auto"] = "auto"
    """Processes that collate batches; 0: the main process, which is enough if features are stored. auto: 0, but several
    where a GPU would wait for pictures (see `mmkit.inference.loader.pick_workers`). Where there are none, predictions
    and evaluations load pictures by as many threads (see `pick_threads` there)."""
    bucket: int = 100
    """Number of batches whose examples are sorted by length together; 1: plain shuffling."""
    save_frozen: bool = True
    """Whether the run contains frozen weights too; without them, loading downloads the encoder by name."""
    feature_memory: float = 0.5
    """Fraction of the GPU's free memory that stored features may take; larger features stay on disk."""
    trackers: list[str] = field(default_factory=list)
    """Names of trackers from plugins (the hook `mmkit_trackers`) that are told what training does."""
