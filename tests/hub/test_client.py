"""A Hub that nobody reaches is said at once; one that answered before is waited for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from builder.core.errors import HubError
from builder.hub.check import check_repo
from builder.hub.client import connect, retried
from builder.hub.patience import Patience
from tests.hub.dists import QUICK, REPO, make_dist
from tests.loopback import LoopbackHub


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_an_unreachable_hub_is_not_asked_twice(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = closed_port().replace("127.0.0.1", host)
    connect(QUICK)
    api = HfApi(endpoint=endpoint, token=False)
    with pytest.raises(HubError, match=r"xhk/ASAM-Datasets: the Hub can't be reached \(.*HF_ENDP"):
        check_repo(REPO, quiet=True, api=api, patience=QUICK)
    assert "attempt" not in capsys.readouterr().err


def test_a_hub_that_answered_before_is_waited_for(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.seed(REPO, make_dist(tmp_path / "dist", [1], shards=1))
    connect(QUICK)
    HfApi(endpoint=hub.endpoint, token=False).dataset_info(REPO)
    gone = HfApi(endpoint=closed_port(), token=False)
    with pytest.raises(Exception, match="refused"):
        retried(lambda: gone.dataset_info(REPO), "listing", Patience(20, retries=1))
    assert "listing: ConnectError; attempt 2 of 2 in 1 s" in capsys.readouterr().err
