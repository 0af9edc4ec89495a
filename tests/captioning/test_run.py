"""Whole runs: what is written, what is rejected, and what survives kill -9, Ctrl-C and faults."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from builder.caption import main
from builder.captioning.devices import choose_devices
from builder.captioning.images import open_images
from builder.captioning.model import Loaded, load
from builder.captioning.plain import PlainCaptioner
from builder.captioning.quality import degenerate
from builder.captioning.run import CaptionSummary, caption_sources
from builder.captioning.settings import CaptionSettings, RunOptions
from builder.captioning.store import captions_path, provenance_path, read_captions, rejects_path
from builder.captioning.stream import CaptionStream
from builder.core.console import EXIT_INTERRUPTED
from builder.core.errors import (
    CaptionError,
    SettingsError,
    SourceError,
    UsageError,
)
from tests.loading.conftest import write_config
from tests.loopback import LoopbackHub

IMAGES = 40
CPU = RunOptions(devices=("cpu",), batch=4, threads=1, quiet=True)


def photograph(seed: int, quality: int = 80) -> bytes:
    """A small jpeg that is no noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(
        file, "jpeg", quality=quality
    )
    return file.getvalue()


@pytest.fixture(scope="module")
def settings(settings: CaptionSettings) -> CaptionSettings:
    """With fewer new tokens: they take most of the time, and only the search's tests need more."""
    return replace(settings, max_new_tokens=10)


@pytest.fixture(scope="module")
def loaded(settings: CaptionSettings) -> Loaded:
    """The model with these settings."""
    return load(settings, torch.device("cpu"))


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of SA-1B's form: jpgs, and a json that is no business of captioning."""
    path = tmp_path_factory.mktemp("source") / "sa_000000.tar"
    with tarfile.open(path, "w") as file:
        for i in range(IMAGES):
            data = photograph(i)
            info = tarfile.TarInfo(f"./sa_{i + 1}.jpg")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("sa_1.json")
        info.size = 2
        file.addfile(info, io.BytesIO(b"{}"))
    return path


def run(
    source: Path, out: Path, settings: CaptionSettings, options: RunOptions = CPU
) -> CaptionSummary:
    (summary,) = caption_sources(open_images([str(source)]), out, settings, options)
    return summary


