"""`python -m tests.loopback --root DIR [--port N]`: a Hub until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import threading
from pathlib import Path

from tests.loopback import LoopbackHub


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.loopback", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder for the repos' contents")
    parser.add_argument("--port", type=int, default=0, help="of the hub; any free one by default")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each response")
    parser.add_argument("--seed", nargs=2, action="append", default=[], metavar=("REPO", "FOLDER"))
    options = parser.parse_args()
    with LoopbackHub(options.root, port=options.port, latency=options.latency) as hub:
        for repo, folder in options.seed:
            hub.seed(repo, Path(folder))
        print(f"export HF_ENDPOINT={hub.endpoint}")
        print(f"export HF_TOKEN={hub.WRITE}")
        print("export HF_HUB_DISABLE_XET=1", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
