"""SA-1B's links file: its forms, and what is no links file."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import SourceError, UsageError
from builder.sources.links import read_links
from builder.sources.sa1b import open_sources

URL = "https://cdn.example/m1/v?oh=secret"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", ["file_name\tcdn_link", ""])
def test_it_is_read_in_any_form(tmp_path: Path, encoding: str, end: str, header: str) -> None:
    path = tmp_path / "links.txt"
    lines = [header, f"sa_000001.tar\t{URL}1", "", f"ids.txt\t{URL}", f" sa_000000.tar \t{URL}0 "]
    path.write_bytes(end.join(lines).encode(encoding))
    expected = {"sa_000001.tar": f"{URL}1", "sa_000000.tar": f"{URL}0"}
    assert list(read_links(path).items()) == list(expected.items())
    assert [source.config for source in open_sources([str(path)])] == ["sa_000001", "sa_000000"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"../sa_1.tar\t{URL}", "the name of a file"),
        (f"/sa_1.tar\t{URL}", "the name of a file"),
        (f"a\\sa_1.tar\t{URL}", "the name of a file"),
        (f".sa_1.tar\t{URL}", "the name of a file"),
        ("sa_1.tar\tfile:///etc/passwd", "begins with https://"),
        ("sa_1.tar\t-o/etc/passwd", "begins with https://"),
        (f"sa_1.tar {URL}", "found 1 field;"),
        (f"sa_1.tar\t{URL}\tx", "found 3 fields"),
        (f"sa_0.tar\t{URL}1", "another link in an earlier line"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, found: str) -> None:
    path = tmp_path / "links.txt"
    path.write_text(f"file_name\tcdn_link\nsa_0.tar\t{URL}\n{line}\n")
    with pytest.raises(SourceError, match=rf"links.txt: line 3: .*{found}") as caught:
        read_links(path)
    assert "secret" not in str(caught.value)


def test_what_is_no_links_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_links(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="no such file"):
        read_links(tmp_path)
    (tmp_path / "links.txt").write_text("file_name\tcdn_link\n")
    with pytest.raises(SourceError, match=r"no link to a \.tar"):
        read_links(tmp_path / "links.txt")
    (tmp_path / "links.txt").write_bytes(b"\xe9\n")
    with pytest.raises(SourceError, match="can't be read"):
        read_links(tmp_path / "links.txt")
