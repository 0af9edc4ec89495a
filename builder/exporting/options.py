"""What an export can be told about captions and splits."""

from __future__ import annotations

REFUSE, SKIP, EMPTY = MISSING_CAPTIONS = ("refuse", "skip", "empty")
TRAIN, VALIDATION = SPLIT_NAMES = ("train", "validation")
