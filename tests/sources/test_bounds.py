"""A source of more members than any good one has is refused before they fill the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import SourceError
from builder.sources import archive
from builder.sources.archive import Archive
from tests.factory import write_folder, write_tar

FILES = {f"sa_{i}.jpg": b"" for i in range(4)}


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_the_number_of_members_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / ("sa_000000.tar" if kind == "tar" else "sa_000000")
    (write_tar if kind == "tar" else write_folder)(path, FILES)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 4)
    assert len(Archive(str(path)).contents().members) == 4
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(SourceError, match="more than 3 members; split the source"):
        Archive(str(path)).contents()
