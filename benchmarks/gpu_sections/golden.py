"""The authors' networks on the device: what theirs computed beside what ours computes, in float32, TF32 and bf16.

The networks are built by the helpers of the golden tests, which also say where the numbers come from. Values at
padding positions are arbitrary, and compared nowhere.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from gpu_sections.context import Context, Skip
from gpu_sections.process import module
from mmkit import Batch, States
from mmkit.ops.losses import clip_loss, n_pair_loss
from mmkit.ops.precision import computing

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = ("fp32", "tf32", "bf16")
FLOAT32 = 1e-4
"""What a value may be off in float32, as in the golden tests; a loss also by a rounding of its own size."""
ROUNDING = 1e-6
TF32 = 2e-2
"""What a value may be off in TF32, which has 11 bits, of the largest value or of 1; not measured yet."""
BF16 = {"hvpnet": 0.05, "tesga": 0.025, "dwe": 0.025, "dim": 0.02, "more": 0.005}
"""What a value may be off under bf16 autocast, of the largest value or of 1: four times what was measured on a CPU
(0.013, 0.006, 0.007, 0.005 and 0.001); a bf16 number has 8 bits, so that one rounding is 0.002 to 0.004."""


@dataclass
class Compared:
    """Ours and theirs by name: values that are to be close, and decisions that are to be the same."""

    close: dict[str, tuple[Tensor, Tensor]]
    same: dict[str, tuple[Any, Any]] = field(default_factory=dict)


Build = Callable[[dict[str, Tensor], Path, Path, torch.device], Callable[[], Compared]]
"""From a golden file's tensors (on the CPU), the file, a folder and a device: what runs the network there."""


def compare(context: Context, name: str, network: str, build: Build) -> None:
    """Run `build`'s network on every golden file called `<name>_<salt>` in every precision, and check it."""
    files = [f for f in sorted(context.golden.glob(f"{name}_*.safetensors")) if re.search(r"_\d+$", f.stem)]
    if not files:
        raise Skip(
            f"there are no golden files {name}_*.safetensors in {context.golden}: name their folder by --golden"
        )
    for file in files:
        folder = context.folder / file.stem
        folder.mkdir()
        forward = build(load_file(file), file, folder, context.device)
        for precision in PRECISIONS if context.cuda else ("fp32", "bf16"):
            with torch.no_grad(), computing(context.device, precision):
                found = forward()
            for what, (ours, theirs) in found.close.items():
                check_close(context, network, file.stem, precision, what, ours, theirs)
            for what, (mine, others) in found.same.items():
                share = sum(a == b for a, b in zip(mine, others, strict=True)) / len(others)
                context.row(network=file.stem, precision=precision, what=what, same=share)
                if precision == "fp32":
                    context.check(f"{file.stem}, {precision}: {what} that differ", 1 - share, 0.0)


def check_close(
    context: Context, network: str, file: str, precision: str, what: str, ours: Tensor, theirs: Tensor
) -> None:
    """Record how far ours are from theirs, and check it by the tolerance of the precision."""
    ours, theirs, where = ours.detach().float().cpu(), theirs.float().cpu(), f"{file}, {precision}: {what}"
    if ours.shape != theirs.shape:
        raise AssertionError(f"{where} has the shape {tuple(ours.shape)}, theirs {tuple(theirs.shape)}")
    error, largest = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    context.row(network=file, precision=precision, what=what, error=error, largest=largest)
    if precision == "fp32":
        rounding = ROUNDING * largest if theirs.numel() == 1 else 0.0
        context.check(where, error, FLOAT32 + rounding)
    else:
        tolerance = BF16[network] if precision == "bf16" else TF32
        context.check(f"{where}, relative", error / max(1.0, largest), tolerance)


def helpers(context: Context, file: str) -> ModuleType:
    """A golden test's module, which reads the same golden files."""
    os.environ["MMKIT_GOLDEN"] = str(context.golden)
    support = str(ROOT / "tests" / "support")
    if support not in sys.path:
        sys.path.insert(0, support)
    return module(ROOT / file)


