"""What must work with every version of datasets: a script, run by __main__.py in each environment.

    python checks.py REPO DIST EXPECTED.json RESULT.json

Nothing is imported but datasets, Pillow and asam_datasets, which the environment has.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub import hf_hub_download

import asam_datasets

REPO, DIST, EXPECTED = sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
SCRIPT = str(Path(asam_datasets.__file__).resolve())
MAJOR = int(datasets.__version__.split(".")[0])
CONFIG = "sa_000000"
CHECKS: dict[str, Callable[[], None]] = {}


def check(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(function: Callable[[], None]) -> Callable[[], None]:
        CHECKS[name] = function
        return function

    return keep


def require(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise ValueError(f"{what}: {str(expected)[:80]} expected, {str(found)[:80]} found")


def require_rows(rows: Iterable[Any]) -> None:
    """The rows, with images as bytes, are those of the source."""
    found = sorted(rows, key=lambda row: row["image_id"])
    require("number of rows", len(found), len(EXPECTED))
    for row, expected in zip(found, EXPECTED, strict=True):
        digest = hashlib.sha256(row["image"]["bytes"]).hexdigest()
        require("sha256", digest, expected["image_sha256"])
        require("number of masks", len(row["masks"]), len(expected["annotations"]))
        for name, value in expected.items():
            require(name, row[name], value)


def require_images(row: Any) -> None:
    """A row as it comes by default: images decoded, masks as bytes."""
    size = (row["width"], row["height"])
    require("image size", row["image"].size, size)
    require("image mode", row["image"].mode, "RGB")
    require(
        "control image",
        (row["conditioning_image"].size, row["conditioning_image"].mode),
        (size, "RGB"),
    )
    require("mask", row["masks"][0]["bytes"][:4] if row["masks"] else b"\x89PNG", b"\x89PNG")


def undecoded(loaded: Any) -> list[Any]:
    if isinstance(loaded, datasets.IterableDataset):
        return list(loaded.decode(False))
    return list(loaded.with_format("arrow")[:].to_pylist())


@check('`load_dataset("xhk/ASAM-Datasets", "sa_000000")`')
def verbatim() -> None:
    loaded = load_dataset(REPO, CONFIG)
    require("splits", list(loaded), ["train"])
    require("features", loaded["train"].features, asam_datasets.TRAIN_FEATURES)
    require_images(loaded["train"][0])
    require_rows(undecoded(loaded["train"]))


@check("the same with `streaming=True`")
def verbatim_streaming() -> None:
    stream = load_dataset(REPO, CONFIG, streaming=True)["train"]
    require("features", stream.features, asam_datasets.TRAIN_FEATURES)
    require_images(next(iter(stream)))
    require_rows(undecoded(stream))


@check("`get_dataset_config_names`")
def config_names() -> None:
    require("configs", get_dataset_config_names(REPO), [CONFIG])


@check('`load_dataset("dist", "sa_000000")`')
def local() -> None:
    require_rows(undecoded(load_dataset(DIST, CONFIG, split="train")))
    require_rows(undecoded(load_dataset(DIST, CONFIG, split="train", streaming=True)))


@check("`asam_datasets.load`, Hub and dist")
def load() -> None:
    for where in (REPO, DIST):
        loaded = asam_datasets.load(CONFIG, repo_or_path=where)
        require_images(loaded[0])
        require_rows(undecoded(loaded))


@check("`load(streaming=True, columns=...)`")
def load_columns() -> None:
    for where in (REPO, DIST):
        require_rows(undecoded(asam_datasets.load(CONFIG, repo_or_path=where, streaming=True)))
        stream = asam_datasets.load(
            CONFIG, repo_or_path=where, streaming=True, columns=["text", "image"]
        )
        require("columns", list(next(iter(stream))), ["text", "image"])


@check("`load(size=...)`, streaming and mapped")
def load_sized() -> None:
    for streaming in (True, False):
        rows = asam_datasets.load(CONFIG, repo_or_path=DIST, streaming=streaming, size=64)
        row = next(iter(rows))
        masks = len(row["annotations"])
        require("image", row["image"].shape, (64, 64, 3))
        require("masks", row["masks"].shape, (masks, 64, 64))
        require("frame", row["frame"]["resized"], [64, 64])
        shown = asam_datasets.decode_control(row["conditioning_image"], row["annotations"])
        require("control image", shown.min() >= -1 and shown.max() < masks, True)


@check("resume mid-epoch, shuffled, after `map` and `filter`")
def resume() -> None:
    def make() -> Any:
        columns = ["image_id", "text"]
        stream = asam_datasets.load(CONFIG, streaming=True, columns=columns, shuffle_seed=7)
        return stream.map(lambda row: {"n": 2 * row["image_id"]}).filter(lambda row: row["n"] % 3)

    whole = [row["image_id"] for row in make()]
    require("rows", len(set(whole)), len([r for r in EXPECTED if r["image_id"] % 3]))
    for stop in range(1, len(whole)):
        stream, resumed = make(), make()
        before = [row["image_id"] for row in itertools.islice(stream, stop)]
        resumed.load_state_dict(stream.state_dict())
        require(f"rows after {stop}", before + [row["image_id"] for row in resumed], whole)


@check("the builder class `AsamDatasets`")
def builder() -> None:
    made = asam_datasets.AsamDatasets(config_name=CONFIG)
    require_rows(undecoded(made.as_streaming_dataset("train")))
    made.download_and_prepare()
    require_rows(undecoded(made.as_dataset("train")))


@check('`load_dataset("asam_datasets.py")`: runs in 3, refused since 4')
def script() -> None:
    if MAJOR >= 4:
        try:
            load_dataset(SCRIPT, CONFIG)
        except RuntimeError as error:
            require("error", "no longer supported" in str(error), True)
            return
        raise ValueError("a script was accepted")
    for options in ({}, {"data_dir": DIST}):
        for streaming in (False, True):
            loaded = load_dataset(
                SCRIPT,
                CONFIG,
                split="train",
                streaming=streaming,
                trust_remote_code=True,
                **options,
            )
            require_rows(undecoded(loaded))


@check("the published file alone, by `hf_hub_download`")
def published() -> None:
    path = hf_hub_download(REPO, "asam_datasets.py", repo_type="dataset")
    require("file", Path(path).read_bytes(), (Path(DIST) / "asam_datasets.py").read_bytes())


@check("a script named like the repo is refused")
def own_script() -> None:
    """Why the file is not called ASAM-Datasets.py."""
    folder = Path("refused") / "ASAM-Datasets"
    shutil.copytree(DIST, folder)
    shutil.copy(SCRIPT, folder / "ASAM-Datasets.py")
    options = {"trust_remote_code": False} if MAJOR < 4 else {}
    try:
        load_dataset(str(folder), CONFIG, **options)
    except (RuntimeError, ValueError):
        return
    finally:
        shutil.rmtree("refused")
    raise ValueError("it was accepted")


def main() -> None:
    datasets.disable_progress_bars()
    found = {}
    for name, function in CHECKS.items():
        try:
            function()
            found[name] = "ok"
        except Exception as error:
            traceback.print_exc()
            found[name] = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    versions = f"datasets {datasets.__version__}, hub {huggingface_hub.__version__}"
    Path(sys.argv[4]).write_text(json.dumps({"versions": versions, "checks": found}))


if __name__ == "__main__":
    main()
