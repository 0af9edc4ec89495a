"""The devices of a Ray cluster caption as one device does, also when one of them dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from builder.captioning.actors import choose_actors, disconnect
from builder.captioning.run import caption_sources
from builder.captioning.settings import CaptionSettings, RunOptions
from builder.captioning.synthetic import write_random_model
from builder.core.errors import SettingsError, UsageError
from tests.captioning.deadly import DeadlyPhotographs

pytestmark = pytest.mark.cluster


def test_the_images_of_an_actor_that_dies_go_to_the_others(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_random_model(tmp_path / "model")
    settings = CaptionSettings(model=str(tmp_path / "model"), search="transformers")
    options = RunOptions(batch=2, threads=1, quiet=True, address=cluster.address)
    images = DeadlyPhotographs(5, tmp_path / "marker")
    other = replace(images, config="another", images=4)
    on_ray = caption_sources([images, other], tmp_path / "ray", settings, options)
    assert images.marker.exists()
    assert "of the cluster (cpu): its process died" in capsys.readouterr().err
    threads = torch.get_num_threads()
    alone = replace(options, address=None, devices=("cpu",))
    here = caption_sources([images, other], tmp_path / "one", settings, alone)
    torch.set_num_threads(threads)
    for there, one in zip(on_ray, here, strict=True):
        assert there.error is one.error is None
        assert there.captions == one.captions > 0
        assert there.path.read_bytes() == one.path.read_bytes()


def test_devices_that_the_cluster_has_not_are_told(cluster: Any) -> None:
    with pytest.raises(UsageError, match=r"--device cuda:1: expected auto, cuda or cpu"):
        choose_actors(cluster.address, ["cuda:1"])
    try:
        with pytest.raises(SettingsError, match="has no GPU"):
            choose_actors(cluster.address, ["cuda"])
    finally:
        disconnect()
