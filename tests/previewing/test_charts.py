"""Charts of few values: where the axis begins, and what stands after the number 1."""

from __future__ import annotations

import re

import numpy as np
import pytest

from builder.previewing.charts import _histogram, _ranking


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.0, 1.0], [2.0, 3.0], [40.0]])
def test_the_axis_of_a_number_of_things_has_no_negative_label(values: list[float]) -> None:
    chart = _histogram("masks", "Masks", "masks", np.array(values), whole=True)
    assert chart is not None
    texts = re.findall(r"<text[^>]*>(.*?)</text>", chart.svg)
    assert "masks" in texts
    assert not [text for text in texts if text.startswith(("-", "\N{MINUS SIGN}"))]


def test_after_1_stands_a_singular() -> None:
    chart = _histogram("masks", "Masks", "masks", np.array([1.0]), whole=True)
    assert chart is not None
    assert chart.summary.endswith("largest 1 mask")
    ranked = _ranking("sizes", "Sizes", "images", {"a": 1})
    assert ranked is not None
    assert ranked.summary == "1 in all, most often a (1 of 1 image)"
