"""Recognizes degenerate captions.

Captioning models sometimes give no words (LAVIS issue 132) or repeat one phrase. For such an image
`generate` makes a second caption with the options of `plain.RETRY`. If that is degenerate too, the
image is rejected with the reason that `degenerate` returns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

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
