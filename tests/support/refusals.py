"""What an encoder says when its model cannot be loaded, and two files that are none of a model's."""

from __future__ import annotations

import pytest

from mmkit.encoders.base import Encoder
from mmkit.errors import PartError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 440449768\n"
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


def message(encoder: Encoder, code: str = "encoder.unloadable") -> str:
    """What `build` says of an encoder; `problems` says the same without building."""
    with pytest.raises(PartError) as caught:
        encoder.build()
    assert caught.value.code == code, caught.value
    assert str(caught.value) in [str(error) for error in encoder.problems()]
    assert "\n" not in caught.value.what and caught.value.hint
    return str(caught.value)
