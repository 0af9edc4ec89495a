"""A Ray cluster on this machine: a head that runs no task, and two nodes of one CPU each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """The cluster, from its own library of test utilities. A test that takes a node adds one."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # The nodes and their workers inherit it. They import the project and its tests.
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        from ray.cluster_utils import Cluster

        running = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
        for _ in range(2):
            add_node(running)
        running.wait_for_nodes()
        yield running
        running.shutdown()


def add_node(cluster: Any) -> None:
    """Add a node for one task at a time."""
    cluster.add_node(num_cpus=1, memory=10**9, **SMALL)
