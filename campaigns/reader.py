"""`python -m campaigns.reader REPO FILE`: streams a repo and writes the sha256 of its rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from asam_datasets import load
from builder.core.console import EXIT_OK, run_command
from campaigns.commands import CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """Read all rows of the repo's config; with a third argument, by a mapped Dataset."""
    repo, out, *mapped = sys.argv[1:] if argv is None else argv
    digest = sha256()
    for row in load(CONFIG, repo_or_path=repo, streaming=not mapped):
        digest.update(repr((row["image_id"], row["text"], row["annotations"])).encode())
        digest.update(b"".join(mask["bytes"] for mask in row["masks"]) if not mapped else b"")
    Path(out).write_text(digest.hexdigest())
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
