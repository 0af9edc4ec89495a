"""Whole files or none."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from asam_datasets.contract import MAX_CONTRACT_BYTES, MAX_DEPTH
from builder.core.errors import ContractError
from builder.core.files import read_file, read_object, write_bytes


def test_a_write_that_fails_names_its_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*index\.json'"):
            write_bytes(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
    assert [p.name for p in tmp_path.iterdir()] == ["index.json"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON, found "),
        (b"\xff", "expected JSON, found "),
        (b"[1]", r"the document: expected an object, found \[1\]"),
        (b"[" * 100_000, "expected JSON, found maximum recursion depth"),
        (
            b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
            "expected at most 64 lists and objects",
        ),
        (b'{"a":[' * 40 + b"1" + b"]}" * 40, "expected at most 64 lists and objects"),
    ],
)
def test_a_small_file_holds_an_object_of_few_levels(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=rf"plan.json: {message}"):
        read_object(path)
    path.write_bytes(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)
    assert read_object(path)


def test_what_is_no_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    assert read_file(tmp_path / "absent") is None
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ContractError, match="expected a file, found a folder or a device"):
            read_file(path)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_CONTRACT_BYTES + 1)
    with pytest.raises(ContractError, match="large: expected at most"):
        read_file(tmp_path / "large")
    (tmp_path / "shut").write_bytes(b"{}")
    (tmp_path / "shut").chmod(0)
    if not os.access(tmp_path / "shut", os.R_OK):  # root reads everything
        with pytest.raises(ContractError, match="shut: can't be read: Permission denied; make it"):
            read_object(tmp_path / "shut")
