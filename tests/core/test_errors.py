"""What a library's error leaves in a file is the same in every run, on any machine."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from builder.core.errors import what_went_wrong


@pytest.mark.parametrize("name", ["1.png", "it's 1.png", "\\ käfig.png"])
def test_no_path_and_no_address_stays_in_the_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"no image")
    with pytest.raises(OSError, match="cannot identify") as of_file:
        Image.open(path)
    with path.open("rb") as file, pytest.raises(OSError, match="cannot identify") as of_handle:
        Image.open(file)
    with pytest.raises(OSError, match="cannot identify") as of_bytes:
        Image.open(io.BytesIO(b"no image"))
    with pytest.raises(OSError, match="No such file") as of_nothing:
        Image.open(tmp_path / "none" / name)
    text = what_went_wrong(of_file.value, str(path))
    assert text.startswith("cannot identify image file ")
    assert str(tmp_path) not in text
    assert str(tmp_path) not in what_went_wrong(of_handle.value, str(path))
    assert str(tmp_path) not in what_went_wrong(of_nothing.value, str(tmp_path / "none" / name))
    assert what_went_wrong(of_bytes.value) == "cannot identify image file"
    assert what_went_wrong(EOFError()) == "EOFError"
