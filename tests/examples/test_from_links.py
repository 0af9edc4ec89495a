"""The page "from SA-1B's links file to a published repo": its commands, run as they stand there.

All but the captioning, whose result is put there: it needs a GPU and BLIP-2.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from tests.factory import members, write_tar
from tests.loopback import LoopbackHub

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "from_links_to_repo.md"
REPO = "xhk/ASAM-Datasets"
NAMES = ("sa_000000", "sa_000001")


@pytest.fixture
def folder(tmp_path: Path, hub: LoopbackHub) -> Path:
    """A links file of two tars, and their captions."""
    (tmp_path / "captions").mkdir()
    (tmp_path / "cdn").mkdir()
    lines = ["file_name\tcdn_link"]
    cdn = f"{hub.endpoint}/datasets/xhk/cdn/resolve/main"
    for number, name in enumerate(NAMES):
        ids = range(1 + 10 * number, 4 + 10 * number)
        tar = write_tar(tmp_path / "cdn" / f"{number}.bin", members(ids))
        hub.commit("xhk/cdn", {tar.name: tar.read_bytes()})
        lines.append(f"{name}.tar\t{cdn}/{tar.name}?oh=signature")
        captions = [json.dumps({"img": f"sa_{i}.jpg", "prompt": f"picture {i}"}) for i in ids]
        (tmp_path / "captions" / f"{name}-blip2-caption.json").write_text("\n".join(captions))
    (tmp_path / "links.txt").write_bytes("\r\n".join(lines).encode())
    return tmp_path


def run(script: str, folder: Path, hub: LoopbackHub, status: int = 0) -> str:
    """Run one of the page's scripts in `folder`; its messages."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**hub.env(folder / "hf", hub.WRITE), "PATH": path, "PYTHONPATH": str(ROOT)}
    script = re.sub(r"^ *python -m builder\.caption .*\n", "", script, flags=re.MULTILINE)
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr


def published(hub: LoopbackHub) -> set[str]:
    card = DatasetCard(hub.read(REPO, "README.md").decode())
    names = {entry["config_name"] for entry in card.data["configs"]}
    assert all(any(f.startswith(f"data/{name}/train-") for f in hub.files(REPO)) for name in names)
    return names


def test_the_pages_commands_publish_a_tar_then_all(folder: Path, hub: LoopbackHub) -> None:
    one, *_, thousand = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    run(one, folder, hub)
    assert published(hub) == {NAMES[0]}
    hub.fault("status", status=403, path="/cdn/xhk/cdn/*", count=2)
    assert f"failed: {NAMES[1]}" in run(thousand, folder, hub, status=1)
    leftover = folder / "dist" / "data" / NAMES[0] / "stopped"  # after touch, before rm
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    run(thousand, folder, hub)
    assert published(hub) == set(NAMES)
    assert not list((folder / "dist" / "data").iterdir())
    assert not list((folder / "tars").iterdir())
    assert run(thousand, folder, hub) == ""
    (folder / "links.txt").unlink()
    assert "no such file" in run(thousand, folder, hub, status=2)
