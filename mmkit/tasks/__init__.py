"""Tasks: what a model is asked, and what it answers. A decoder has one, and plugins bring their own."""

from __future__ import annotations

from mmkit.tasks.answer import Answer, Found
from mmkit.tasks.base import Input, Survey, Task, known_tasks
from mmkit.tasks.joint import JointAnswer, JointTask
from mmkit.tasks.link import LinkAnswer, LinkTask
from mmkit.tasks.pair import PairAnswer, PairTask
from mmkit.tasks.span import SpanAnswer, SpanTask

__all__ = [
    "Answer",
    "Found",
    "Input",
    "JointAnswer",
    "JointTask",
    "LinkAnswer",
    "LinkTask",
    "PairAnswer",
    "PairTask",
    "SpanAnswer",
    "SpanTask",
    "Survey",
    "Task",
    "known_tasks",
]
