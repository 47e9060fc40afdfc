"""Every block of the README that can be pasted is pasted, in order, into one shell's folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_every_block_works_as_it_stands(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MMKIT_CACHE": os.environ.get("MMKIT_CACHE", str(tmp_path / "cache")),
        "HF_HUB_OFFLINE": "1",
    }

    def run(script: str) -> str:
        command = ["bash", "-euc", script]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    # what `make demo` runs
    run("mmkit train hvpnet_twitter15 --sample --quiet --output runs/demo")
    said = []
    for language, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        said.append(run(text if language == "bash" else f"python - <<'END_OF_BLOCK'\n{text}\nEND_OF_BLOCK"))
    assert len(said) >= 4
    assert re.search(r"PER Jordan.*ORG Jordan", said[0], re.DOTALL)
    assert len((tmp_path / "found.jsonl").read_text().splitlines()) >= 2
    assert "'label': 'PER'" in said[2]
    assert (tmp_path / "data" / "mine" / "train.jsonl").is_file()
