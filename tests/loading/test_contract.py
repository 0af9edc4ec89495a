"""An index from anyone: what is wrong is one kind of error, and nothing else is read or written."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asam_datasets import (
    EVAL_FEATURES,
    TRAIN_FEATURES,
    AsamDatasetsError,
    ContractError,
    CorruptDataError,
    Index,
    load,
    parse_index,
)
from asam_datasets.contract import MAX_CONTRACT_BYTES, check_size, signed
from builder.core.layout import index_path
from tests.contracts import OTHERS, REMOVE, Document, flips, nodes, replaced, rewrite, set_in
from tests.loading.conftest import Row, write_config
from tests.loading.format1 import downgrade
from tests.shards.test_write import eval_row

CONFIG = "sa_000000"
BATCH = ("splits", "train", "shards", 0, "batches", 1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The index of a config with one row."""
    dist = tmp_path_factory.mktemp("small")
    splits = {"val": [[eval_row(1)]]}
    write_config(dist, "camo", splits, kind="eval", features=EVAL_FEATURES)
    return index_path(dist, "camo").read_bytes()


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Document:
    """The index of a config with two splits, of several record batches."""
    dist = tmp_path_factory.mktemp("document")
    write_config(dist, CONFIG, {"train": [rows[:6], rows[6:9]], "val": [rows[9:10]]})
    found: Document = json.loads(index_path(dist, CONFIG).read_bytes())
    return found


def parse(document: Document, config: str = CONFIG) -> Index:
    return parse_index(json.dumps(signed(document)).encode(), "index.json", config)


def plain(loaded: Any) -> list[Row]:
    """The rows with images as bytes."""
    formatted = loaded.decode(False) if hasattr(loaded, "decode") else loaded.with_format("arrow")
    return list(formatted)


def stream(dist: Path, columns: list[str] | None = None) -> list[Row]:
    loaded = load(CONFIG, "train", repo_or_path=dist, streaming=True, columns=columns)
    rows: list[Row] = list(loaded.decode(False))
    return rows


def test_an_index_comes_back_as_it_was_written(document: Document) -> None:
    assert parse(document).to_json() == document


def test_every_flipped_bit_is_refused_or_changes_nothing(small: bytes) -> None:
    whole = parse_index(small, "index.json", "camo")
    same = 0
    for damaged in flips(small):
        try:
            found = parse_index(damaged, "index.json", "camo")
        except ContractError as error:
            message = str(error)
        else:
            message = "index.json"
            same += 1
            assert found == whole
        assert message.startswith("index.json")
        assert "\n" not in message
    assert same < 100  # white space


def test_unknown_fields_are_ignored_and_belong_to_the_checksum(document: Document) -> None:
    later = signed({**document, "later": {"deep": [1]}})
    assert parse(later) == parse(document)
    later["later"] = {"deep": [2]}
    with pytest.raises(ContractError, match=r"index.json: sha256: its content was expected"):
        parse_index(json.dumps(later).encode(), "index.json", CONFIG)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON"),
        (b"\xff", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "expected JSON"),
        (b"[]", r"the document: expected an object, found \[\]"),
        (b"{}", "expected a field 'format_version', found none"),
        (b'{"format_version": 2}', "expected a field 'sha256', found none"),
        (b'{"format_version": true}', "format_version: expected an integer from 1"),
        (b'{"format_version": 2.0}', "format_version: expected an integer from 1"),
        (b'{"format_version": 1.0}', "format_version: expected an integer from 1"),
        (b'{"format_version": "2"}', "format_version: expected an integer from 1"),
        (b'{"format_version": null}', "format_version: expected an integer from 1"),
        (b'{"format_version": 0}', "format_version: expected an integer from 1"),
        (b'{"config": "sa_000000"}', "expected a field 'format_version', found none"),
        (b'{"a":' * 99 + b"1" + b"}" * 99, "at most 64 lists and objects"),
        (b'{"format_version": 3}', "is of format 3, .* reads up to 2: get a newer one"),
        (b'{"format_version": 2, "sha256": "0", "x": 1}', "64 hexadecimal digits"),
        (b'{"format_version": 2, "sha256": "%s", "x": NaN}' % (b"0" * 64), "expected JSON"),
        (b'{"format_version": 1, "settings": {"x": NaN}}', "expected JSON, found the number NaN"),
        (
            b'{"format_version": 1, "settings": {"x": -1e999}}',
            "expected JSON, found the number -1e",
        ),
        (b'{"format_version": ' + b"9" * 5000 + b"}", "expected JSON"),
    ],
)
def test_what_is_no_index_is_told(content: bytes, message: str) -> None:
    with pytest.raises(ContractError, match=rf"^index.json.*{message}"):
        parse_index(content, "index.json", CONFIG)


