"""What works after `pip install .` alone: `.ci/run` calls this there, without pytest.

    python -P tests/core_only.py DIST

DIST is the sample, as `asam-datasets build --sample` made it. Neither the packages of an extra nor
those of the tests are installed. Whatever needs one must say so in one line.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path

from datasets import load_dataset

import asam_datasets
from builder.__main__ import COMMANDS
from builder.core.console import EXIT_FAILED, EXIT_OK
from builder.core.options import SCRIPT

CONFIG, ROWS = "sa_000000", 12
EXTRAS = (
    "torch",
    "transformers",
    "h5py",
    "cv2",
    "skimage",
    "matplotlib",
    "jinja2",
    "ray",
    "pytest",
)
# What each command line needs that is not installed: the extra which the error must name.
NEED = {
    "caption": ("absent.tar --out captions", "caption"),
    "preview": (f"dist {CONFIG} --out preview", "preview"),
    "build": ("--eval-fixtures --out fixtures", "eval"),
}


def require(what: str, found: object, expected: object) -> None:
    """End with a message unless what was found is what was expected."""
    if found != expected:
        raise SystemExit(f"{what}: expected {expected!r}, found {found!r}")
    print(f"ok: {what}")


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the console script of this environment in a folder."""
    script = Path(sysconfig.get_path("scripts"), SCRIPT)
    command = [str(script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def check_commands(folder: Path) -> None:
    """All commands explain themselves; those that need no extra work, the others say what it is."""
    for name in COMMANDS:
        require(f"{name} --help", call(folder, name, "--help").returncode, EXIT_OK)
    for line in ("verify dist", f"export {CONFIG} --from dist --out SAM-1B"):
        done = call(folder, *line.split())
        require(f"{line} {done.stderr if done.returncode else ''}", done.returncode, EXIT_OK)
    for name, (line, extra) in NEED.items():
        done = call(folder, name, *line.split())
        require(f"{name} {line}", done.returncode, EXIT_FAILED)
        require("  lines on stderr", len(done.stderr.splitlines()), 1)
        advice = f'pip install ".[{extra}]"'
        require(f"  says {advice}", advice in done.stderr, True)


def check_reading(dist: Path) -> None:
    """The sample loads, streams, and gives masks."""
    loaded = load_dataset(str(dist), CONFIG, split="train", cache_dir=str(dist.parent / "cache"))
    require("rows by load_dataset", len(loaded), ROWS)
    streamed = load_dataset(str(dist), CONFIG, split="train", streaming=True)
    require("rows by load_dataset, streaming", sum(1 for _ in streamed.decode(False)), ROWS)
    rows = asam_datasets.load(CONFIG, "train", repo_or_path=str(dist), streaming=True)
    row = next(iter(rows))
    masks = asam_datasets.decode_masks(row["annotations"], size=(64, 64))
    require("shape of the masks", masks.shape, (len(row["masks"]), 64, 64))


def main() -> None:
    """Check everything in a scratch folder; the first difference ends it with a message."""
    require("extras that are installed", [name for name in EXTRAS if find_spec(name)], [])
    inside = Path(asam_datasets.__file__).is_relative_to(sysconfig.get_path("purelib"))
    require("the installed package is the one that is tested", inside, True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dist").symlink_to(Path(sys.argv[1]).resolve())
        check_commands(folder)
        check_reading(folder / "dist")


if __name__ == "__main__":
    main()
