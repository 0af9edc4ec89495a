"""Recognizes degenerate captions.

Captioning models sometimes give no words (LAVIS issue 132) or repeat one phrase. For such an image
`generate` makes a second caption with `plain.retry_options`. If that is degenerate too, the
image is rejected with the reason that `degenerate` returns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from builder.core.console import counted

_MANY = 20  # fewer captions than this may be the same by chance
_SHARED = 0.9

# A phrase of one to four words, four times or more in a row.
_REPEATED = re.compile(r"(?:^|\s)((?:\S+\s+){0,3}\S+)(?:\s+\1){3}(?:\s|$)")


def degenerate(caption: str) -> str | None:
    """Return the reject's reason if a caption is degenerate, or None.

    >>> degenerate(" "), degenerate("4.")
    ('caption_empty', 'caption_without_words')
    >>> degenerate("a man, a man, a man, a man, and a dog")
    'caption_repeats'
    >>> degenerate("a man and a dog and a man")
    """
    if not caption.strip():
        return "caption_empty"
    if not any(character.isalpha() for character in caption):
        return "caption_without_words"
    return "caption_repeats" if _REPEATED.search(caption) else None


def shared_caption(captions: Iterable[str]) -> tuple[str, int] | None:
    """Return the caption of at least nine images in ten, and how many images have it.

    A model that ignores the images gives all of them the same caption. The result is None if there
    is no such caption, or if there are fewer than 20 captions.

    >>> shared_caption(["a dog"] * 27 + ["a cat", "a man", "a car"])
    ('a dog', 27)
    >>> shared_caption(["a dog"] * 26 + ["a cat", "a man", "a car", "a tree"])
    >>> shared_caption(["a dog"] * 19)
    """
    counts = Counter(captions)
    if counts.total() < _MANY:
        return None
    caption, images = counts.most_common(1)[0]
    return (caption, images) if images >= _SHARED * counts.total() else None


def why_no_caption(rejects: Mapping[str, int], table: Path) -> str:
    """Say why not one image of a source has a caption, and what to do.

    Parameters
    ----------
    rejects
        The number of rejected images, by reason. There is at least one.
    table
        The rejects file.
    """
    reason, count = max(sorted(rejects.items()), key=lambda entry: entry[1])
    if reason.startswith("caption_"):
        advice = "choose another model or prompt, or allow more new tokens"
    elif reason == "unusable_file_name":
        advice = "rename the images"
    else:
        advice = f"replace the images, delete {table}, and run the same command again"
    return (
        f"no caption was made: {counted(sum(rejects.values()), 'image')} rejected, {count:,} of "
        f"them for {reason} (see {table.name}); {advice}"
    )
