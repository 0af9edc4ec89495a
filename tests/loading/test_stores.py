"""The tests of store_tests.py on a folder, on memory:// of fsspec, and on a repo of a Hub."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.loading import store_calls
from tests.loading.client import Client
from tests.loading.store_tests import Call, RefusedError, StoreTests
from tests.loopback import LoopbackHub


def call_here(name: str, *arguments: Any, **options: Any) -> Any:
    """Call a function of store_calls.py in this process."""
    try:
        return getattr(store_calls, name)(*arguments, **options)
    except Exception as error:
        raise RefusedError(type(error).__name__, str(error)) from error


class TestFolder(StoreTests):
    """A folder of this machine."""

    @pytest.fixture
    def keep(self) -> Callable[[Path], str]:
        return str

    @pytest.fixture
    def call(self) -> Call:
        return call_here


class TestMemory(StoreTests):
    """A URL that fsspec opens."""

    @pytest.fixture
    def keep(self, tmp_path: Path) -> Iterator[Callable[[Path], str]]:
        bucket = f"/{tmp_path.name}"
        memory = fsspec.filesystem("memory")

        def put(folder: Path) -> str:
            for path in folder.rglob("*"):
                if path.is_file():
                    memory.pipe(f"{bucket}/{path.relative_to(folder)}", path.read_bytes())
            return f"memory:/{bucket}"

        yield put
        memory.rm(bucket, recursive=True)

    @pytest.fixture
    def call(self) -> Call:
        return call_here


@pytest.fixture(scope="module")
def running() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def client(running: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("client")
    with Client(running.env(home / "hf"), home) as process:
        yield process


@pytest.mark.network
class TestHub(StoreTests):
    """A repo of the Hub on loopback. The calls are those of another process, as in test_hub.py."""

    @pytest.fixture
    def keep(self, running: LoopbackHub, tmp_path: Path) -> Callable[[Path], str]:
        repo = f"xhk/{tmp_path.name}"

        def put(folder: Path) -> str:
            running.seed(repo, folder)
            return repo

        return put

    @pytest.fixture
    def call(self, client: Client) -> Call:
        def call(name: str, *arguments: Any, **options: Any) -> Any:
            code = f"""
from tests.loading import store_calls
try:
    print(repr(store_calls.{name}(*{arguments!r}, **{options!r})))
except Exception as error:
    print(repr((type(error).__name__, str(error), "refused")))
"""
            found = ast.literal_eval(client.run(code))
            if isinstance(found, tuple):
                raise RefusedError(*found[:2])
            return found

        return call
