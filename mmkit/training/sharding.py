"""Trained encoders that are spread over the processes of a training, block by block.

PyTorch's FSDP2 (`fully_shard`; Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel"):
each process holds a part of a block's weights, of their gradients, and of the optimizer's moments. Before a block
computes, the processes gather its weights, and drop them afterwards.

accelerate's plugin for it is not used. It always spreads the whole model, and nobody averages the gradients of
modules that it is told to ignore. Here fusers and decoders stay whole, because FSDP2 takes no parameter without
dimensions (the scale of a contrastive loss), and because predictions run other methods of a model than `forward`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from transformers.pytorch_utils import Conv1D

from mmkit.batch import Batch
from mmkit.config.settings import TrainingSettings
from mmkit.errors import PartError, RecipeError
from mmkit.model import Model
from mmkit.ops.precision import Precision
from mmkit.ops.sharded import is_sharded, part_of

MULTIPLIES: tuple[type[nn.Module], ...] = (nn.Linear, Conv1D, nn.Conv1d, nn.Conv2d)
"""Modules whose `weight` autocast converts to bfloat16 before each product."""
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
"""How processes communicate on each kind of device."""
BUCKET = 32 << 20
"""Bytes of gradients that are averaged together."""


def check_sharding(settings: TrainingSettings, device: torch.device, processes: int) -> None:
    """Raise `RecipeError` if encoders are to be spread over processes, and cannot be."""
    if settings.shard == "no":
        return
    off = 'or set training.shard = "no"'
    if processes == 1:
        raise RecipeError(
            'training.shard = "encoders" spreads encoders over several processes, and there is only one',
            hint=f"start several with torchrun --nproc-per-node 2 -m mmkit train ... (docs/scaling.md), {off}",
            code="device.one-process",
        )
    backend = dist.get_backend()
    if BACKENDS.get(device.type, "") not in backend or device.type not in BACKENDS:
        raise RecipeError(
            f"training.shard is not possible on {device.type} with processes that communicate by {backend}",
            hint=f"train on CPUs (gloo) or NVIDIA GPUs (nccl), {off}",
            code="device.no-sharding",
        )
    if settings.compile:
        raise RecipeError(
            'training.compile cannot compile encoders that training.shard = "encoders" spreads over processes',
            hint=f"set training.compile = false, {off}",
            code="recipe.shard-compiled",
        )


class _Unit(NamedTuple):
    """A block whose weights are gathered together, and which of them are."""

    block: nn.Module
    weights: set[nn.Parameter]
    in_bf16: bool


def sharded(model: Model, device: torch.device, precision: Precision) -> ShardedModel:
    """Move a model to its device, with the trained encoders spread over all processes.

    A block is moved after the one before it has been spread, so that a GPU never holds a whole encoder. Only tensors of
    two or more dimensions are spread: vectors (biases, norms) are about a thousandth of a transformer. Raises
    `RecipeError` if there is nothing to spread.
    """
    # imported here, because importing FSDP takes time that other trainings do not spend
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    units = _units(model, precision)
    if not units:
        raise RecipeError(
            'training.shard = "encoders", but no trained encoder has blocks to spread',
            hint='set training.shard = "no", or frozen = false for a transformer that reads examples and no entities',
            code="recipe.nothing-to-shard",
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block, weights, in_bf16 in units:
        # The weights that autocast would convert are gathered in bfloat16: the same numbers, half the bytes, and no
        # converted copy that autograd would keep until the backward pass. All others are gathered as they are.
        policy = (
            MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
            if in_bf16
            else MixedPrecisionPolicy()
        )
        fully_shard(
            block,
            mesh=mesh,
            reshard_after_forward=True,
            mp_policy=policy,
            ignored_params={p for p in block.parameters() if p not in weights},
        )
    model.to(device)
    whole = ShardedModel(model)
    # the root spreads nothing itself: it lets the next block be gathered while one computes
    rest = {p for p in whole.parameters() if not is_sharded(p)}
    fully_shard(whole, mesh=mesh, reshard_after_forward=True, ignored_params=rest)
    whole.begin()
    return whole


def _units(model: Model, precision: Precision) -> list[_Unit]:
    """The blocks of the trained encoders that read examples.

    Encoders of entities are left whole: each process encodes another number of entities, and all processes must
    run a block equally often.
    """
    side = model.entity_side
    of_entities = [] if side is None else [p for part in side.parts for p in part.parameters()]
    names: dict[nn.Parameter, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        names[parameter] = names.get(parameter, 0) + 1
    tied = (p for p, count in names.items() if count > 1)  # they belong to several blocks
    left = {*of_entities, *tied}
    units = []
    for encoder in model.reading.values():
        if not any(p.requires_grad for p in encoder.parameters()):
            continue
        for block in blocks_of(encoder):
            weights = {p for p in block.parameters() if p.dim() > 1 and p.is_contiguous()} - left
            products = weights & {m.weight for m in block.modules() if isinstance(m, MULTIPLIES)}
            in_bf16 = precision == "bf16" and bool(products)
            if chosen := products if in_bf16 else weights:
                units.append(_Unit(block, chosen, in_bf16))
    return units


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of the transformers in a network, in its order, none within another.

    They are what transformers' models call modules that must not be split (`_no_split_modules`), the tables of tokens,
    and, in other networks, members of a list of modules of one class with two or more products each.
    """
    undivided: set[str] = set()
    chosen: set[nn.Module] = set()
    for module in network.modules():
        undivided |= set(getattr(module, "_no_split_modules", None) or ())
        if isinstance(module, nn.ModuleList | nn.Sequential):
            chosen |= _repeated(list(module))
        table = _token_table(module)
        if table is not None:
            chosen.add(table)

    def below(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            if child in chosen or type(child).__name__ in undivided:
                yield child
            else:
                yield from below(child)

    return list(dict.fromkeys(below(network)))


def _repeated(members: Sequence[nn.Module]) -> set[nn.Module]:
    """The members, if they look like blocks of a transformer."""
    if len(members) < 2 or len({type(member) for member in members}) > 1:
        return set()
    products = (sum(isinstance(m, nn.Linear | Conv1D) for m in member.modules()) for member in members)
    return set(members) if min(products) >= 2 else set()


def _token_table(module: nn.Module) -> nn.Module | None:
    """The embeddings of a transformers model's tokens."""
    ask = getattr(module, "get_input_embeddings", None)
    if ask is None:
        return None
    try:
        table = ask()
    except (AttributeError, NotImplementedError):  # a model that reads no tokens
        return None
    return table if type(table) is nn.Embedding else None


class ShardedModel(nn.Module):
    """A model with encoders spread over processes, called like the model. Made by `sharded`.

    The gradients of what is spread are averaged during each backward pass. `average` does it for the others, in every
    process, after the last backward pass of an update.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        whole = [p for p in model.parameters() if p.requires_grad and not is_sharded(p)]
        self._buckets = list(_buckets(whole))
        self._statistics = [b for b in model.buffers() if b.is_floating_point()]

    def begin(self) -> None:
        """Gather each block once, before any computation.

        Where PyTorch first gathers decides which module leads the others, and whether the memory for weights can be
        used in training: it cannot if that was in inference mode.
        """
        from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

        blocks = [m for m in self.model.modules() if isinstance(m, FSDPModule)]

        def gather_once() -> None:
            for block in blocks:
                block.unshard()
                block.reshard()

        self._gather_once = gather_once
        register_fsdp_forward_method(self, "_gather_once")
        self._gather_once()
        del self._gather_once

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The model's losses. Raises `PartError` for a part that uses weights of a block from outside it."""
        if self.training:
            self._share_statistics()
        try:
            losses: dict[str, Tensor] = self.model(batch)
        except RuntimeError as error:
            if "DTensor" not in str(error):
                raise
            raise PartError(
                "training.shard is not possible: a part uses weights of an encoder's block without running the block",
                hint='set training.shard = "no"',
                code="part.not-shardable",
            ) from error
        return losses

    def _share_statistics(self) -> None:
        """Take the first process's statistics of batch norm, as PyTorch's DDP does."""
        if not self._statistics:
            return
        joined = torch.cat([b.reshape(-1) for b in self._statistics])
        dist.broadcast(joined, 0)
        sizes = [b.numel() for b in self._statistics]
        for buffer, values in zip(self._statistics, joined.split(sizes), strict=True):
            buffer.copy_(values.view(buffer.shape))

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Around all but the last backward pass of an update.

        What is spread is averaged nevertheless: otherwise each process would keep all gradients.
        """
        yield

    def average(self) -> None:
        """Average the gradients of what is not spread over the processes.

        A parameter that no process used keeps no gradient, so that the optimizer leaves it alone.
        """
        for bucket in self._buckets:
            used = torch.tensor([float(p.grad is not None) for p in bucket], device=bucket[0].device)
            own = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            joined = torch.cat([*(gradient.reshape(-1) for gradient in own), used.to(bucket[0].dtype)])
            dist.all_reduce(joined)
            *means, users = joined.split([*(p.numel() for p in bucket), len(bucket)])
            for at, (parameter, mean) in enumerate(zip(bucket, means, strict=True)):
                if parameter.grad is not None:
                    parameter.grad.copy_(mean.view(parameter.shape)).div_(dist.get_world_size())
                elif users[at] > 0:  # read only here, because reading waits for the device
                    parameter.grad = own[at].copy_(mean.view(parameter.shape)).div_(dist.get_world_size())

    def clip(self, most: float) -> None:
        """Scale all gradients so that their norm is at most `most`, as `torch.nn.utils.clip_grad_norm_` does."""
        trained = [p.grad for p in self.parameters() if p.grad is not None]
        spread = [part_of(gradient) for gradient in trained if is_sharded(gradient)]
        whole = [gradient for gradient in trained if not is_sharded(gradient)]
        squares = get_total_norm(spread).square()
        dist.all_reduce(squares)
        norm = (squares + get_total_norm(whole).square()).sqrt()
        scale = (most / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([*spread, *whole], scale)

    def described(self) -> str:
        """How much of the trained weights each process holds, in one line."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        every, own = sum(p.numel() for p in trained), sum(part_of(p).numel() for p in trained)
        return f"encoders are spread over processes: this one holds {own:,} of {every:,} trained weights"


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one type, up to `BUCKET` bytes together, in their order."""
    for dtype in dict.fromkeys(p.dtype for p in parameters):
        bucket: list[nn.Parameter] = []
        size = 0
        for parameter in (p for p in parameters if p.dtype == dtype):
            if bucket and size + parameter.nbytes > BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(parameter)
            size += parameter.nbytes
        yield bucket
