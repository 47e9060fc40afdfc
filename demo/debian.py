"""Packages of Debian: fetched by name with apt-get, and read without installing them or unpacking them on disk."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

from mmkit.errors import DataError

MOST = 64 << 20
"""The most bytes of a file in a package that are read. Those of the demo have 5 MB at most."""
GIVE_THE_FILE = (
    "fetch it on a machine with Debian or Ubuntu (apt-get download {}), and name the file with --package"
)


def download(package: str, folder: Path) -> Path:
    """Fetch a package of the machine's Debian or Ubuntu into a folder; apt-get compares it with its signed lists.

    Raises `DataError` where there is no apt-get, or where it cannot fetch the package.
    """
    if shutil.which("apt-get") is None:
        raise DataError(
            f"the package {package} is fetched with apt-get, which this machine does not have",
            hint=GIVE_THE_FILE.format(package),
        )
    done = subprocess.run(
        ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False
    )
    found = sorted(folder.glob(f"{package}_*.deb"))
    if done.returncode or not found:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DataError(
            f"apt-get cannot fetch {package}: {said[-1] if said else 'it says nothing'}",
            hint=f"bring its lists up to date (sudo apt-get update), or {GIVE_THE_FILE.format(package)}",
        )
    return found[-1]


def package_of(path: Path) -> str:
    """The package in a file `NAME_VERSION_ARCHITECTURE.deb`. Raises `DataError` for a file that is not there."""
    if not path.is_file():
        raise DataError("there is no such file", where=path, hint="name a .deb file with --package")
    return path.name.partition("_")[0]


def read_files(package: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """The contents of those of the `wanted` files that a package has, by their paths (`usr/share/...`).

    Nothing is written: whatever paths a package has, no file of it comes onto the disk. Raises `DataError` for a file
    that is no package, or that has a wanted file of more than `MOST` bytes.
    """
    if shutil.which("dpkg-deb") is None:
        raise DataError(
            "a .deb file is read with dpkg-deb, which is missing", hint="install the package dpkg"
        )
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            return _members(process.stdout, set(wanted))
        except (tarfile.TarError, EOFError) as error:
            raise DataError(
                f"this is no whole Debian package: {error}", where=package, hint="fetch it again"
            ) from error
        except DataError as error:
            raise error.at(package) from None
        finally:
            process.kill()  # the rest is not needed


def _members(stream: IO[bytes], wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if path not in wanted or not member.isfile():
                continue
            if member.size > MOST:
                raise DataError(
                    f"{path} has {member.size:,} bytes, more than the {MOST:,} that are read",
                    hint="this is another package than the demo expects",
                )
            content = archive.extractfile(member)
            assert content is not None  # a regular file has a content
            found[path] = content.read()
            if len(found) == len(wanted):
                break
    return found
