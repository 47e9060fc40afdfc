"""Whether a request that failed is worth another try, and how long to wait before it."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from math import inf

import openai

from mmkit_chat.client import MalformedError

MOST_WAIT = 900.0
"""Seconds: a server that asks to wait longer is not waited for."""

_PASSING = {408, 409, 429}
"""Statuses of refusals that pass. Those from 500 on pass, too."""

_LONGEST = 1e9
"""Seconds that stand for any longer time."""

_HEADER_LENGTH = 100
"""A longer header is no number and no date."""


def asked_to_wait(error: openai.OpenAIError) -> float:
    """The seconds that a server asks to wait (`Retry-After`: a number or a date); 0 if it asks for nothing."""
    if not isinstance(error, openai.APIStatusError):
        return 0.0
    headers: Mapping[str, str] = error.response.headers
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")[:_HEADER_LENGTH]) * unit
        except ValueError:
            continue
        return min(seconds, _LONGEST) if seconds > 0 else 0.0  # not a number is 0, too
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", "")[:_HEADER_LENGTH])
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return 0.0


def wait_before(again: int, error: openai.OpenAIError) -> float:
    """Seconds to wait before the `again`-th repetition of a request (from 1); infinite if none will help.

    It is what the server asks for, else grows with each repetition.
    """
    if not _may_pass(error):
        return inf
    asked = asked_to_wait(error)
    if asked > MOST_WAIT:
        return inf
    return asked or float(min(0.25 * 2**again, 8.0))


def is_quota(error: openai.OpenAIError) -> bool:
    """Whether the account has no credit left. Servers report this with the status of a rate limit."""
    return isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota"


def _may_pass(error: openai.OpenAIError) -> bool:
    if not isinstance(error, openai.APIStatusError):
        return isinstance(
            error, (openai.APIConnectionError, MalformedError)
        )  # a timeout is one of the former
    told = error.response.headers.get("x-should-retry")  # OpenAI's servers say it
    if told in ("true", "false"):
        return bool(told == "true")
    return not is_quota(error) and (error.status_code in _PASSING or error.status_code >= 500)
