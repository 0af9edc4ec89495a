"""The captions file: what is read, what is refused, and what survives."""

import json
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.captioning.store import (
    CaptionsWriter,
    captions_path,
    provenance_path,
    read_captions,
    rejects_path,
)
from builder.core.errors import CaptionError
from builder.core.records import Reject

IDENTITY = {"model": "tiny", "revision": None, "settings": {"num_beams": 5}}


def write(path: Path, *lines: object) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def reject(name: str) -> Reject:
    return Reject("sa_000000.tar", name, "jpeg_broken", "a jpeg that decodes", "a torn one")


# ------------------------------------------------------------------------------------- reading


def test_values_are_stripped_as_asam_strips_them(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"img": " sa_1.jpg ", "prompt": " a street \n"})
    captions = read_captions(path)
    assert captions.get("sa_1.jpg") == "a street"
    assert captions.get("sa_2.jpg") is None
    assert captions.problems == []
    assert len(captions.sha256) == 64


def test_the_first_of_two_lines_for_an_image_wins(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.json",
        {"img": "sa_1.jpg", "prompt": "first"},
        {"img": "sa_1.jpg", "prompt": "second"},
    )
    captions = read_captions(path)
    assert captions.get("sa_1.jpg") == "first"
    assert [(p.source, p.member, p.reason) for p in captions.problems] == [
        ("c.json", "line 2", "captions_duplicate")
    ]


def test_an_empty_prompt_is_no_caption(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.json", {"img": "sa_1.jpg", "prompt": "  "}, {"img": "sa_2.jpg", "prompt": "b"}
    )
    captions = read_captions(path)
    assert list(captions) == ["sa_2.jpg"]
    assert [(p.member, p.reason) for p in captions.problems] == [("line 1", "captions_empty")]


