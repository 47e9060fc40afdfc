"""Where a run is: a folder on this machine, or an address such as `hf://user/name` that a plugin opens.

Only what a user names is looked up here, on the command line or in Python. What a recipe names is not: a recipe may
come from anyone, and opening an address may contact a server.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmkit import hooks
from mmkit.config.packages import scheme_hint
from mmkit.errors import RunError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//?)(?!/)(.*)", re.DOTALL)


def address_of(run: str | Path) -> str:
    """The address that names a run, `scheme://...`; empty for a folder. A `Path` may have lost one of the slashes."""
    found = _ADDRESS.fullmatch(str(run))
    if found is None or (found[2] == "/" and Path(found[1] + ":").is_dir()):
        return ""
    return f"{found[1].lower()}://{found[3]}"


def open_run(run: str | Path) -> Path:
    """The folder of a run: `run` itself, or the one into which a plugin's `mmkit_open_run` puts what has this address.

    Raises `RunError` if no installed plugin opens such addresses, and whatever the plugin raises.
    """
    address = address_of(run)
    if not address:
        return Path(run)
    folder: Path | None = hooks.manager().hook.mmkit_open_run(address=address)
    if folder is None:
        scheme = address.partition(":")[0]
        raise RunError(
            f"no installed package opens addresses that begin with {scheme}://",
            where=address,
            hint=scheme_hint(scheme)
            or "name a run's folder; a plugin opens addresses by the hook mmkit_open_run",
            code="run.address",
        )
    return folder


def check_own_place(run: str | Path, output: Path | str | None) -> None:
    """Raise `RunError` if results would be written into a run that an address names: it is not the user's folder."""
    if output is None and (address := address_of(run)):
        raise RunError(
            "results are not written into a run that an address names",
            where=address,
            hint="name an --output folder for them (output=... in Python)",
            code="run.no-output",
        )
