"""The feature store: a frozen encoder's features of its items are computed once, for every epoch and run.

`prepare` finds the items of a dataset, computes the features that are not in the store, and attaches all of them to
the encoder. The store is in `$MMKIT_CACHE/features/<fingerprint>/`. The fingerprint covers weights, preprocessing,
part version and dtype; an item's key covers its content. So a stored feature is never out of date. Any number of
processes may fill one store at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from mmkit.batch import Features
from mmkit.cache import cache_dir
from mmkit.data.types import Entity, Example
from mmkit.encoders.encoding import batch_for, encoded
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, MissingImages, is_blank
from mmkit.encoders.shards import RANGES, Shards, range_of
from mmkit.encoders.stored import StoredFeatures
from mmkit.encoders.threads import cores, load_ahead, loading
from mmkit.errors import DataError, ImageError
from mmkit.terminal.notes import capped

FLUSH_BYTES = 64 << 20
FLUSH_SECONDS = 20.0
"""Computed features are written when they reach this size or age; a killed process loses at most this."""

BATCHES = 4
"""Batches of a group of items, at least. Groups are what processes share; at the start of each they wait for images."""

Progress = Callable[[int, int], None]
"""Called with how many items are done, and how many there are to compute."""


@dataclass
class Preparation:
    """The results of `prepare`."""

    items: int = 0
    """The number of distinct items, including a blank one if there is any."""
    computed: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    """Files that do not exist → why; blank images are used instead."""
    broken: dict[str, str] = field(default_factory=dict)
    """Files that are not valid images → why; blank images are used instead."""
    blank: bool = False
    """Whether all items are blank."""
    damaged: list[Path] = field(default_factory=list)
    """Shards that were unreadable, and computed again."""

    def __str__(self) -> str:
        text = f"{self.items:,} distinct items, {self.computed:,} of them computed now"
        if self.missing or self.broken:
            files = [*self.missing, *self.broken]
            kinds = {"missing": len(self.missing), "broken": len(self.broken)}
            told = " and ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
            text += f"\n  warning: blank ones replace {told}: {', '.join(files[:3])}{', ...' if len(files) > 3 else ''}"
            if self.blank:
                text += "\n  none of the images exist: is the folder of images right?"
        elif self.blank:
            text += "; no example has what this encoder reads"
        if self.damaged:
            names = ", ".join(path.name for path in self.damaged)
            text += f"; {len(self.damaged)} damaged files of stored features were computed again: {names}"
        return text


def prepare(
    encoder: ItemEncoder,
    examples: Iterable[Example | Entity],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Preparation:
    """Store a frozen encoder's features of `examples` and attach them as `encoder.stored`.

    Items are encoded on the encoder's own device, in batches of `batch_size`, or of more on a GPU, while `threads` load
    the next ones. Calling it again adds examples. Place the features with `encoder.stored.place` afterwards.

    Raises one `DataError` that names the first few missing or broken items, unless `encoder.missing` allows blank
    ones instead (features of the other items are stored in any case), and `MMKitError` if the store cannot be
    written.
    """
    if not encoder.frozen:
        raise ValueError("only the features of a frozen encoder can be stored")
    fingerprint = encoder.fingerprint()
    stored = encoder.stored
    if stored is None or stored.fingerprint != fingerprint:
        shards = Shards(cache_dir("features") / fingerprint)
        stored = StoredFeatures(shards, fingerprint, encoder.ragged, encoder.source.drops_blanks)
    report = Preparation()
    with loading(threads or cores()) as pool:
        slots = _slots(encoder, examples, pool, report)
        raws = {key: raw for items in slots.values() for key, raw in items}
        report.items, report.blank = len(raws), bool(raws) and all(map(is_blank, raws))
        instead = _compute(encoder, stored.shards, raws, pool, batch_size, progress, report)
    stored.add(
        {
            identity: [(instead.get(key, key), not (key in instead or is_blank(key))) for key, _ in items]
            for identity, items in slots.items()
            if identity not in stored
        }
    )
    encoder.stored = stored
    return report


def _slots(
    encoder: ItemEncoder, examples: Iterable[Example | Entity], pool: ThreadPoolExecutor, report: Preparation
) -> dict[Hashable, list[tuple[str, Any]]]:
    """The items of each distinct example; all missing ones are found before an error is raised."""
    distinct = {encoder.source.identity(x): x for x in examples}
    missing = MissingImages("blank")

    def items(x: Example | Entity) -> list[tuple[str, Any]]:
        return encoder.source.items(x, missing)

    slots = dict(zip(distinct, pool.map(items, distinct.values()), strict=True))
    report.missing = missing.replaced
    refuse_pictures(encoder.missing, report.missing, "missing")
    return slots


def _compute(
    encoder: ItemEncoder,
    shards: Shards,
    raws: Mapping[str, Any],
    pool: ThreadPoolExecutor,
    batch_size: int,
    progress: Progress | None,
    report: Preparation,
) -> dict[str, str]:
    """Write features of items that are not in the store; returns keys of broken items → keys of their replacements.

    Processes that do this at the same time share the work. Each takes a group of items that nobody has, and at the end
    waits for the groups of others; of one that was killed, it computes what is missing.
    """
    source = encoder.source
    if source.drops_blanks:
        raws = {key: raw for key, raw in raws.items() if key != BLANK}
    if all(key in shards.where for key in (*raws, *[BLANK] * source.drops_blanks)):
        return {}
    shards.refresh()
    report.damaged = list(shards.damaged)
    shards.clean()
    size = batch_for(batch_size, encoder.device)
    broken = _fill(encoder, shards, raws, pool, size, progress, report)
    report.broken = {error.where: error.what for error in broken.values()}
    refuse_pictures(encoder.missing, report.broken, "broken")
    stand_ins = {key: source.stand_in(raws[key]) for key in broken}
    blanks = dict(stand_ins.values())
    if source.drops_blanks:
        blanks[BLANK] = source.blank()
    for key, raw in blanks.items():
        if key in shards.where or key in raws:
            continue
        with shards.claimed([range_of(key)], wait=True), Writer(shards, encoder.ragged) as writer:
            shards.refresh()  # another process may have written it meanwhile
            if key not in shards.where:
                writer.put([key], _encode_blank(encoder, raw))
    return {key: blank for key, (blank, _) in stand_ins.items()}


def _fill(
    encoder: ItemEncoder,
    shards: Shards,
    raws: Mapping[str, Any],
    pool: ThreadPoolExecutor,
    size: int,
    progress: Progress | None,
    report: Preparation,
) -> dict[str, ImageError]:
    """Write features of the items, in batches of `size`; returns those that are broken, which have none."""
    broken: dict[str, ImageError] = {}

    def wanted(keys: Iterable[str]) -> list[str]:
        return [key for key in keys if key not in shards.where and key not in broken]

    total = len(wanted(raws))
    done = told = 0
    groups = _groups(raws, size)
    for wait in (False, True):
        for ranges, keys in groups:
            if not wanted(keys):
                continue
            with shards.claimed(ranges, wait=wait) as mine:
                if not mine:
                    continue
                shards.refresh()
                done = total - len(wanted(raws))
                own = {key: raws[key] for key in wanted(keys)}
                own = dict(sorted(own.items(), key=lambda item: encoder.source.cost(item[1])))
                loaded = load_ahead(encoder.source, own, pool, 2 * size)
                with Writer(shards, encoder.ragged) as writer:  # all is written before the claim ends
                    for made in encoded(encoder, loaded, size):
                        broken |= made.broken
                        if made.keys:
                            writer.put(made.keys, made.features)
                        report.computed += len(made.keys)
                        done += made.total
                        if progress is not None:
                            progress(done, total)
                            told = done
    if progress is not None and told < total:
        progress(total, total)  # the last ones were computed by others
    return broken


def _groups(keys: Iterable[str], size: int) -> list[tuple[range, list[str]]]:
    """Ranges of keys, and the keys in them: the same groups in every process, of at least some batches each.

    They depend on the keys alone, not on what is stored, so that processes make the same batches of them.
    """
    by_range: list[list[str]] = [[] for _ in range(RANGES)]
    count = 0
    for key in keys:
        by_range[range_of(key)].append(key)
        count += 1
    groups = min(RANGES, max(1, count // (BATCHES * size)))
    width = RANGES >> (groups.bit_length() - 1)
    ranges = [range(first, first + width) for first in range(0, RANGES, width)]
    return [(some, [key for number in some for key in by_range[number]]) for some in ranges]


def _encode_blank(encoder: ItemEncoder, raw: Any) -> Features:
    """The features of a blank item `[1, ...]`, or zeros if blanks are dropped."""
    features = encoder.encode(encoder.source.stack([encoder.source.load(raw)]))
    return {k: torch.zeros_like(v) for k, v in features.items()} if encoder.source.drops_blanks else features


class Writer:
    """Collects features and appends them to shards from time to time and at the end, also when interrupted."""

    def __init__(self, shards: Shards, ragged: frozenset[str]) -> None:
        self.shards, self.ragged = shards, ragged
        self._keys: list[str] = []
        self._features: list[Features] = []
        self._bytes, self._since = 0, time.monotonic()

    def put(self, keys: list[str], features: Features) -> None:
        """Features `[N, ...]`; ragged ones are cut to each item's `lengths`."""
        features = {name: tensor.cpu() for name, tensor in features.items()}
        if self.ragged:
            longest = max((features[name].shape[1] for name in self.ragged), default=0)
            real = torch.arange(longest) < features["lengths"][:, None]
            features |= {name: features[name][real] for name in self.ragged}
        self._keys += keys
        self._features.append(features)
        self._bytes += sum(tensor.nbytes for tensor in features.values())
        if self._bytes >= FLUSH_BYTES or time.monotonic() - self._since >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the collected features as one shard."""
        keys, features = self._keys, self._features
        self._keys, self._features = [], []  # also if writing fails: it is not tried twice
        self._bytes, self._since = 0, time.monotonic()
        if keys:
            self.shards.append(keys, {name: torch.cat([f[name] for f in features]) for name in features[0]})

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()


def refuse_pictures(missing: MissingImages, files: Mapping[str, str], how: str) -> None:
    """Raise a `DataError` that names images (file → why) if blank images are not allowed."""
    if files and missing.policy == "error":
        shown = "".join(f"\n  {line}" for line in capped(f"{path}: {why}" for path, why in files.items()))
        raise DataError(
            f"{len(files):,} images are {how}:{shown}",
            hint='fix or download them, or set missing_images = "blank" in [data] to use blank images instead',
            code="image.unusable",
        )
