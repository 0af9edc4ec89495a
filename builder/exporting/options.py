"""The choices for `--missing-captions` and `--split-name`."""

from __future__ import annotations

REFUSE, SKIP, EMPTY = MISSING_CAPTIONS = ("refuse", "skip", "empty")
TRAIN, VALIDATION = SPLIT_NAMES = ("train", "validation")
