"""Addresses of runs on the Hub: `hf://user/name@revision`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmkit.errors import RunError

EXAMPLE = "hf://user/name@main (a branch, a tag, or a commit: hf://user/name@0123abc)"

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_WORD}/{_WORD}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Address:
    """A model repository, and a branch, tag or commit of it."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a whole commit hash, which always means the same files."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> Address:
        """The same repository at a commit."""
        return Address(self.repository, commit)

    @classmethod
    def of(cls, text: str) -> Address:
        """Raises `RunError` for what is no such address."""
        repository, at, revision = text.removeprefix("hf://").partition("@")
        if not text.startswith("hf://") or not is_repository(repository):
            raise _malformed(text, "it needs a user (or an organization) and a name")
        if at and (not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
            raise _malformed(text, "what follows @ is no revision")
        return cls(repository, revision or None)


def is_repository(name: str) -> bool:
    """Whether a repository of the Hub can be called so: `user/name`."""
    odd = "--" in name or ".." in name or name.endswith(".git")
    return len(name) <= 96 and not odd and _REPOSITORY.fullmatch(name) is not None


def is_commit(text: object) -> bool:
    """Whether this is a whole commit hash."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def _malformed(text: str, why: str) -> RunError:
    return RunError(
        f"this is no address of a run on the Hub: {why}",
        where=text[:200],
        hint=f"for example: {EXAMPLE}",
        code="hub.address",
    )
