"""What passes between the processes of a cluster, as bytes.

Ray itself runs whatever a process of its cluster sends, so pickle opens nothing that is not open already. Bytes of a
file, or of anybody outside, must not come here.
"""

from __future__ import annotations

import pickle
from typing import Any


def packed(x: Any) -> bytes:
    """A task or an answer as bytes."""
    return pickle.dumps(x)


def unpacked(content: bytes) -> Any:
    """The task or answer of `packed`, from a process of the same cluster."""
    return pickle.loads(content)