def test_a_file_of_any_size_is_not_read(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(ContractError, match="expected at most 268435456 bytes"):
        check_size(MAX_CONTRACT_BYTES + 1, "index.json")
    with index_path(copied, CONFIG).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ContractError, match="at most 268435456 bytes, found 1099511627776"):
        load(CONFIG, repo_or_path=copied)


SHARD = ("splits", "train", "shards", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in(*SHARD, "rows", value=-1), r"shards\[0\].rows: expected an integer from 0"),
        (set_in(*SHARD, "rows", value=True), r"shards\[0\].rows: expected an integer from 0"),
        (set_in(*SHARD, "rows", value=5), r"shards\[0\].rows: expected 6, the rows of its record"),
        (set_in(*SHARD, "rows", value=2**40), r"rows: expected an integer from 0 to \d+, found"),
        (set_in(*SHARD, "bytes", value=10), "expected an integer from"),
        (set_in(*SHARD, "sha256", value="0" * 63), "expected 64 hexadecimal digits"),
        (set_in(*SHARD, "file", value="train-00000-of-00003.arrow"), "expected 'train-00000-of-"),
        (set_in(*SHARD, "file", value="../../../../../victim/work.arrow"), "found '../../../../.."),
        (set_in(*SHARD, "file", value="/etc/passwd"), "expected 'train-00000-of-00002.arrow'"),
        (set_in("config", value="sa_000001"), "config: expected 'sa_000000', found 'sa_000001'"),
        (set_in("splits", value={}), "counts.images: expected 0, found 10"),
        (set_in("splits", "train", "shards", value=[]), "expected at least one shard"),
        (set_in("splits", "train", "num_rows", value=8), "num_rows: expected 9, found 8"),
        (set_in("settings", "format", value="parquet"), "settings_sha256: expected"),
        (set_in("format", value="parquet"), r"file: expected 'train-00000-of-00002.parquet'"),
        (set_in("kind", value="test"), "kind: expected one of train, eval"),
        (set_in("source", "name", value=None), "source.name: expected a string"),
        (set_in("source", "path", value=[]), "source.path: expected a string, an integer"),
        (set_in("features", value={}), "features: expected at least one column"),
        (set_in("features", "text", "dtype", value="null"), "text: expected a dtype among"),
        (set_in("features", "text", "_type", value="Sequence"), "text: expected a Value or an Im"),
        (set_in("features", "masks", value=[]), "masks: expected a list of one feature"),
        (set_in("features", "image", "mode", value=1), "image: expected an Image with a mode"),
        (set_in("features", "text", value={}), "text: expected a struct with at least one"),
        (set_in(*BATCH, "rows", value=0), r"batches\[1\].rows: expected an integer from 1"),
        (set_in(*BATCH, "offset", value=0), r"batches\[1\].offset: expected an integer from \d+"),
        (set_in(*BATCH, "body", value=2**30), r"batches\[1\].body: expected an integer from 0 to"),
        (set_in(*BATCH, "crc32", 0, value=2**32), r"crc32: expected 12 integers from 0 to 4294967"),
        (set_in(*BATCH, "crc32", value=[]), r"batches\[1\].crc32: expected 12 integers from 0"),
        (set_in(*BATCH, "nulls", 0, value=-1), r"nulls: expected 35 integers from 0 to 2147483647"),
        (set_in(*BATCH, "lengths", 3, value=4), r"lengths: expected 3 rows in every column"),
        (set_in(*BATCH, "buffers", 2, value=2**31 - 1), r"buffers: expected buffers that fit in a"),
        (set_in(*BATCH, "buffers", 2, value=1.0), r"buffers: expected 76 integers from 0 to"),
    ],
)
def test_what_is_wrong_in_an_index_is_named(
    document: Document, change: Callable[[Document], None], message: str
) -> None:
    changed = json.loads(json.dumps(document))
    change(changed)
    with pytest.raises(ContractError, match=rf"^index.json: .*{message}"):
        parse(changed)


