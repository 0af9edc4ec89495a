"""ASAM-Datasets as its users see it: schemas, configs, loading, and masks for training.

One file that stands alone: it needs datasets, pyarrow, numpy, pillow and an RLE library, imports
nothing of the builder, and is published in the Hub repo beside the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt

REPO_ID = "xhk/ASAM-Datasets"

# ---------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------


class AsamDatasetsError(Exception):
    """Base of every error that this project raises on purpose."""


# ---------------------------------------------------------------------------------------------
# Schemas. Lists are written in the form that datasets 3.x and later both read.
# ---------------------------------------------------------------------------------------------

_SEGMENTATION = {"size": [datasets.Value("int32")], "counts": datasets.Value("string")}

# Column order matters: diffusers' ControlNet scripts default to the names image, text and
# conditioning_image, and fall back to the positions 0, 1 and 2.
TRAIN_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "conditioning_image": datasets.Image(mode="RGB"),
        "image_id": datasets.Value("int64"),
        "file_name": datasets.Value("string"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "masks": [datasets.Image(decode=False)],
        "annotations": [
            {
                "id": datasets.Value("int64"),
                "segmentation": _SEGMENTATION,
                "bbox": [datasets.Value("float64")],
                "area": datasets.Value("int64"),
                "predicted_iou": datasets.Value("float64"),
                "point_coords": [[datasets.Value("float64")]],
                "crop_box": [datasets.Value("float64")],
                "stability_score": datasets.Value("float64"),
            }
        ],
        "image_sha256": datasets.Value("string"),
        "source": datasets.Value("string"),
        "num_rejected": datasets.Value("int32"),
    }
)

EVAL_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "image_id": datasets.Value("string"),
        "file_name": datasets.Value("string"),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "masks": [datasets.Image(decode=False)],
        "void_mask": datasets.Image(decode=False),
        "annotations": [
            {
                "id": datasets.Value("int64"),
                "category": datasets.Value("string"),
                "category_id": datasets.Value("int64"),
                "segmentation": _SEGMENTATION,
                "bbox": [datasets.Value("float64")],
                "area": datasets.Value("int64"),
                "iscrowd": datasets.Value("bool"),
            }
        ],
        "image_sha256": datasets.Value("string"),
        "source": datasets.Value("string"),
        "num_rejected": datasets.Value("int32"),
    }
)

# ---------------------------------------------------------------------------------------------
# Configs
# ---------------------------------------------------------------------------------------------

CONFIG_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
TRAIN_CONFIG = re.compile(r"sa_\d{6}")
PROTOCOLS = ("native", "sam", "asam")
EVAL_DATASETS = (
    *("ppdls", "bbbc038v1", "doors", "timberseg", "ndd20", "lvis", "streets", "zerowaste_f"),
    *("ishape", "ade20k", "ovis", "hypersim", "ndispark", "visor", "plittersdorf", "egohos"),
    *("ibd", "woodscape", "cityscapes", "pidray", "dram", "trashcan", "gtea"),
    *("coco2017", "voc2012", "big", "hrsod_te", "camo", "kvasir_seg", "cvc_clinicdb"),
)


def features_of(kind: str) -> datasets.Features:
    """The features of a config's kind, "train" or "eval"."""
    return {"train": TRAIN_FEATURES, "eval": EVAL_FEATURES}[kind]


def legacy_metadata(features: datasets.Features) -> dict[str, Any]:
    """The Hugging Face schema metadata of `features`, with lists as `[X]`.

    datasets 4 and later write `{"_type": "List", "feature": X}`, which 3.x refuses; all of them
    read the older form (datasets/features/features.py, `generate_from_dict`).
    """

    def legacy(node: Any) -> Any:
        if isinstance(node, list):
            return [legacy(x) for x in node]
        if isinstance(node, dict) and node.get("_type") in ("List", "Sequence"):
            return [legacy(node["feature"])]
        if isinstance(node, dict):
            return {key: legacy(value) for key, value in node.items()}
        return node

    return {"info": {"features": legacy(features.to_dict())}}


