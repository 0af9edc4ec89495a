"""What counts as a degenerate caption."""

import pytest

from builder.captioning import quality


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("", "caption_empty"),
        (" \n", "caption_empty"),
        ("... 12 !", "caption_without_words"),
        ("the the the the", "caption_repeats"),
        ("a street at night night night night night", "caption_repeats"),
        ("a man in a hat a man in a hat", None),
        ("red and blue red and blue red and blue red and blue", "caption_repeats"),
        ("a cat on a catwalk", None),
        ("yes yes yes", None),
        ("夜の通り", None),
    ],
)
def test_degenerate_captions_are_told_from_others(caption: str, reason: str | None) -> None:
    assert quality.degenerate(caption) == reason
