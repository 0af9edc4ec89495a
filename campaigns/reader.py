"""`python -m campaigns.reader [--mapped] REPO FILE`: the sha256 of the rows of a repo's config."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from asam_datasets import load
from builder.core.console import EXIT_OK, run_command
from campaigns.commands import CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """Read all rows of the repo's config; with `--mapped` by a Dataset."""
    *mapped, repo, out = sys.argv[1:] if argv is None else argv
    digest = sha256()
    for row in load(CONFIG, repo_or_path=repo, streaming=not mapped):
        digest.update(repr((row["image_id"], row["text"], row["annotations"])).encode())
        digest.update(b"".join(mask["bytes"] for mask in row["masks"]))
    Path(out).write_text(digest.hexdigest())
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
