"""A run at an address of the Hub: the files that its package lists, checked, in the Hub's cache on this machine.

No other file is fetched, nothing is run, and nothing is unpickled. A file that has arrived is kept by its commit, so
that an address with a whole commit hash needs no network the second time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # public, but not listed

from mmkit.errors import RunError
from mmkit.runs.folder import Run
from mmkit_hub import hub
from mmkit_hub.address import Address, is_commit
from mmkit_hub.contents import MOST_JSON, RUN_JSON, File, listed

LARGE = 50_000_000
"""Bytes from which on a file is told of before it is fetched."""
_ETAG = re.compile(r"[A-Za-z0-9_-]{1,128}")

Note = Callable[[str], None]


def fetch(text: str, note: Note) -> Path:
    """The folder of the run at an address. `note` is told which commit it is, if the address does not name one.

    Raises `RunError` for an address that is malformed or names no package, for what the Hub refuses, for files that
    are not as the package lists them, and if the Hub is needed and may not be contacted or does not answer.
    """
    address = Address.of(text)
    known = _cached(address)
    if known is not None and (address.is_pinned or hub.is_offline()):
        return (
            _told(address, known, note, "")
            if _missing(address, known) is None
            else _complete(address, known, note)
        )
    if hub.is_offline():
        raise _offline(address, RUN_JSON)
    try:
        commit = address.revision if address.is_pinned else _resolved(address)
        folder = _run_json(address.at(str(commit))).parent
    except RunError as error:
        if error.code not in (hub.UNREACHABLE, hub.TIMEOUT) or known is None or _missing(address, known):
            raise
        return _told(address, known, note, f"{error.what}; used from the cache of this machine: ")
    if not address.is_pinned:
        _told(address, folder, note, "")
    return _complete(address, folder, note)


def _cached(address: Address) -> Path | None:
    """The folder in the cache that has the `run.json` of an address."""
    found = try_to_load_from_cache(address.repository, RUN_JSON, revision=address.revision or "main")
    return Path(found).parent if isinstance(found, str) else None


def _told(address: Address, folder: Path, note: Note, before: str) -> Path:
    """The folder, after its commit was told to a user who did not name it."""
    if not address.is_pinned:
        note(f"{before}{address} is the commit {folder.name[:12]}; to pin it: {address.at(folder.name)}")
    elif before:
        note(f"{before}{address}")
    return folder


def _resolved(address: Address) -> str:
    """The commit that a branch or tag means now; the cache remembers it."""
    _head(address, RUN_JSON)
    fetched = _download(address, RUN_JSON, MOST_JSON)
    if not is_commit(fetched.parent.name):
        raise _lied(address, "it names no commit")
    return fetched.parent.name


def _run_json(pinned: Address) -> Path:
    """The package's `run.json` at a commit, which is small."""
    found = _cached(pinned)
    if found is not None:
        return found / RUN_JSON
    size = _head(pinned, RUN_JSON)
    if size > MOST_JSON:
        raise _lied(pinned, f"its {RUN_JSON} has {size:,} bytes")
    return _download(pinned, RUN_JSON, MOST_JSON)


def _files(address: Address, folder: Path) -> list[File]:
    if (folder / RUN_JSON).stat().st_size > MOST_JSON:
        raise _lied(address, f"its {RUN_JSON} is too large")
    return listed(Run(folder).facts(), address)


def _missing(address: Address, folder: Path) -> str | None:
    """A file of the package that is not in the cache; None if all are."""
    return next((f.name for f in _files(address, folder) if not (folder / f.name).is_file()), None)


def _complete(address: Address, folder: Path, note: Note) -> Path:
    """Fetch what is not in the cache yet of the files that the package lists."""
    pinned = address.at(folder.name)
    missing = [file for file in _files(address, folder) if not (folder / file.name).is_file()]
    if missing and hub.is_offline():
        raise _offline(address, missing[0].name)
    needed, free = sum(file.bytes for file in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"its files take {needed / 1e9:,.1f} GB more, and the disk of the cache has {free / 1e9:,.1f} GB left",
            where=address,
            hint="free some space, or name another disk by HF_HOME",
            code="hub.no-space",
        )
    for file in missing:
        _fetch_file(pinned, file, note)
    return folder


