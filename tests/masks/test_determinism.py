"""The same pixels have the same bytes: at any address, in any company, on any processor."""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import count

from benchmarks.determinism import digest, encode_again, without_vectors
from benchmarks.masks import Picture
from builder.masks.png import encode_masks
from builder.masks.rle import RleBatch
from builder.masks.tables import PNG_VERSION
from tests.masks.images import annotate, draw

# The sha256 of all PNGs of `pictures()`, by the encoder's version. Whoever changes the bytes gives
# the encoder another version, so that no shard of the old one is kept beside those of the new one.
DIGESTS = {"steps-1": "bb88af5b7288fe3cef6c5cbcff999c1e3f0f7fc8cfb8d16c424160d18b55a8c1"}


@lru_cache
def pictures() -> list[Picture]:
    sizes = ((300, 500, 40), (64, 65, 16), (7, 2250, 8), (120, 90, 300))
    return [Picture(annotate(draw(i, *size[:2], size[2]))) for i, size in enumerate(sizes)]


def test_masks_and_control_images_are_the_same_at_other_addresses() -> None:
    counts = encode_again(pictures(), 2_500)
    assert counts["encodings"] >= 2_500
    assert counts["control_images"] > 3
    assert counts["odd"] == counts["odd_control"] == counts["wrong"] == 0


def test_a_png_with_other_bytes_is_counted() -> None:
    calls = count()

    def now_and_then(batch: RleBatch) -> list[bytes]:
        pngs = encode_masks(batch)
        return [b"", *pngs[1:]] if next(calls) == 9 else pngs

    assert encode_again(pictures(), 500, now_and_then)["odd"] == 1


def test_the_bytes_belong_to_the_encoders_version() -> None:
    assert {PNG_VERSION: digest(pictures())} == DIGESTS


def test_the_bytes_do_not_depend_on_the_instructions_that_numpy_finds() -> None:
    command = [
        sys.executable,
        "-c",
        "import numpy; from numpy._core._multiarray_umath import __cpu_features__ as f, "
        "__cpu_dispatch__ as d; assert not any(map(f.get, d)); "
        "from benchmarks.determinism import digest; "
        "from tests.masks.test_determinism import pictures; print(digest(pictures()))",
    ]
    assert without_vectors(command) == digest(pictures())