def hvpnet(context: Context) -> None:
    """Prefixes, hidden states, emissions, losses and tags of the tagger; logits and loss of the classifier."""
    from mmkit.decoders.pair_classifier import PairClassifier
    from mmkit_hvpnet.taggers import SubwordCrfTagger

    test = helpers(context, "plugins/hvpnet/tests/test_golden.py")

    def tagger(
        golden: dict[str, Tensor], file: Path, folder: Path, device: torch.device
    ) -> Callable[[], Compared]:
        salt = test.salt_of(file)
        decoder = SubwordCrfTagger(types=["MISC", "PER", "ORG", "LOC"])
        model = test.imported("ner", salt, folder, decoder).to(device)
        given = test.batch(golden, test.pictures(salt), {"tags": golden["labels"]}).to(device)

        def forward() -> Compared:
            grid = model.named_encoders["vision"](given.inputs["vision"])["grid"]
            prefix = model.fuser.prefix(grid)
            states = model.fuser(model.named_encoders, given)
            emissions, mask = decoder.emissions(states)
            loss = decoder.loss(states, given.targets)["nll"].reshape(1)
            tags, real = decoder.tag(emissions, mask)[0][mask].tolist(), mask.cpu()
            close = {
                "first prefix": (prefix[0][0], golden["prefix_key_0"]),
                "last prefix": (prefix[11][1], golden["prefix_value_11"]),
                "hidden": (states["tokens"][mask], golden["hidden"][real]),
                "emissions": (emissions[mask], golden["emissions"][real]),
                "loss": (loss, golden["loss"]),
            }
            return Compared(close, {"tags": (tags, golden["decoded"][real].tolist())})

        return forward

    def classifier(
        golden: dict[str, Tensor], file: Path, folder: Path, device: torch.device
    ) -> Callable[[], Compared]:
        salt, decoder = test.salt_of(file), PairClassifier()
        model = test.imported("re", salt, folder, decoder).to(device)
        given = test.batch(golden, test.pictures(salt), {"relation": golden["labels"]}).to(device)

        def forward() -> Compared:
            states = model.fuser(model.named_encoders, given)
            loss = decoder.loss(states, given.targets)["cross_entropy"].reshape(1)
            logits = decoder.logits(states)
            relations = (logits.argmax(-1).tolist(), golden["logits"].argmax(-1).tolist())
            return Compared(
                {"logits": (logits, golden["logits"]), "loss": (loss, golden["loss"])},
                {"relations": relations},
            )

        return forward

    compare(context, "hvpnet_ner", "hvpnet", tagger)
    if not context.tiny:  # the same fuser again
        compare(context, "hvpnet_re", "hvpnet", classifier)


def tesga(context: Context) -> None:
    """Tables of entities and relations, scores of the relation classifier, and losses."""
    from mmkit_tesga.classifier import RelationClassifier
    from mmkit_tesga.tables import TableDecoder

    test = helpers(context, "plugins/tesga/tests/test_tesga_golden.py")
    singular = {"entities": "entity", "relations": "relation"}

    def tables(
        golden: dict[str, Tensor], file: Path, folder: Path, device: torch.device
    ) -> Callable[[], Compared]:
        form = file.stem.split("_")[1]
        tasks: list[Any] = ["entities", "relations"] if form == "joint" else ["entities"]
        decoder = TableDecoder(tasks=tasks, mask_padding=False)
        model = test.imported(file, form, tasks, decoder).to(device)
        targets = {task: test.marked(golden[f"{singular[task]}_labels"]) for task in tasks}
        given = test.batch(golden, targets).to(device)

        def forward() -> Compared:
            states = model.fuser(model.named_encoders, given)
            close = {
                f"{task} table": (
                    decoder.probabilities(states, task).permute(1, 2, 0, 3),
                    golden[f"{singular[task]}_scores"],
                )
                for task in tasks
            }
            loss = test.summed(decoder.loss(states, given.targets), len(golden["text"]))
            return Compared({**close, "loss": (loss, golden["loss"])})

        return forward

    def relations(
        golden: dict[str, Tensor], file: Path, folder: Path, device: torch.device
    ) -> Callable[[], Compared]:
        decoder = RelationClassifier(mask_padding=False)
        model = test.imported(file, "re", ["relations"], decoder).to(device)
        given = test.batch(golden, {"relation": golden["relation_label"]}).to(device)

        def forward() -> Compared:
            states = model.fuser(model.named_encoders, given)
            loss = test.summed(decoder.loss(states, given.targets), len(golden["text"]))
            scores = decoder.logits(states)
            return Compared({"scores": (scores, golden["relation_scores"]), "loss": (loss, golden["loss"])})

        return forward

    compare(context, "tesga_joint", "tesga", tables)
    compare(context, "tesga_ner", "tesga", tables)
    compare(context, "tesga_re", "tesga", relations)


