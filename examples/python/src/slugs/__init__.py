"""Makes readable parts of URLs from titles."""

import re
import unicodedata

__all__ = ["slug", "unique"]


def slug(title: str, limit: int = 60) -> str:
    """Returns the title in lower-case ASCII letters, digits and hyphens.

    It has at most `limit` characters and is cut between words where it can be.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain.lower())
    kept = ""
    for word in words:
        longer = f"{kept}-{word}" if kept else word[:limit]
        if len(longer) > limit:
            break
        kept = longer
    return kept


def unique(titles: "list[str]") -> "list[str]":
    """Returns a slug for each title; equal ones get -2, -3 … at their end."""
    taken = set()
    result = []
    for title in titles:
        base = candidate = slug(title) or "untitled"
        number = 1
        while candidate in taken:
            number += 1
            candidate = f"{base}-{number}"
        taken.add(candidate)
        result.append(candidate)
    return result