@pytest.mark.parametrize(
    "line",
    [
        b'{"img": "sa_1.jpg", "prompt": "a str',
        b'["sa_1.jpg", "a street"]',
        b'{"image": "sa_1.jpg", "prompt": "a street"}',
        b'{"img": "sa_1.jpg", "prompt": 5}',
        b'{"img": "sa_1.jpg", "prompt": null}',
        b'{"img": " ", "prompt": "a street"}',
        b'{"img": "sa_1.jpg", "prompt": "\xff\xfe"}',
        b'{"img": "sa_1.jpg", "prompt": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_a_broken_line_is_named_and_the_others_are_read(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(b'{"img": "sa_9.jpg", "prompt": "a dog"}\n\n' + line + b"\n")
    captions = read_captions(path)
    assert captions.get("sa_9.jpg") == "a dog"
    assert captions.get("sa_1.jpg") is None
    assert [(p.member, p.reason) for p in captions.problems] == [("line 3", "captions_broken_line")]


def test_a_file_of_another_kind_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps([{"img": "sa_1.jpg", "prompt": "a street"}]))
    with pytest.raises(CaptionError, match="none of its lines"):
        read_captions(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptionError, match=r"nowhere\.json"):
        read_captions(tmp_path / "nowhere.json")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("junk") / "c.json"
    path.write_bytes(b'{"img": "sa_9.jpg", "prompt": "a dog"}\n' + junk)
    captions = read_captions(path)
    assert captions.get("sa_9.jpg") == "a dog"


NAMES = st.text(min_size=1, max_size=12).map(str.strip).filter(bool)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


@given(st.dictionaries(NAMES.filter(str.isprintable), TEXTS, max_size=8))
def test_what_is_appended_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, prompts: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("store") / "c.json"
    with CaptionsWriter(path, IDENTITY) as writer:
        writer.append(prompts.items())
    captions = read_captions(path)
    assert {name: captions.get(name) for name in captions} == prompts


# ------------------------------------------------------------------------------------- writing


def test_the_lines_are_asams(tmp_path: Path) -> None:
    path = captions_path(tmp_path, "sa_000000")
    with CaptionsWriter(path, IDENTITY, {"versions": {"torch": "2"}}) as writer:
        writer.append([("sa_1.jpg", "a street at night ")], [reject("sa_2.jpg")])
        writer.finish()
    assert path.name == "sa_000000-blip2-caption.json"
    assert path.read_text() == '{"img": "sa_1.jpg", "prompt": "a street at night"}\n'
    provenance = json.loads(provenance_path(path).read_text())
    assert provenance == {
        **IDENTITY,
        "runs": [{"versions": {"torch": "2"}}],
        "counts": {"captions": 1, "rejects": 1},
        "complete": True,
    }
    assert json.loads(rejects_path(path).read_text())["reason"] == "jpeg_broken"


def test_what_a_killed_run_left_of_a_provenance_goes(tmp_path: Path) -> None:
    path, other = (captions_path(tmp_path, config) for config in ("sa_000000", "sa_000001"))
    for captions in (path, other):
        provenance = provenance_path(captions)
        provenance.with_name(f".{provenance.name}.4711.tmp").write_bytes(b"{")
    with CaptionsWriter(path, IDENTITY):
        (left,) = tmp_path.glob(".*.tmp")  # the other's run may be at it
    assert other.stem in left.name


@pytest.mark.parametrize(
    "damaged",
    ["", "{", "[1]", "7", '{"runs": 7}', '{"mixed_with": [1]}', "[" * 99_999],
)
def test_a_damaged_provenance_is_named_and_nothing_is_written(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "c.json"
    with CaptionsWriter(path, IDENTITY) as writer:
        writer.append([("sa_1.jpg", "a")])
    before = path.read_bytes()
    provenance_path(path).write_text(damaged)
    with pytest.raises(CaptionError, match=r"c.provenance.json: .*expected "):
        CaptionsWriter(path, IDENTITY)
    assert path.read_bytes() == before


def test_a_later_run_knows_what_is_done(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with CaptionsWriter(path, IDENTITY) as writer:
        writer.append([("sa_1.jpg", "a")], [reject("sa_2.jpg")])
    with CaptionsWriter(path, IDENTITY) as writer:
        assert writer.done == {"sa_1.jpg", "sa_2.jpg"}
        with pytest.raises(ValueError, match="twice"):
            writer.append([("sa_1.jpg", "b")])
    with CaptionsWriter(path, IDENTITY, retry_rejects=True) as writer:
        assert writer.done == {"sa_1.jpg"}


@pytest.mark.parametrize("torn", ['{"img": "sa_2.jpg", "pro', '{"img": "sa_2.jpg", "prompt": "b"}'])
def test_a_torn_last_line_is_mended(tmp_path: Path, torn: str) -> None:
    path = write(tmp_path / "c.json", {"img": "sa_1.jpg", "prompt": "a"})
    with CaptionsWriter(path, IDENTITY, force_mix=True) as writer:
        writer.finish()
    with path.open("a") as file:
        file.write(torn)
    with CaptionsWriter(path, IDENTITY) as writer:
        whole = torn.endswith("}")
        assert ("sa_2.jpg" in writer.done) == whole
        writer.append([("sa_3.jpg", "c")])
    assert read_captions(path).problems == []
    assert len(read_captions(path)) == 2 + whole


def test_captions_of_another_model_are_not_mixed_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with CaptionsWriter(path, IDENTITY) as writer:
        writer.append([("sa_1.jpg", "a")])
    other = {**IDENTITY, "model": "large"}
    with pytest.raises(CaptionError, match=r"'tiny', now 'large'.*--force-mix"):
        CaptionsWriter(path, other)
    with CaptionsWriter(path, other, force_mix=True) as writer:
        assert writer.done == {"sa_1.jpg"}
        writer.finish()
    assert json.loads(provenance_path(path).read_text())["mixed_with"] == [IDENTITY]
    with CaptionsWriter(path, other) as writer:
        writer.finish()
    assert json.loads(provenance_path(path).read_text())["mixed_with"] == [IDENTITY]


def test_captions_without_provenance_are_not_appended_to(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"img": "sa_1.jpg", "prompt": "a"})
    before = path.read_bytes()
    with pytest.raises(CaptionError, match=r"no c\.provenance\.json"):
        CaptionsWriter(path, IDENTITY)
    assert path.read_bytes() == before


def test_a_broken_line_in_the_middle_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with CaptionsWriter(path, IDENTITY) as writer:
        writer.finish()
    path.write_text('{"img": "sa_1.jpg", "prompt": "a"}\nnonsense\n')
    with pytest.raises(CaptionError, match="line 2"):
        CaptionsWriter(path, IDENTITY)


def test_a_run_that_fails_before_its_first_caption_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(KeyError), CaptionsWriter(path, IDENTITY):
        raise KeyError
    assert not list(tmp_path.iterdir())
    path.touch()  # a file that was there stays
    with pytest.raises(KeyError), CaptionsWriter(path, IDENTITY):
        raise KeyError
    assert list(tmp_path.iterdir()) == [path]


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with CaptionsWriter(path, IDENTITY), pytest.raises(CaptionError, match="another run"):
        CaptionsWriter(path, IDENTITY)
    CaptionsWriter(path, IDENTITY).close()


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with CaptionsWriter(path, IDENTITY) as writer:
        writer.append([("sa_1.jpg", "a")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
        try:
            with pytest.raises(CaptionError, match=r"c\.json could not be written.*make room"):
                writer.append([("sa_2.jpg", "a long caption")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, former)
        assert path.read_text() == '{"img": "sa_1.jpg", "prompt": "a"}\n'
        writer.append([("sa_2.jpg", "a long caption")])
    assert len(read_captions(path)) == 2


def test_lines_are_on_the_disk_once_they_are_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = captions_path(tmp_path, "sa_000000")
    synced: list[tuple[str, int]] = []
    real = os.fsync

    def spy(file: int) -> None:
        real(file)
        synced.append((Path(f"/proc/self/fd/{file}").readlink().name, os.fstat(file).st_size))

    monkeypatch.setattr(os, "fsync", spy)
    with CaptionsWriter(path, IDENTITY) as writer:
        for number in range(1, 4):
            writer.append([(f"sa_{number}.jpg", "a street")])
            assert synced[-1] == (path.name, path.stat().st_size)
            assert len(path.read_text().splitlines()) == number
