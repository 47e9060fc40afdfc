"""Who took a photograph, and under which licence it is: from the files `README` in GCompris' folders of pictures.

Their paragraphs are about some files each:

    Copyright: Bernard Spragg
    License: CC0-1.0
    Source: https://commons.wikimedia.org/wiki/File:Aylesbury_Duck._(9373723157).jpg
    Files:
    duck.webp
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FREE = re.compile(r"public[ -]domain|CC0|GPL|CC[ -]BY([ -]SA)?(?![ -]?(SA|NC|ND))", re.IGNORECASE)
"""How a licence begins that allows copies and any use, if the author is named."""

_FIELD = re.compile(r"(Copyright|License|Source|Comment|Files):\s*(.*)")


@dataclass(frozen=True)
class Credit:
    """The author, the licence and the source of a photograph, as they are told."""

    author: str
    licence: str
    source: str

    @property
    def is_free(self) -> bool:
        """Whether anybody may copy and use it."""
        return FREE.match(self.licence) is not None


def read_credits(text: str) -> dict[str, Credit]:
    """Path of a file → its credit. Paragraphs that name no author or no licence are left out."""
    found: dict[str, Credit] = {}
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        files: list[str] = []
        for line in map(str.strip, paragraph.splitlines()):
            if match := _FIELD.fullmatch(line):
                fields[match[1]] = match[2].strip()
            elif line:
                files.append(line)
        if fields.get("Copyright") and fields.get("License"):
            source = fields.get("Source") or fields.get("Comment", "")
            found |= dict.fromkeys(files, Credit(fields["Copyright"], fields["License"], source))
    return found
