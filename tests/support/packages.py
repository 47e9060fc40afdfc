"""Small packages of third parties in `tests/packages`: installed by pip into folders of their own, and used there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def install(name: str, target: Path) -> Path:
    """Install a package of `tests/packages` into a folder; returns the folder."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index"]
    source = str(ROOT / "tests" / "packages" / name)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
    return target


def mmkit(*arguments: str, site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run mmkit with the packages in `site` beside the installed ones, in the folder `cwd`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [site, ROOT]))}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmkit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)