def linking(context: Context) -> None:
    """Queries, losses and ranks of DWE and DIM."""

    def dwe_losses(
        fuser: Any, features: dict[str, Any], golden: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        fused = fuser.fuse(**features)
        losses = {
            "matching": n_pair_loss(fused.query, golden["positive"][:, 0], golden["negative"][:, 0]),
            "coarse": clip_loss(*fused.coarse, fuser.log_scale),
            "fine": clip_loss(*fused.fine, fuser.log_scale),
        }
        return fused.query, losses

    def dim_losses(
        fuser: Any, features: dict[str, Any], golden: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        query = fuser.head(fuser.add(**features))
        return query, {"matching": n_pair_loss(query, golden["positive"][:, 0], golden["negative"][:, 0])}

    for name, losses_of in (("dwe", dwe_losses), ("dim", dim_losses)):
        test = helpers(context, f"plugins/{name}/tests/test_golden.py")

        def linker(
            golden: dict[str, Tensor],
            file: Path,
            folder: Path,
            device: torch.device,
            test: ModuleType = test,
            recipe: str = f"{name}_wikimel",
            losses_of: Any = losses_of,
        ) -> Callable[[], Compared]:
            model = test.imported(file)
            test.attach_golden(model.decoder, golden, folder)
            model.to(device)
            moved = {key: tensor.to(device) for key, tensor in golden.items()}
            features = test.golden_features(moved, test.ROLES)
            examples = test.golden_mentions(golden, "negative")
            batch = Batch(examples, features, model.decoder.targets(examples, {})).to(device)
            asked = test.golden_mentions(golden, "candidates")

            def forward() -> Compared:
                query, losses = losses_of(model.fuser, features, moved)
                found = model.predict_and_rank(Batch(asked, features), asked)[1]
                ranks = [rank and rank.among for rank in found]
                close = {
                    "query": (query, golden["query"]),
                    "loss": (test.weighted(losses, recipe), golden["loss"]),
                    "loss by the decoder": (test.weighted(model(batch), recipe), golden["loss"]),
                }
                return Compared(close, {"ranks": (ranks, golden["rank"].tolist())})

            return forward

        compare(context, name, name, linker)


def more(context: Context) -> None:
    """The two views' likelihoods, their agreement, posteriors and paths."""
    test = helpers(context, "plugins/more/tests/test_more_golden.py")

    def tagger(
        golden: dict[str, Tensor], file: Path, folder: Path, device: torch.device
    ) -> Callable[[], Compared]:
        decoder = test.tagger_of(golden, two_views=True, word_dropout=0.0).to(device).train()
        given = test.states_of(golden)
        states = States({name: tensor.to(device) for name, tensor in given.tensors.items()})
        mask, tags = golden["mask"].bool(), golden["tags"].to(device)

        def forward() -> Compared:
            losses = decoder.loss(states, {"tags": tags})
            original = golden["original_emissions"].to(device)
            posterior = decoder.crf.log_marginals(original, mask.to(device))
            paths = decoder.crf.viterbi(original, mask.to(device))[0]
            close = {
                "likelihood with context": (2 * losses["nll"].reshape(1), golden["nll_extended"]),
                "likelihood without": (2 * losses["plain_nll"].reshape(1), golden["nll_original"]),
                "agreement": (2 * losses["agreement"].reshape(1), golden["kl"]),
                "loss": (sum(losses.values()).reshape(1), golden["multiview_loss"]),
                "posterior": (posterior.cpu()[mask], golden["posterior_original"][mask]),
            }
            return Compared(close, {"paths": (paths.tolist(), golden["viterbi"].tolist())})

        return forward

    compare(context, "more_crf", "more", tagger)