def _fetch_file(pinned: Address, file: File, note: Note) -> None:
    """Fetch a file, and refuse one that is not as the package lists it: of another size, or with other contents."""
    said = _head(pinned, file.name)
    if said != file.bytes:
        raise _differs(pinned, file, f"the Hub's has {said:,} bytes, and the package lists {file.bytes:,}")
    if file.bytes >= LARGE:
        note(f"fetching {file.name} ({file.bytes / 1e6:,.0f} MB)")
    path = _download(pinned, file.name, file.bytes)
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if path.stat().st_size != file.bytes or found != file.sha256:
        blob = path.resolve()
        path.unlink()
        blob.unlink(missing_ok=True)  # so that it is not taken for the right one next time
        raise _differs(pinned, file, "its contents have another SHA-256 than the package lists")


def _head(address: Address, name: str) -> int:
    """The size of a file as the Hub says. Raises `RunError` if it says nothing usable, or another commit."""
    endpoint = hub.endpoint()
    hub.check_allowed(endpoint)
    url = hf_hub_url(address.repository, name, revision=address.revision or "main", endpoint=endpoint)
    asked = partial(
        get_hf_file_metadata,
        url,
        token=hub.token_for(endpoint) or False,
        timeout=hub.ANSWER,
        endpoint=endpoint,
    )
    with hub.explained(address):
        found = hub.within(hub.PATIENCE, asked, address)
    if found.etag is None or not _ETAG.fullmatch(found.etag):  # the cache names files by it
        raise _lied(address, f"it gives no usable ETag of {name}")
    if not is_commit(found.commit_hash) or (address.is_pinned and found.commit_hash != address.revision):
        raise _lied(address, f"it has {name} of another commit ({str(found.commit_hash)[:60]!r})")
    if found.size is None or found.size < 0:
        raise _lied(address, f"it does not say how large {name} is")
    return found.size


def _download(address: Address, name: str, most: int) -> Path:
    """A file in the cache, fetched if it is not there. Not more than `most` bytes are taken."""
    endpoint = hub.endpoint()
    hub.check_allowed(endpoint)
    seconds = hub.PATIENCE + most / hub.SLOWEST
    asked = partial(
        hf_hub_download,
        address.repository,
        name,
        revision=address.revision or "main",
        endpoint=endpoint,
        token=hub.token_for(endpoint) or False,
        etag_timeout=hub.ANSWER,
        tqdm_class=_limited(address, name, most, time.monotonic() + seconds),
    )
    with hub.explained(address):
        return Path(hub.within(seconds, asked, address))


def _limited(address: Address, name: str, most: int, end: float) -> type[tqdm]:
    """A progress bar that stops a download: the client itself takes whatever a server sends, however long."""

    class Limited(tqdm):
        taken = 0

        def update(self, n: float | None = 1) -> bool | None:
            self.taken += int(n or 0)
            if self.taken > most:
                raise _lied(address, f"it sends more of {name} than the {most:,} bytes that it may have")
            if time.monotonic() > end:
                raise _lied(address, f"it sends {name} too slowly")
            shown: Any = super().update(n)
            return bool(shown)

    return Limited


def _offline(address: Address, name: str) -> RunError:
    return RunError(
        f"{name} is not in the cache of this machine, and the Hub may not be contacted",
        where=address,
        hint="load it once with the network (unset HF_HUB_OFFLINE); a loaded run itself contacts nobody",
        code="hub.offline",
    )


def _lied(address: Address, what: str) -> RunError:
    return RunError(
        f"the server does not answer as the Hub does: {what}",
        where=address,
        hint=f"check {hub.VARIABLE}, and proxies on the way",
        code="hub.wrong-answer",
    )


def _differs(address: Address, file: File, what: str) -> RunError:
    return RunError(
        f"{file.name} is not the package's: {what}",
        where=address,
        hint="try again; if this stays so, whoever made the package must push it again",
        code="hub.wrong-file",
    )
