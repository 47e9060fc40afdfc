"""DIM for mmkit."""

from __future__ import annotations

from mmkit import moved

MOVED = {
    "mmkit_dim.answers": "mmkit_chat.answers",
    "mmkit_dim.blip2": "mmkit_chat.blip2",
    "mmkit_dim.chat_server": "mmkit_chat.server",
    "mmkit_dim.endpoint": "mmkit_chat.endpoint",
    "mmkit_dim.local_model": "mmkit_chat.local_model",
    "mmkit_dim.stand_ins": "mmkit_chat.blip2_stand_in",
}
"""What a module was called when chat models and BLIP-2 were part of this package → what it is called now."""

moved.install(MOVED)