def deep(value: Any, depth: int) -> Any:
    return [deep(value, depth - 1)] if depth else value


@pytest.mark.parametrize(
    "name",
    ["../../../victim/pwned", "all", "a/b", "", ".", "..", "a b", "a-b", "train\n", "x" * 101],
)
def test_splits_and_configs_have_names_that_stay_in_their_folder(
    document: Document, name: str
) -> None:
    splits = {name if k == "train" else k: v for k, v in document["splits"].items()}
    with pytest.raises(ContractError, match="expected a split whose name is words") as caught:
        parse({**document, "splits": splits})
    assert "\n" not in str(caught.value)
    if name not in ("all", "a-b"):
        with pytest.raises(ContractError, match="config: expected letters, digits"):
            parse({**document, "config": name}, name)


def test_features_are_not_nested_without_end(document: Document) -> None:
    nested = {**document["features"], "text": deep({"_type": "Value", "dtype": "string"}, 40)}
    with pytest.raises(ContractError, match="expected at most 16 lists and structs"):
        parse({**document, "features": nested})


@given(st.data())
def test_any_value_of_another_kind_is_refused_or_harmless(document: Document, data: Any) -> None:
    path = data.draw(st.sampled_from(nodes(document)[1:]))
    value = data.draw(st.sampled_from([*OTHERS, REMOVE]))
    try:
        index = parse_index(replaced(document, path, value), "index.json", CONFIG)
    except ContractError:
        return
    assert all(split.num_rows > 0 for split in index.splits.values())
    assert index.num_rows == 10


@pytest.mark.parametrize("streaming", [False, True])
def test_no_shard_outside_the_dist_is_read(copied: Path, tmp_path: Path, streaming: bool) -> None:
    shard = copied / "data" / CONFIG / "train-00000-of-00001.arrow"
    (tmp_path / "outside.arrow").write_bytes(shard.read_bytes())
    for file in ("../../../outside.arrow", str(tmp_path / "outside.arrow"), "./" + shard.name):
        rewrite(index_path(copied, CONFIG), set_in(*SHARD, "file", value=file))
        with pytest.raises(ContractError, match=r"file: expected 'train-00000-of-00001\.arrow'"):
            load(CONFIG, repo_or_path=copied, streaming=streaming)
    with pytest.raises(AsamDatasetsError, match="no config"):
        load("../sa_000000", repo_or_path=copied)


@pytest.mark.parametrize("what", ["rows", "columns"])
@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_a_shard_of_other_rows_or_columns_is_refused(
    tmp_path: Path, rows: list[Row], fmt: str, what: str
) -> None:
    dist = write_config(tmp_path, CONFIG, {"train": [rows[:3]]}, fmt=fmt)

    def lie(index: Document) -> None:
        if what == "columns":
            index["features"]["width"]["dtype"] = "int64"
            return
        index["splits"]["train"]["num_rows"] = index["counts"]["images"] = 4
        shard = index["splits"]["train"]["shards"][0]
        shard["rows"] = 4
        if fmt == "arrow":  # a fourth row, of another batch in the end marker
            batch = {**shard["batches"][0], "rows": 1, "offset": shard["bytes"], "body": 0}
            batch["lengths"] = [1] * 35
            batch["buffers"] = [0] * 76
            batch["nulls"] = [0] * 35
            shard["batches"].append(batch)

    rewrite(index_path(dist, CONFIG), lie)
    options: dict[str, Any] = {"repo_or_path": dist, "cache_dir": tmp_path / "cache"}
    for streaming in (False, True):
        where = "features.width" if what == "columns" else rf"train-00000-of-00001\.{fmt}"
        with pytest.raises(CorruptDataError, match=where):
            plain(load(CONFIG, streaming=streaming, **options))


