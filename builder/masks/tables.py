"""The code tables of the masks' PNGs, made once by `python -m benchmarks.codes`.

Each digit is the size in bits (hexadecimal) of a symbol's word: literals 0 to 255, the end of the
block, the lengths by RFC 1951, 3.2.5. The first table is for masks of many changes, the second for
masks of few, the third for masks without bytes in which there is more than one edge. In all of them
258 bytes take one bit, and a distance takes another. With other tables the same masks have other
bytes.
"""

from __future__ import annotations

from builder.masks.codes import Alphabet

# The encoder of masks and control images: raise the number when the same pixels get other bytes.
PNG_VERSION = "steps-1"

_TABLES = (
    "46d6ddd6ddddddd6ddddddddddddddd6ddddddddddddddddddddddddddddddd6dddddddddddddddddddddddd"
    "ddddddddddddddddddddddddddddddddddddddd66ddddddddddddddddddddddddddddddddddddddddddddddd"
    "dddddddddddddddd6ddddddddddddddddddddddddddddddd6ddddddddddddddd6ddddddd6ddc6c65a7888889"
    "98899899998bcaa8674891",
    "46d6ddd6ddddddd6ddddddddddddddd6ddddddddddddddddddddddddddddddd6dddddddddddddddddddddddd"
    "ddddddddddddddddddddddddddddddddddddddd66ddddddddddddddddddddddddddddddddddddddddddddddd"
    "dddddddddddddddd6ddddddddddddddddddddddddddddddd6ddddddddddddddd6dddcccc6ccc6c65a8888888"
    "8888888887777777777771",
    "47b7b006b0000006b000000000000006a0000000000000000000000000000006a00000000000000000000000"
    "0000000000000000000000000000000000000006600000000000000000000000000000000000000000000000"
    "0000000000000000600000000000000000000000000000006000000000000000600000006000606488888888"
    "7777777888888877777771",
)

MASK_ALPHABETS = [Alphabet([int(digit, 16) for digit in table]) for table in _TABLES]
