"""What every store must do; test_stores.py runs it on each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.loading.conftest import Row, write_config
from tests.loading.store_calls import CONFIG, PATH, SHARD

NUMBERS = bytes(range(256)) * 40
ODD = f"data/{CONFIG}/ä 100% #1?.txt"
Call = Callable[..., Any]
"""Calls a function of store_calls.py, by its name, with a store's address and more arguments."""


class RefusedError(Exception):
    """An error that a call ended with: `kind` is the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class StoreTests:
    """A subclass gives the fixtures `call` and `keep`."""

    @pytest.fixture
    def keep(self) -> Callable[[Path], str]:
        """Puts a folder's files into a store of this test's own; gives the store's address."""
        raise NotImplementedError

    @pytest.fixture
    def call(self) -> Call:
        """How the store is used."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path, rows: list[Row]) -> Path:
        """A dist of four record batches, and two files that no index names."""
        dist = write_config(tmp_path / "dist", CONFIG, {"train": [rows[:12]]})
        (dist / PATH).write_bytes(NUMBERS)
        (dist / ODD).write_bytes(b"odd")
        (dist / "data/notes.txt").write_text("no config")
        return dist

    @pytest.fixture
    def where(self, folder: Path, keep: Callable[[Path], str]) -> str:
        return keep(folder)

    def test_a_file_is_read_whole(self, call: Call, where: str) -> None:
        assert call("read", where, PATH) == NUMBERS

    @pytest.mark.parametrize(
        ("start", "end"), [(0, 1), (0, 10_240), (255, 257), (10_000, 10_240), (10_239, 10_240)]
    )
    def test_a_range_is_the_bytes_from_its_start_to_before_its_end(
        self, call: Call, where: str, start: int, end: int
    ) -> None:
        assert call("read", where, PATH, start, end) == NUMBERS[start:end]

    @pytest.mark.parametrize(
        ("start", "end"), [(10_000, 20_000), (10_240, 10_241), (30_000, 40_000)]
    )
    def test_of_a_range_beyond_the_end_there_is_what_is_there(
        self, call: Call, where: str, start: int, end: int
    ) -> None:
        assert call("read", where, PATH, start, end) == NUMBERS[start:end]

    def test_ranges_are_read_by_threads_at_once(self, call: Call, where: str) -> None:
        ranges = list(pairwise(range(0, 10_241, 640)))
        assert b"".join(call("read_at_once", where, PATH, ranges)) == NUMBERS

    def test_a_file_is_read_from_anywhere_in_it(self, call: Call, where: str) -> None:
        places = [(10_200, 100), (0, 3), (5_000, 1_000)]
        expected = [NUMBERS[start : start + size] for start, size in places]
        assert call("read_opened", where, PATH, places) == expected

    def test_a_store_goes_to_another_process(self, call: Call, where: str) -> None:
        assert call("read_pickled", where, PATH, 300, 500) == NUMBERS[300:500]

    def test_a_name_may_hold_what_a_url_may_not(self, call: Call, where: str) -> None:
        assert call("read", where, ODD, 0, 3) == b"odd"
        assert call("read", where, ODD) == b"odd"

    @pytest.mark.parametrize("part", [(), (0, 10)])
    def test_a_file_that_is_not_there_is_told(
        self, call: Call, where: str, part: tuple[int, ...]
    ) -> None:
        with pytest.raises(RefusedError) as refused:
            call("read", where, f"data/{CONFIG}/absent.arrow", *part)
        assert refused.value.kind == "FileNotFoundError"

    def test_its_configs_are_listed(
        self, call: Call, folder: Path, rows: list[Row], keep: Callable[[Path], str]
    ) -> None:
        write_config(folder, "a_subset", {"train": [rows[:1]]})
        assert call("configs", keep(folder)) == ["a_subset", CONFIG]

    def test_a_store_without_data_has_no_config(
        self, call: Call, tmp_path: Path, keep: Callable[[Path], str]
    ) -> None:
        (tmp_path / "bare").mkdir()
        (tmp_path / "bare" / "README.md").write_text("nothing yet")
        bare = keep(tmp_path / "bare")
        assert call("configs", bare) == []
        with pytest.raises(RefusedError, match=f"UnknownNameError: no config '{CONFIG}'"):
            call("stream", bare)

    def test_an_unknown_config_says_which_there_are(self, call: Call, where: str) -> None:
        with pytest.raises(RefusedError, match=f"UnknownNameError: .* There are: {CONFIG}"):
            call("stream", where, config="sa_000001")

    def test_a_stream_gives_the_rows(self, call: Call, where: str, rows: list[Row]) -> None:
        assert call("stream", where) == rows[:12]
        columns = ["text", "image_id"]
        expected = [{name: row[name] for name in columns} for row in rows[:12]]
        assert call("stream", where, columns=columns) == expected

    def test_a_dataset_gives_the_rows(
        self, call: Call, where: str, rows: list[Row], tmp_path: Path
    ) -> None:
        cache = str(tmp_path / "cache")
        assert call("dataset", where, None, cache) == rows[:12]
        texts = [{"text": row["text"]} for row in rows[:12]]
        assert call("dataset", where, ["text"], cache) == texts

    @pytest.mark.parametrize("fmt", ["parquet"])
    def test_a_stream_of_parquet_gives_the_rows(
        self, call: Call, tmp_path: Path, rows: list[Row], keep: Callable[[Path], str], fmt: str
    ) -> None:
        dist = write_config(tmp_path / "other", CONFIG, {"train": [rows[:5]]}, fmt=fmt)
        assert call("stream", keep(dist), columns=["text", "masks"]) == [
            {name: row[name] for name in ("text", "masks")} for row in rows[:5]
        ]

    @pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
    def test_damage_is_noticed_before_a_row_of_it_is_given(
        self, call: Call, folder: Path, keep: Callable[[Path], str], damage: str
    ) -> None:
        shard = folder / SHARD
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 16
        expected = {"flip": "crc32", "cut": "the file is cut", "gone": "the file is not there"}
        if damage == "gone":
            shard.unlink()
        else:
            shard.write_bytes(data if damage == "flip" else data[: len(data) // 2])
        where = keep(folder)
        with pytest.raises(
            RefusedError, match=f"CorruptDataError: .*{expected[damage]}"
        ) as refused:
            call("stream", where)
        assert f"{call('name', where)}/{SHARD}, record batch" in str(refused.value)