def test_text_that_is_no_utf8_is_refused_before_a_row_is_given(copied: Path) -> None:
    """The crc32 of the index is right: whoever made both made them so."""
    shard = copied / "data" / CONFIG / "train-00000-of-00001.arrow"
    data = bytearray(shard.read_bytes())
    index = parse_index(index_path(copied, CONFIG).read_bytes(), "index.json", CONFIG)
    batch = index.shards[0].batches[2]
    start, length = batch.columns(index.layout)[1]
    data[batch.offset + start + length - 1] = 0xFF
    shard.write_bytes(data)
    column = bytes(data[batch.offset + start : batch.offset + start + length])
    place = ("splits", "train", "shards", 0, "batches", 2, "crc32", 1)
    rewrite(index_path(copied, CONFIG), set_in(*place, value=zlib.crc32(column)))
    found: list[Row] = []
    with pytest.raises(CorruptDataError, match=r"no valid record batch there: .*UTF8"):
        found.extend(load(CONFIG, repo_or_path=copied, streaming=True, columns=["text"]))
    assert len(found) == 6


def test_an_index_of_format_1_is_read_with_a_warning(
    copied: Path, rows: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    expected = stream(copied)
    path = downgrade(copied, CONFIG)
    with caplog.at_level(logging.WARNING):
        assert stream(copied) == expected
    assert f"{path} is of format 1" in caplog.text
    assert "control images are not ASAM's" in caplog.text
    assert "build the config again" in caplog.text
    mapped = load(CONFIG, repo_or_path=copied)
    assert mapped["image_id"][:] == [row["image_id"] for row in rows[:12]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in(*BATCH, "message", value="AAAA"), "message: expected base64 of zlib"),
        (set_in(*BATCH, "message", value="é"), "message: expected base64 of zlib"),
        (set_in(*BATCH, "metadata", value=2**40), "metadata: expected an integer from 8 to"),
        (set_in(*BATCH, "metadata", value=800), "message: expected a message of 800 bytes"),
        (set_in(*BATCH, "columns", 3, 0, value=8), "columns: expected the columns of its message"),
        (set_in(*BATCH, "columns", 3, value=[1]), r"columns\[3\]: expected 3 integers"),
        (set_in(*BATCH, "rows", value=2), "lengths: expected 2 rows in every column"),
        (set_in("kind", value="eval"), "message: expected a message of 67 buffers"),
        (set_in(*SHARD, "file", value="../x.arrow"), "file: expected 'train-00000-of-00001.arrow'"),
    ],
)
def test_format_1_goes_through_the_same_checks(
    copied: Path, change: Callable[[Document], None], message: str
) -> None:
    path = downgrade(copied, CONFIG)
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ContractError, match=message):
        load(CONFIG, repo_or_path=copied, streaming=True)


def test_a_message_that_inflates_without_end_is_refused(copied: Path) -> None:
    path = downgrade(copied, CONFIG)
    document = json.loads(path.read_bytes())
    bomb = base64.b64encode(zlib.compress(bytes(1 << 26), 9)).decode()
    set_in(*BATCH, "message", value=bomb)(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ContractError, match="expected a message of 1872 bytes"):
        load(CONFIG, repo_or_path=copied, streaming=True)


@pytest.mark.parametrize("version", [1, 2])
def test_no_hostile_record_batch_ends_the_process(copied: Path, version: int) -> None:
    """Seeded lies about record batches, with good checksums, and bytes that fit none."""
    if version == 1:
        downgrade(copied, CONFIG)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.loading.hostile", str(copied)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert counts["refused"] > 75
    assert counts["wrong"] == 0


def test_columns_are_those_of_the_features(document: Document) -> None:
    assert parse(document).features == TRAIN_FEATURES