# ---------------------------------------------------------------------------------------------
# Masks. Compressed COCO RLE, all masks of an image at a time and without a loop over them.
# ---------------------------------------------------------------------------------------------

_Ints = npt.NDArray[np.int64]

_MAX_GROUP = 12  # characters of one count: 60 bits, so that no sum below leaves int64
_MAX_PIXELS = 2**31 - 1
_CANVAS_WORDS = 1 << 17  # one MiB of bits at a time: it stays in the cache


@dataclass(frozen=True, slots=True)
class MaskRuns:
    """The runs of ones of N masks, as pixel numbers in column-major order.

    Run k covers the pixels [starts[k], ends[k]) and is never empty; mask i owns the runs
    offsets[i] to offsets[i + 1]. `problems` maps the masks whose RLE is malformed, which have no
    runs, to (reason, expected, found).
    """

    starts: _Ints  # (R,)
    ends: _Ints  # (R,)
    offsets: _Ints  # (N + 1,)
    problems: dict[int, tuple[str, str, str]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> _Ints:
        """The mask that each run belongs to, (R,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def parse_rle(counts: Sequence[str | bytes], pixels: int | npt.ArrayLike) -> MaskRuns:
    """Parse compressed COCO RLE strings, one per mask.

    `pixels` is height x width, of all masks or of each. The format is rleFrString's of
    pycocotools' maskApi.c: characters less 48, the low 5 bits first, bit 5 set when more follow,
    bit 4 of the last one the sign; from the fourth count on each is the difference from the count
    two before it. Never raises on a bad string: see `MaskRuns.problems`.
    """
    number = len(counts)
    sizes = np.broadcast_to(np.asarray(pixels, np.int64), (number,))
    data, lengths = _characters(counts)
    problems: dict[int, tuple[str, str, str]] = {}
    for i in np.flatnonzero(lengths == 0).tolist():
        problems[i] = ("rle_empty", "a compressed COCO RLE", "an empty string")
    if not len(data):
        nothing = np.zeros(0, np.int64)
        return MaskRuns(nothing, nothing, np.zeros(number + 1, np.int64), problems)

    stops = np.cumsum(lengths)  # the end of each mask's characters
    codes = data - np.uint8(48)
    if codes.max() > 63:
        bad = np.flatnonzero(codes > 63)
        masks, first = np.unique(np.searchsorted(stops, bad, side="right"), return_index=True)
        for i, at in zip(masks.tolist(), bad[first].tolist(), strict=True):
            found = f"byte 0x{data[at]:02x} at {at - stops[i] + lengths[i]}"
            problems[i] = ("rle_bad_character", "characters from '0' to 'o'", found)
    final = (codes & 32) == 0  # the last character of a group
    last = stops[lengths > 0] - 1
    for i in np.flatnonzero(lengths > 0)[~final[last]].tolist():
        expected = "a last character without the continuation bit"
        found = repr(chr(data[stops[i] - 1]))
        problems.setdefault(i, ("rle_unterminated", expected, found))
    final[last] = True

    # One group of characters per count, as differences.
    group_stops = np.flatnonzero(final) + 1
    group_starts = np.empty_like(group_stops)
    group_starts[0], group_starts[1:] = 0, group_stops[:-1]
    group_sizes = group_stops - group_starts
    counted = np.searchsorted(group_stops, stops, side="right")  # groups up to each mask's end
    values = (codes[group_starts] & 31).astype(np.int64)
    longest = int(group_sizes.max())
    more = np.flatnonzero(group_sizes > 1)
    for k in range(1, min(longest, _MAX_GROUP)):
        values[more] |= (codes[group_starts[more] + k] & 31).astype(np.int64) << (5 * k)
        more = more[group_sizes[more] > k + 1]
    negative = np.flatnonzero(codes[group_stops - 1] & 16)
    values[negative] -= np.int64(1) << (5 * np.minimum(group_sizes[negative], _MAX_GROUP))
    if longest > _MAX_GROUP:
        bad = np.flatnonzero(group_sizes > _MAX_GROUP)
        masks, first = np.unique(np.searchsorted(counted, bad, side="right"), return_index=True)
        for i, size in zip(masks.tolist(), group_sizes[bad[first]].tolist(), strict=True):
            expected = f"at most {_MAX_GROUP} characters a count"
            problems.setdefault(i, ("rle_overflow", expected, f"{size} characters"))
    per_mask = np.diff(counted, prepend=0)
    for i in problems:
        values[counted[i] - per_mask[i] : counted[i]] = 0
    limit = int(sizes.max()) + 1  # further than any good count: keeps the sums small
    np.clip(values, -limit, limit, out=values)

    # Two counts a line, zeros and ones in turn, each mask from a line of its own: the differences
    # then add up along the columns (the first count stands by itself).
    lines = (per_mask + 1) // 2
    tops = np.cumsum(lines) - lines
    table = np.zeros((int(lines.sum()), 2), np.int64)
    shift = np.repeat(2 * tops - (counted - per_mask), per_mask)
    table.reshape(-1)[np.arange(len(values)) + shift] = values
    some = np.flatnonzero(lines)
    tops, bottoms, lines = tops[some], (tops + lines - 1)[some], lines[some]
    firsts = table[tops, 0]
    table[tops, 0] = 0
    np.cumsum(table, axis=0, out=table)
    table[bottoms[0] + 1 :] -= np.repeat(table[bottoms[:-1]], lines[1:], axis=0)
    table[tops, 0] = firsts
    table[bottoms[per_mask[some] % 2 == 1], 1] = 0

    if table.min() < 0 or table.max() > sizes.min():
        owners = np.repeat(some, lines)
        bad = np.flatnonzero((table < 0) | (table > sizes[owners, None]))
        masks, first = np.unique(owners[bad // 2], return_index=True)
        for i, count in zip(masks.tolist(), table.reshape(-1)[bad[first]].tolist(), strict=True):
            if count < 0:
                problem = ("rle_negative", "counts of 0 or more", f"a count of {count}")
            else:
                problem = ("rle_too_long", f"{sizes[i]} pixels", f"a count of {count} or more")
            problems.setdefault(i, problem)
        table[np.isin(owners, masks)] = 0
    edges = np.cumsum(table.reshape(-1)).reshape(-1, 2)
    edges[bottoms[0] + 1 :] -= np.repeat(edges[bottoms[:-1], 1], lines[1:])[:, None]
    totals = edges[bottoms, 1]
    wrong = totals != sizes[some]
    for i, total in zip(some[wrong].tolist(), totals[wrong].tolist(), strict=True):
        reason = "rle_too_short" if total < sizes[i] else "rle_too_long"
        found = f"counts that add up to {total}"
        problems.setdefault(i, (reason, f"{sizes[i]} pixels", found))

    keep = edges[:, 1] > edges[:, 0]
    if problems:
        keep &= ~np.isin(np.repeat(some, lines), list(problems))
    offsets = np.zeros(number + 1, np.int64)
    offsets[some + 1] = np.add.reduceat(keep, tops, dtype=np.int64)
    np.cumsum(offsets, out=offsets)
    return MaskRuns(edges[keep, 0], edges[keep, 1], offsets, dict(sorted(problems.items())))


def _characters(counts: Sequence[str | bytes]) -> tuple[npt.NDArray[np.uint8], _Ints]:
    """All strings in one array of bytes, and the length of each."""
    encoded = [c.encode("utf-8", "surrogatepass") if isinstance(c, str) else c for c in counts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.frombuffer(b"".join(encoded), np.uint8), lengths


@dataclass(frozen=True, slots=True)
class _Segments:
    """Runs cut at the ends of columns: segment k covers the rows [tops[k], bottoms[k])."""

    columns: _Ints  # (S,)
    tops: _Ints  # (S,)
    bottoms: _Ints  # (S,)
    offsets: _Ints  # (N + 1,)


def _segments(runs: MaskRuns, height: int) -> _Segments:
    columns = runs.starts // height
    tops = runs.starts - columns * height
    last = (runs.ends - 1) // height
    bottoms = runs.ends - last * height
    parts = last - columns + 1
    if not len(parts) or parts.max() == 1:
        return _Segments(columns, tops, bottoms, runs.offsets)
    ends = np.cumsum(parts)
    which = np.repeat(np.arange(len(parts)), parts)
    columns = np.arange(len(which)) + (columns - (ends - parts))[which]
    all_tops, all_bottoms = np.zeros_like(columns), np.full_like(columns, height)
    all_tops[ends - parts] = tops
    all_bottoms[ends - 1] = bottoms
    offsets = np.concatenate(([0], ends))[runs.offsets]
    return _Segments(columns, all_tops, all_bottoms, offsets)


def mask_boxes(runs: MaskRuns, height: int) -> _Ints:
    """The (x0, y0, x1, y1) of each mask's ones, ends excluded, (N, 4); zeros for empty masks."""
    return _boxes(_segments(runs, height))


def _boxes(segments: _Segments) -> _Ints:
    offsets = segments.offsets
    boxes = np.zeros((len(offsets) - 1, 4), np.int64)
    some = np.flatnonzero(np.diff(offsets))
    if len(some):
        begins = offsets[some]
        boxes[some, 0] = segments.columns[begins]
        boxes[some, 1] = np.minimum.reduceat(segments.tops, begins)
        boxes[some, 2] = segments.columns[offsets[some + 1] - 1] + 1
        boxes[some, 3] = np.maximum.reduceat(segments.bottoms, begins)
    return boxes


def mask_bits(
    runs: MaskRuns, height: int
) -> Iterator[tuple[int, int, int, int, npt.NDArray[np.uint8]]]:
    """Each mask that is not empty as packed bits of its bounding box.

    Yields (mask, y0, x0, x1, bits): bits[r] are the pixels from x0, a multiple of 8, to x1 of row
    y0 + r, most significant bit first, as `np.packbits` gives them; bits past x1 are 0.

    A canvas stands column of 64 pixels after column: a bit is set where a run begins and where it
    ends, so a running exclusive or along the canvas fills the runs of all masks at once. Each
    column has one row to spare, where what reaches the box's bottom ends: what follows starts at 0.
    """
    segments = _segments(runs, height)
    boxes = _boxes(segments)
    x0, y0 = boxes[:, 0] & ~7, boxes[:, 1]
    rows = boxes[:, 3] - y0 + 1
    words = (boxes[:, 2] - x0 + 63) // 64
    sizes = np.where(np.diff(runs.offsets), rows * words, 0)
    ends = np.cumsum(sizes)
    groups = np.flatnonzero(np.diff(ends // _CANVAS_WORDS, prepend=-1))
    for first, stop in pairwise([*groups.tolist(), len(sizes)]):
        start = ends[first] - sizes[first]
        span = slice(segments.offsets[first], segments.offsets[stop])
        owner = np.repeat(np.arange(first, stop), np.diff(segments.offsets[first : stop + 1]))
        x = segments.columns[span] - x0[owner]
        column = (ends - sizes - start - y0)[owner] + (x >> 6) * rows[owner]
        bit = np.left_shift(np.uint64(1), ((x & 63) ^ 7).astype(np.uint64))
        canvas = np.zeros(ends[stop - 1] - start, "<u8")
        np.bitwise_xor.at(canvas, column + segments.tops[span], bit)
        np.bitwise_xor.at(canvas, column + segments.bottoms[span], bit)
        np.bitwise_xor.accumulate(canvas, out=canvas)
        for i in range(first, stop):
            if sizes[i]:
                block = canvas[ends[i] - sizes[i] - start : ends[i] - start]
                block = block.reshape(words[i], rows[i])[:, :-1]
                bits = np.ascontiguousarray(block.T).view(np.uint8)
                width = int(boxes[i, 2] - x0[i] + 7) // 8
                yield i, int(y0[i]), int(x0[i]), int(boxes[i, 2]), bits[:, :width]


def decode_masks(
    annotations: Any,
    size: tuple[int, int] | None = None,
    dtype: npt.DTypeLike = np.uint8,
) -> npt.NDArray[Any]:
    """The masks of a row's `annotations` as an array of 0 and 1, straight from their RLE.

    Parameters
    ----------
    annotations
        A row's `annotations` column in any form that `datasets` returns: a list of dicts (values
        plain, numpy or torch), a dict of lists, or pyarrow.
    size
        (h, w) to sample to, nearest neighbour at pixel centres: row i shows the source's row
        floor((i + 0.5) * H / h). The full-size bitmaps are never made. Defaults to the masks' own
        size, which must then be the same for all.
    dtype
        Defaults to uint8.

    Returns
    -------
    numpy.ndarray
        (N, H, W) or (N, h, w). Without annotations (0, h, w), or (0, 0, 0) when no size is known.

    Raises
    ------
    AsamDatasetsError
        An RLE is malformed (the annotation's id is named), or sizes differ and `size` is None.

    Examples
    --------
    >>> decode_masks([{"id": 7, "segmentation": {"size": [2, 3], "counts": "114"}}]).tolist()
    [[[0, 0, 0], [1, 0, 0]]]
    """
    masks = _segmentations(annotations)
    height, width = masks.output_size(size)
    out = np.zeros((len(masks.counts), height, width), dtype)
    for (full_height, full_width), which in masks.by_size():
        counts = [masks.counts[i] for i in which]
        runs = parse_rle(counts, full_height * full_width)
        masks.refuse(runs.problems, which)
        columns = None
        if (full_height, full_width) != (height, width):
            runs = _sample(runs, (full_height, full_width), (height, min(width, full_width)))
            if width > full_width:  # columns shown more than once: decode each once, then repeat
                columns = _centres(full_width, width)
        for k, y0, x0, x1, bits in mask_bits(runs, height):
            window = np.unpackbits(bits, axis=1, count=x1 - x0)
            if columns is None:
                out[which[k], y0 : y0 + len(bits), x0:x1] = window
            else:
                shown = np.flatnonzero((columns >= x0) & (columns < x1))
                target = slice(shown[0], shown[-1] + 1)
                out[which[k], y0 : y0 + len(bits), target] = window[:, columns[shown] - x0]
    return out


def _centres(full: int, small: int) -> _Ints:
    """The source index that each of `small` samples of an axis of `full` shows, (small,)."""
    centres: _Ints = (2 * np.arange(small, dtype=np.int64) + 1) * full // (2 * small)
    return centres


def _sample(runs: MaskRuns, full: tuple[int, int], small: tuple[int, int]) -> MaskRuns:
    """The runs that nearest-neighbour sampling leaves, in the small image's pixel numbers.

    A boundary moves to the number of sampled pixels before it: those of the columns before its
    own, and if its own is sampled those of the rows above. No column may be sampled twice.
    """
    rows_before = np.searchsorted(_centres(full[0], small[0]), np.arange(full[0]))
    columns_before = np.searchsorted(_centres(full[1], small[1]), np.arange(full[1] + 2))
    sampled = np.diff(columns_before)

    def move(boundaries: _Ints) -> _Ints:
        columns = boundaries // full[0]
        rows = boundaries - columns * full[0]
        moved: _Ints = columns_before[columns] * small[0] + sampled[columns] * rows_before[rows]
        return moved

    starts, ends = move(runs.starts), move(runs.ends)
    keep = ends > starts
    kept = np.concatenate(([0], np.cumsum(keep)))
    return MaskRuns(starts[keep], ends[keep], kept[runs.offsets], runs.problems)


@dataclass(frozen=True, slots=True)
class _Segmentations:
    """What decoding needs of a row's annotations."""

    ids: Sequence[Any]
    sizes: list[tuple[int, int]]
    counts: list[str | bytes]

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is not None:
            if len(size) != 2 or min(size) < 1:
                raise AsamDatasetsError(f"size must be (height, width) in pixels, not {size!r}")
            return int(size[0]), int(size[1])
        different = sorted(set(self.sizes))
        if len(different) > 1:
            raise AsamDatasetsError(
                f"the masks differ in size ({different[0]}, {different[1]}, ...): "
                "give size=(height, width) to decode them together"
            )
        return different[0] if different else (0, 0)

    def by_size(self) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """Each size and the masks that have it."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, size in enumerate(self.sizes):
            groups.setdefault(size, []).append(i)
        return iter(groups.items())

    def refuse(self, problems: dict[int, tuple[str, str, str]], which: list[int]) -> None:
        """Raise for the first problem, if there is one."""
        for k, (reason, expected, found) in problems.items():
            raise AsamDatasetsError(
                f"annotation {self.ids[which[k]]}: malformed RLE ({reason}): "
                f"expected {expected}, found {found}"
            )


def _segmentations(annotations: Any) -> _Segmentations:
    """Read ids, sizes and counts from any form of an `annotations` column."""
    for convert in ("to_pylist", "as_py"):  # pyarrow's arrays and scalars
        if hasattr(annotations, convert):
            annotations = getattr(annotations, convert)()
    try:
        if isinstance(annotations, Mapping):
            records = annotations["segmentation"]
            ids = annotations.get("id", range(len(annotations["segmentation"])))
        else:
            records = [annotation["segmentation"] for annotation in annotations]
            ids = [annotation.get("id", i) for i, annotation in enumerate(annotations)]
        if isinstance(records, Mapping):
            pairs = list(zip(records["size"], records["counts"], strict=True))
        else:
            pairs = [(record["size"], record["counts"]) for record in records]
        sizes = [(int(height), int(width)) for (height, width), _ in pairs]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AsamDatasetsError(
            "annotations must be a row's `annotations`, each with a segmentation of "
            f"{{size: [height, width], counts: compressed RLE}}: {error!r}"
        ) from error
    for i, ((height, width), (_, counts)) in enumerate(zip(sizes, pairs, strict=True)):
        if height < 1 or width < 1 or height * width > _MAX_PIXELS:
            raise AsamDatasetsError(f"annotation {ids[i]}: not a size of a mask: {height, width}")
        if not isinstance(counts, str | bytes):
            raise AsamDatasetsError(
                f"annotation {ids[i]}: counts must be a compressed RLE string, "
                f"not {type(counts).__name__}"
            )
    return _Segmentations(ids, sizes, [counts for _, counts in pairs])


# The control image: mask i of n has a colour of its own, spread over all 24 bits.


def control_colors(n: int) -> npt.NDArray[np.uint8]:
    """The colours of n masks in a control image, RGB, (n, 3).

    Mask i has pos = int((2**24 - 1) * (i + 1) / n) and the colour
    (pos % 256, pos // 256 % 256, pos // 65536), as in ASAM's released code.
    """
    positions = (2**24 - 1) * np.arange(1, n + 1, dtype=np.int64) // max(n, 1)
    return np.stack([positions >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def decode_control(rgb: npt.ArrayLike, n: int) -> npt.NDArray[np.int32]:
    """Which of n masks each pixel of a control image (H, W, 3) shows, or -1 for none, (H, W).

    Raises AsamDatasetsError when a colour belongs to none of the n masks.
    """
    pixels = np.asarray(rgb, np.uint8)
    positions = pixels[..., 0] | np.left_shift(pixels[..., 1], 8, dtype=np.int32)
    positions |= np.left_shift(pixels[..., 2], 16, dtype=np.int32)
    flat = positions.reshape(-1)  # as runs of one colour, of which there are few
    begins = np.flatnonzero(np.diff(flat, prepend=-1))
    shown = flat[begins]
    masks = -(shown.astype(np.int64) * -n // (2**24 - 1)) - 1  # rounded up: undoes the rounding
    colors = control_colors(n).astype(np.int64) @ [1, 256, 65536]
    known = (masks >= 0) & (masks < n)
    known[known] = colors[masks[known]] == shown[known]
    if len(wrong := shown[~known & (shown != 0)]):
        color = tuple(int(wrong[0]) >> shift & 255 for shift in (0, 8, 16))
        raise AsamDatasetsError(f"the colour {color} belongs to none of {n} masks")
    lengths = np.diff(begins, append=len(flat))
    return np.repeat(masks.astype(np.int32), lengths).reshape(positions.shape)
