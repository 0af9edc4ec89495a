"""JSON in which any one value was replaced: rejects or a SourceError, never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.core.errors import SourceError
from builder.sources.evaluation import open_source
from builder.sources.evaluation.fixtures import write_fixture
from builder.sources.evaluation.fixtures.scenes import save_json
from tests.evaluation.reading import masks, read

SCALARS = [None, True, -1, 0, 1, 10**30, 0.5, float("nan"), float("inf"), "", "é", "../x"]
LISTS = [[], [[]], [None], [1, 2], [[1, 2, 3, 4, 5, 6]], [["x"]]]
ODD = st.sampled_from([*SCALARS, *LISTS, {}, {"a": 1}, "0" * 50])
TRUTHS = [
    ("coco2017", "asam", "annotations/instances_val2017.json"),
    ("lvis", "sam", "lvis_v0.5_val.json"),
    ("ovis", "native", "annotations_train.json"),
    ("ndd20", "native", "ABOVE_LABELS.json"),
    ("streets", "native", "vehicleannotations/annotations/vehicle-annotations.json"),
    ("visor", "sam", "GroundTruth-SparseAnnotations/annotations/val/P01_107.json"),
    ("woodscape", "native", "instance_annotations/instance_annotations/00001_RV.json"),
]


def replace(node: Any, value: Any, draw: st.DataObject) -> Any:
    """`node` with one value in it, at any depth, replaced."""
    if not isinstance(node, (dict, list)) or not node or draw.draw(st.integers(0, 9)) == 0:
        return value
    key = draw.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[key] = replace(node[key], value, draw)
    return copy


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations")


@pytest.mark.parametrize(("name", "protocol", "truth"), TRUTHS)
@given(data=st.data(), value=ODD)
@settings(max_examples=60, deadline=None)
def test_any_value_replaced_is_rejected_or_an_error(
    scratch: Path, name: str, protocol: str, truth: str, data: st.DataObject, value: Any
) -> None:
    folder = scratch / name
    path = folder / truth
    original = path.with_suffix(".original")
    if not folder.exists():
        write_fixture(name, scratch)
        original.write_bytes(path.read_bytes())
    save_json(path, replace(json.loads(original.read_text()), value, data))
    try:
        result = read(open_source(name, protocol, folder))
    except SourceError:
        return
    for row in result.rows.values():
        masks(row)
        assert row["num_rejected"] <= len(result.rejects)
    json.dumps([str(reject) for reject in result.rejects])
