"""When a caption is degenerate, and what is done about it.

Captioning models fail now and then: no words (LAVIS issue 132), or one phrase again and again. Such
a caption is made once more by `generate` under the constraints of `plain.RETRY` (some words, no
pair of words twice); if that is degenerate too, the image is rejected with the reason below.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_MANY = 20  # fewer captions may well be the same
_SHARED = 0.9

# A phrase of one to four words, four times or more in a row.
_REPEATED = re.compile(r"(?:^|\s)((?:\S+\s+){0,3}\S+)(?:\s+\1){3}(?:\s|$)")


def degenerate(caption: str) -> str | None:
    """What is wrong with a caption, as a reject's reason, or None.

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
    """The caption that nine images in ten have, or more, and how many have it.

    A model that does not see the images gives them all one caption. None where there is no such
    caption, or fewer than 20 captions, which may well be the same.

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
