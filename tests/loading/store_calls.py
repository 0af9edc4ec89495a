"""What the tests of stores do with a dist, by its address alone: any process can do it.

Each function takes what `load` takes as `repo_or_path`, and gives plain values, which another
process can print.
"""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asam_datasets import Files, Hub, load, open_index, open_store

CONFIG = "sa_000000"
PATH = f"data/{CONFIG}/numbers.bin"
SHARD = f"data/{CONFIG}/train-00000-of-00001.arrow"


def opened(where: str) -> Files | Hub:
    """The store, at the commit of the config's index where it is a repo."""
    store = open_store(where)
    open_index(store, CONFIG)
    return store


def read(where: str, path: str, start: int | None = None, end: int | None = None) -> bytes:
    """A file's bytes, or a range of them."""
    return opened(where).read(path, start, end)


def read_pickled(where: str, path: str, start: int, end: int) -> bytes:
    """A range, by a store that went to another process and back."""
    store: Files | Hub = pickle.loads(pickle.dumps(opened(where)))
    return store.read(path, start, end)


def read_at_once(where: str, path: str, ranges: list[tuple[int, int]]) -> list[bytes]:
    """Ranges, read by as many threads."""
    store = opened(where)
    with ThreadPoolExecutor(len(ranges)) as pool:
        return list(pool.map(lambda part: store.read(path, *part), ranges))


def read_opened(where: str, path: str, places: list[tuple[int, int]]) -> list[bytes]:
    """Parts of an open file: (start, bytes) each."""
    found = []
    with opened(where).open(path) as file:
        for start, size in places:
            file.seek(start)
            found.append(file.read(size))
    return found


def configs(where: str) -> list[str]:
    """The configs that are there."""
    return open_store(where).configs()


def name(where: str) -> str:
    """What messages call the store."""
    return open_store(where).name


def stream(where: str, **options: Any) -> list[dict[str, Any]]:
    """The rows of a stream, images as bytes."""
    loaded = load(options.pop("config", CONFIG), repo_or_path=where, streaming=True, **options)
    return list(loaded.decode(False))


def dataset(where: str, columns: list[str] | None, cache_dir: str) -> list[dict[str, Any]]:
    """The rows of a dataset, images as bytes."""
    loaded = load(CONFIG, repo_or_path=where, columns=columns, cache_dir=cache_dir)
    rows: list[dict[str, Any]] = loaded.with_format("arrow")[:].to_pylist()
    return rows
