"""Chat models for plugins of mmkit: OpenAI-compatible servers, or a language model on this machine.

`mmkit_chat.model.ChatModel` is what a part of a plugin has as its model.
"""