@pytest.fixture(scope="module")
def undisturbed(
    tar: Path, settings: CaptionSettings, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The captions file of a run that nothing happened to."""
    summary = run(tar, tmp_path_factory.mktemp("undisturbed"), settings)
    assert summary.captions + sum(summary.rejects.values()) == IMAGES
    return summary.path.read_bytes()


def test_a_tar_is_captioned_in_its_order_with_its_provenance(
    tar: Path, settings: CaptionSettings, loaded: Loaded, tmp_path: Path
) -> None:
    count = 12
    summary = run(tar, tmp_path, settings, replace(CPU, limit=count))
    captions = read_captions(summary.path)
    assert captions.problems == []
    names = [f"sa_{i + 1}.jpg" for i in range(count)]
    assert list(captions) == [name for name in names if captions.get(name)]
    plain = PlainCaptioner(loaded, 1)
    for i, name in enumerate(names):
        (caption,) = plain.captions([loaded.prepare(photograph(i))])
        if degenerate(caption) is not None:
            caption = plain.retry(loaded.prepare(photograph(i)))
        assert captions.get(name) == caption
    provenance = json.loads(provenance_path(summary.path).read_text())
    assert provenance["model"] == "tiny-blip2"
    assert provenance["revision"].startswith("sha256:")
    assert provenance["settings"]["num_beams"] == 5
    assert provenance["settings"]["dtype"] == "float32"
    assert provenance["settings"]["image"]["resample"] == "bicubic"
    assert provenance["counts"]["captions"] == len(captions)
    assert provenance["complete"]
    assert provenance["runs"][0]["versions"]["torch"] == torch.__version__
    assert provenance["runs"][0]["preset"] == "asam with another model, max_new_tokens, search"


@pytest.mark.parametrize(
    "options",
    [
        replace(CPU, batch=1, threads=3, limit=20),
        replace(CPU, batch=32, limit=33),
        replace(CPU, batch=8, engine="generate", limit=20),
    ],
    ids=["one at a time", "large batch", "generate"],
)
def test_how_it_is_run_does_not_change_the_file(
    tar: Path, settings: CaptionSettings, undisturbed: bytes, tmp_path: Path, options: RunOptions
) -> None:
    made = run(tar, tmp_path, settings, options).path.read_bytes()
    assert made.splitlines() == undisturbed.splitlines()[: options.limit]


def test_killed_and_resumed_five_times_the_file_is_that_of_an_undisturbed_run(
    tar: Path, settings: CaptionSettings, undisturbed: bytes, tmp_path: Path
) -> None:
    common = [
        "--model",
        settings.model,
        "--prompt",
        settings.prompt,
        "--device",
        "cpu",
        "--threads",
        "1",
        "--quiet",
    ]
    common += ["--search", settings.search, "--max-new-tokens", str(settings.max_new_tokens)]
    arguments = [str(tar), "--out", str(tmp_path), "--batch-size", "2", *common]
    path = captions_path(tmp_path, "sa_000000")
    moments = sorted(random.Random(7).sample(range(len(undisturbed)), 5))
    command = [sys.executable, "-m", "tests.captioning.killed", str(path)]
    command += [json.dumps(moments), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [[-signal.SIGKILL, undisturbed[:most].decode()] for most in moments]
    run(tar, tmp_path, settings)
    assert path.read_bytes() == undisturbed


def test_a_second_run_does_nothing(tar: Path, settings: CaptionSettings, tmp_path: Path) -> None:
    first = run(tar, tmp_path, settings, replace(CPU, limit=5))
    before = first.path.stat()
    second = run(tar, tmp_path, settings, replace(CPU, limit=5))
    assert (first.made, second.made) == (5, 0)
    after = first.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_model_or_setting_is_refused(
    tar: Path, settings: CaptionSettings, tmp_path: Path
) -> None:
    few = replace(CPU, limit=3)
    path = run(tar, tmp_path, settings, few).path
    before = path.read_bytes()
    with pytest.raises(CaptionError, match="num_beams 5, now 3"):
        run(tar, tmp_path, replace(settings, num_beams=3), few)
    assert path.read_bytes() == before
    more = replace(few, force_mix=True, limit=5)
    assert run(tar, tmp_path, replace(settings, num_beams=3), more).made == 2
    assert path.read_bytes().startswith(before)


def test_a_jpeg_that_does_not_decode_is_rejected_with_its_reason(
    settings: CaptionSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "sa_000001"
    folder.mkdir()
    (folder / "sa_1.jpg").write_bytes(photograph(1))
    (folder / "sa_2.jpg").write_bytes(photograph(2)[:900])
    (folder / "sa_3.jpg").write_bytes(b"no image")
    (folder / "sa_4.jpg").write_bytes(b"")
    (folder / "sa_5.jpg").write_bytes(photograph(5))
    (folder / "notes.txt").write_text("no image, and not meant as one")
    summary = run(folder, tmp_path, settings)
    assert list(read_captions(summary.path)) == ["sa_1.jpg", "sa_5.jpg"]
    rejects = [json.loads(line) for line in rejects_path(summary.path).read_text().splitlines()]
    assert [(reject["member"], reject["reason"]) for reject in rejects] == [
        ("sa_2.jpg", "jpeg_corrupt"),
        ("sa_3.jpg", "image_undecodable"),
        ("sa_4.jpg", "image_undecodable"),
    ]
    assert all(reject["source"] == "sa_000001" for reject in rejects)
    table = rejects_path(summary.path).read_bytes()
    assert b"0x" not in table  # an address, which is another one in the next run
    assert rejects_path(run(folder, tmp_path / "again", settings).path).read_bytes() == table
    (folder / "sa_2.jpg").write_bytes(photograph(2))
    assert run(folder, tmp_path, settings).made == 0
    again = run(folder, tmp_path, settings, replace(CPU, retry_rejects=True))
    assert (again.made, again.captions) == (3, 3)


def test_captions_that_stay_degenerate_are_rejected(
    tar: Path, model_folder: Path, settings: CaptionSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "numbers"
    shutil.copytree(model_folder, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        word if word.startswith("<") else str(index): index for word, index in vocabulary.items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    summary = run(tar, tmp_path, replace(settings, model=str(folder)), replace(CPU, limit=3))
    assert (summary.captions, dict(summary.rejects)) == (0, {"caption_without_words": 3})
    assert summary.error == (
        "no caption was made: 3 images rejected, 3 of them for caption_without_words (see "
        "sa_000000-blip2-caption.rejects.jsonl); choose another model or prompt, or allow more new "
        "tokens"
    )
    again = run(tar, tmp_path, replace(settings, model=str(folder)), replace(CPU, limit=3))
    assert (again.made, again.error) == (0, summary.error)
    reject = json.loads(rejects_path(summary.path).read_text().splitlines()[0])
    assert (reject["source"], reject["member"]) == ("sa_000000.tar", "sa_1.jpg")
    assert "second caption" in reject["expected"]
    other = run(tar, tmp_path, settings, replace(CPU, limit=3))  # with a model that has words
    assert (other.made, other.captions, other.error) == (3, 3, None)


def test_a_second_try_has_no_more_tokens_than_are_allowed(
    settings: CaptionSettings,
) -> None:
    loaded = load(replace(settings, max_new_tokens=1), torch.device("cpu"))
    assert len(PlainCaptioner(loaded, 1).retry(loaded.prepare(photograph(3))).split()) <= 1


def test_a_second_try_mends_repeats(loaded: Loaded) -> None:
    picture = loaded.prepare(photograph(3))
    again = PlainCaptioner(loaded, 1).retry(picture).split()
    pairs = list(itertools.pairwise(again))
    assert len(again) >= 4  # five tokens, of which one may be special
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_a_built_config_is_captioned_from_its_shards(
    settings: CaptionSettings, undisturbed: bytes, tmp_path: Path, fmt: str
) -> None:
    features = datasets.Features({"image": datasets.Image(), "file_name": datasets.Value("string")})
    rows = []
    for i in range(10):
        name = f"sa_{i + 1}.jpg"
        rows.append({"image": {"bytes": photograph(i), "path": name}, "file_name": name})
    splits = {"train": [rows[:5], rows[5:]]}
    write_config(tmp_path / "dist", "sa_000000", splits, fmt=fmt, features=features)
    folder = tmp_path / "dist" / "data" / "sa_000000"
    expected = undisturbed.splitlines(keepends=True)[:10]
    for source in (tmp_path / "dist", folder):
        out = tmp_path / source.name
        assert run(source, out, settings).path.read_bytes() == b"".join(expected)
    shutil.copyfile(folder / "index.json", folder / f"train-00001-of-00002.{fmt}")
    with pytest.raises(SourceError, match="can't be read"):
        run(folder, tmp_path / "broken", settings)
    for damaged in ('{"splits": ', '{"splits": {"train": {}}}', "[]"):
        (folder / "index.json").write_text(damaged)
        with pytest.raises(SourceError, match=r"index.json: .* build it again"):
            run(folder, tmp_path / "broken", settings)


def test_a_source_without_images_is_refused(settings: CaptionSettings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="expected images, found none"):
        run(tmp_path / "empty", tmp_path, settings)


def test_two_sources_for_one_captions_file_are_refused(tar: Path) -> None:
    with pytest.raises(SettingsError, match="two sources have the same captions file: sa_000000"):
        open_images([str(tar), str(tar)])


def test_without_a_gpu_it_warns_and_estimates(
    tar: Path, settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    options = replace(CPU, devices=("auto",), limit=2)
    assert run(tar, tmp_path, settings, options).made == 2
    assert "no GPU found" in (text := capsys.readouterr().err)
    assert "seconds for 2 images" in text


@pytest.mark.parametrize("name", ["gpu", "meta", "", "cuda:x"])
def test_devices_that_are_none_are_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}: expected auto, cpu, cuda or cuda:N"):
        choose_devices([name])


@pytest.mark.parametrize("names", [["cuda"], ["cuda:0"], ["cpu", "cuda:7"], ["auto", "cuda"]])
def test_a_gpu_that_is_not_there_is_an_error(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=f"--device {names[-1]}: this machine has no GPU that"):
        choose_devices(names)
    assert choose_devices(["auto"]) == ([torch.device("cpu")], True)


def test_what_is_cheap_is_looked_at_before_the_weights(
    tar: Path, settings: CaptionSettings, model_folder: Path, tmp_path: Path
) -> None:
    """The weights are damaged, and yet it is the captions file that is named."""
    folder = tmp_path / "tiny-blip2"
    shutil.copytree(model_folder, folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    broken = replace(settings, model=str(folder))
    out = tmp_path / "out"
    with pytest.raises(CaptionError, match="no complete captioning model there"):
        run(tar, out, broken)
    assert not list(out.iterdir())
    captions = captions_path(out, "sa_000000")
    captions.write_text('{"img": "sa_1.jpg", "prompt": "a street"}\n')
    with pytest.raises(CaptionError, match=r"holds captions, but no .* says how they were made"):
        run(tar, out, broken)
    run(tar, tmp_path / "made", settings, replace(CPU, limit=1))
    with pytest.raises(CaptionError, match=r"was made with other settings: revision"):
        run(tar, tmp_path / "made", broken)


def test_a_hub_that_is_not_there_is_told_at_once(
    settings: CaptionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(CaptionError, match=r"the Hub could not be reached \(http://127.0.0.1:9: "):
        load(replace(settings, model="nobody/nothing"), torch.device("cpu"))
    assert not waits


def test_a_model_that_the_hub_lacks_is_named(
    hub: LoopbackHub, settings: CaptionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    with pytest.raises(CaptionError, match="nobody/nothing: no such model on the Hub"):
        load(replace(settings, model="nobody/nothing"), torch.device("cpu"))


def test_an_incomplete_model_is_named(
    tar: Path, model_folder: Path, settings: CaptionSettings, tmp_path: Path
) -> None:
    for missing in ("config.json", "model.safetensors", "tokenizer.json", "processor_config.json"):
        folder = tmp_path / missing
        shutil.copytree(model_folder, folder)
        (folder / missing).unlink()
        with pytest.raises(CaptionError, match=r"no complete captioning model"):
            load(replace(settings, model=str(folder)), torch.device("cpu"))


def test_missing_or_damaged_weights_are_named(
    model_folder: Path, settings: CaptionSettings, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    for fault in ("missing", "cut"):
        folder = tmp_path / fault
        shutil.copytree(model_folder, folder)
        weights = folder / "model.safetensors"
        if fault == "missing":
            tensors = load_file(weights)
            del tensors["qformer.layernorm.weight"]
            save_file(tensors, weights, metadata={"format": "pt"})
        else:
            weights.write_bytes(weights.read_bytes()[:5000])
        with pytest.raises(CaptionError, match=r"qformer\.layernorm\.weight|no complete"):
            load(replace(settings, model=str(folder)), torch.device("cpu"))


def test_a_model_that_is_nowhere_is_named(settings: CaptionSettings, tmp_path: Path) -> None:
    with pytest.raises(CaptionError, match=r"nowhere: .*no such folder, and no repo's name"):
        load(replace(settings, model=str(tmp_path / "nowhere")), torch.device("cpu"))


def test_out_of_memory_at_batch_size_1_says_so(
    tar: Path, settings: CaptionSettings, tmp_path: Path
) -> None:
    huge = replace(settings, max_new_tokens=10**13)
    with pytest.raises(CaptionError, match="out of memory on cpu at batch size 1"):
        run(tar, tmp_path, huge)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    tar: Path, loaded: Loaded, undisturbed: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = CaptionStream(loaded, "continuous", 1 << 13, 1)
    (images,) = open_images([str(tar)])
    todo = list(enumerate(images.names()[:5]))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (200 << 20), hard))
    try:
        outcomes = [outcome for some in stream(images, todo) for outcome in some]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert 1 <= (stream.batch or 0) < 1 << 13
    assert f"going on with batch size {stream.batch}" in capsys.readouterr().err
    lines = [json.dumps({"img": name, "prompt": text}) for _, name, text in sorted(outcomes)]
    assert lines == undisturbed.decode().splitlines()[:5]


class HungrySource:
    """A source whose twentieth image once takes more memory than there is."""

    config = name = "hungry"

    def __init__(self, stream: CaptionStream) -> None:
        self.batches: list[int] = []
        self.left_over: list[bool] = []
        self._stream, self._first = stream, weakref.ref(stream.open())

    def names(self) -> list[str]:
        return [str(i) for i in range(IMAGES)]

    def read(self, name: str) -> bytes:
        self.batches.append(self._stream.batch or 0)
        self.left_over.append(self._first() is not None)
        if name == "20" and self.batches[-1] == 8:
            torch.empty(1 << 50)
        return photograph(int(name))


def test_what_did_not_fit_in_mid_run_is_let_go_before_the_next_try(loaded: Loaded) -> None:
    stream = CaptionStream(loaded, "continuous", 8, 1)
    images = HungrySource(stream)
    gc.disable()  # of itself, that is: a device's memory can't wait for the collector
    try:
        outcomes = [x for some in stream(images, list(enumerate(images.names()))) for x in some]
    finally:
        gc.enable()
    assert sorted(number for number, _, _ in outcomes) == list(range(IMAGES))
    assert set(images.batches) == {8, 4}
    assert dict(zip(images.batches, images.left_over, strict=True)) == {8: True, 4: False}


def test_a_full_disk_ends_the_run_and_a_later_one_goes_on(
    tar: Path, settings: CaptionSettings, undisturbed: bytes, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(undisturbed) // 2, hard))
    try:
        with pytest.raises(CaptionError, match="make room"):
            run(tar, tmp_path, settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
    part = captions_path(tmp_path, "sa_000000").read_bytes()
    assert undisturbed.startswith(part)
    assert part.endswith(b"\n")
    assert run(tar, tmp_path, settings).path.read_bytes() == undisturbed


def test_ctrl_c_stops_cleanly_and_the_run_can_go_on(
    tar: Path, settings: CaptionSettings, undisturbed: bytes, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "builder.caption", str(tar), "--out", str(tmp_path)]
    command += [
        "--model",
        settings.model,
        "--prompt",
        settings.prompt,
        "--device",
        "cpu",
        "--batch-size",
        "1",
        "--quiet",
    ]
    command += ["--search", settings.search, "--max-new-tokens", str(settings.max_new_tokens)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    path = captions_path(tmp_path, "sa_000000")
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED
    assert "interrupted" in said
    assert "Traceback" not in said
    part = path.read_bytes()
    assert part
    assert len(part) < len(undisturbed)
    assert undisturbed.startswith(part)
    assert run(tar, tmp_path, settings).path.read_bytes() == undisturbed


def test_the_command_prints_its_result(
    tar: Path, settings: CaptionSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: list[Any] = [tar, "--out", tmp_path, "--model", settings.model, "--device", "cpu"]
    assert main([*map(str, arguments), "--limit", "2", "--json", "--batch-size", "auto"]) == 0
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)
    assert (result["config"], result["captions"]) == ("sa_000000", 2)
    assert "2 captions" in printed.err
    assert printed.err.splitlines()[0] == f"loading {settings.model} ..."


def test_a_name_that_no_line_holds_is_rejected_and_a_later_run_goes_on(
    settings: CaptionSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in (b"1.jpg", b" 1.jpg", b"caf\xe9.jpg", "käfig 1.jpg".encode(), b'"\n.jpg'):
        (folder / os.fsdecode(name)).write_bytes(photograph(1))
    first = run(folder, tmp_path, settings)
    assert set(read_captions(first.path)) == {"1.jpg", "käfig 1.jpg", '"\n.jpg'}
    assert dict(first.rejects) == {"unusable_file_name": 2}
    again = run(folder, tmp_path, settings)
    assert (again.made, again.captions, again.rejects) == (0, 3, first.rejects)
