"""Build the sample, push it to a Hub on loopback, and load it with each version of datasets.

    python -m tests.versions [--envs DIR]

Each version gets an environment with nothing but `datasets` and Pillow in it (made by pip, kept if
`--envs` is given), and a process that runs checks.py there: the README's calls, against what the
source's tar and captions say. It imports the dist's asam_datasets.py, as users of the repo do.
Prints a Markdown table; the exit status tells.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from typing import Any

from builder.sources.sample import write_sample
from tests.loopback import LoopbackHub

REPO = "xhk/ASAM-Datasets"
VERSIONS = ("datasets==3.6.0", "datasets>=4,<5", "datasets>=5,<6")
CHECKS = Path(__file__).with_name("checks.py")


def environment(folder: Path, spec: str) -> Path:
    """The Python of an environment that has this datasets and Pillow."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, spec, "pillow"], check=True, stdout=sys.stderr)
    return python


def expected_rows(tar: Path, captions: Path) -> list[dict[str, Any]]:
    """What the source says about each image, in the order of its ids; nothing of ours between."""
    lines = map(json.loads, captions.read_text().splitlines())
    texts = {line["img"]: line["prompt"] for line in lines}
    rows = []
    with tarfile.open(tar) as opened:
        members = {member.name: opened.extractfile(member) for member in opened if member.isfile()}
        files = {name: file.read() for name, file in members.items() if file}
    for name in sorted(files):
        if name.endswith(".json"):
            record = json.loads(files[name])
            image = record["image"]
            rows.append(
                {
                    "image_id": image["image_id"],
                    "width": image["width"],
                    "height": image["height"],
                    "text": texts[image["file_name"]],
                    "image_sha256": hashlib.sha256(files[image["file_name"]]).hexdigest(),
                    "annotations": record["annotations"],
                }
            )
    return sorted(rows, key=lambda row: row["image_id"])


def publish(hub: LoopbackHub, folder: Path) -> Path:
    """The sample, built and pushed by the commands, in this environment; its dist."""
    dist = folder / "ASAM-Datasets"
    env = hub.env(folder / "hf", hub.WRITE)
    for command in (
        ["builder.build", "--sample", "--out", str(dist), "--shard-size", "2MB"],
        ["builder.push", str(dist), "--repo", REPO],
    ):
        subprocess.run(
            [sys.executable, "-m", *command, "--quiet"], env=env, check=True, stdout=sys.stderr
        )
    return dist


def run_checks(python: Path, hub: LoopbackHub, folder: Path, dist: Path) -> dict[str, Any]:
    """What checks.py found: versions, and for each check "ok" or what went wrong."""
    name = python.parents[1].name
    found = folder / f"{name}.json"
    subprocess.run(
        [str(python), str(CHECKS), REPO, str(dist), str(folder / "expected.json"), str(found)],
        env={**hub.env(folder / f"{name}.home"), "PYTHONPATH": str(dist)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    if not found.exists():
        return {"versions": name, "checks": {"(all)": "the process failed"}}
    result: dict[str, Any] = json.loads(found.read_text())
    return result


def table(results: list[dict[str, Any]]) -> str:
    """Checks by versions, in Markdown."""
    names = list(dict.fromkeys(name for result in results for name in result["checks"]))
    lines = ["| | " + " | ".join(result["versions"] for result in results) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for name in names:
        cells = [result["checks"].get(name, "-") for result in results]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument("--envs", type=Path, help="keep the environments here, and use them again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, LoopbackHub() as hub:
        folder = Path(name)
        dist = publish(hub, folder)
        sample = write_sample(folder)
        (folder / "expected.json").write_text(json.dumps(expected_rows(*sample)))
        results = []
        for spec in VERSIONS:
            env = spec.translate(str.maketrans("=<>,", "----"))
            python = environment((args.envs or folder).resolve() / env, spec)
            results.append(run_checks(python, hub, folder, dist))
    print(table(results))
    good = all(value == "ok" for result in results for value in result["checks"].values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
