"""Beam search by LAVIS's rules finds what transformers 4.33.2 found."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from builder.captioning.fast.decoder import BeamDecoder
from builder.captioning.fast.search import BeamSearch, SearchSettings
from tests.captioning.lavis_search import END, FILE, PICTURES, POSITIONS, SEARCHES, START, logits


class TableDecoder:
    """A decoder whose logits stand in a table, for one picture a slot."""

    def __init__(self, table: Tensor, beams: int) -> None:
        self.slots, self.beams, self.positions = len(table), beams, -(-(POSITIONS + 1) // 8) * 8
        self.device = torch.device("cpu")
        self._table = table

    def admit(self, encoded: Tensor, slots: Tensor) -> None:
        """Slot i has picture i."""

    def step(self, tokens: Tensor, position: Tensor, ancestors: Tensor, reach: int) -> Tensor:
        slots = torch.arange(self.slots)[:, None].expand_as(tokens)
        here = position.clamp(max=POSITIONS - 1)[:, None].expand_as(tokens)
        return self._table[slots, here, tokens].clone()


def found_by(rules: str, search: dict[str, Any]) -> list[list[int]]:
    """The best caption of each picture."""
    beams, tokens = search["num_beams"], search["max_new_tokens"]
    decoder = cast(BeamDecoder, TableDecoder(torch.from_numpy(logits()), beams))
    settings = SearchSettings(beams, tokens, search["length_penalty"], START, END, START, rules)
    searching = BeamSearch(decoder, settings)
    searching.admit(torch.empty(0), torch.arange(PICTURES))
    result = torch.empty(0)
    for _ in range(tokens):
        result = searching.step(8)
    assert result[:, 0].all()
    captions = []
    for row in result[:, 1 : 1 + tokens].tolist():
        captions.append(row[: row.index(END) + 1] if END in row else row)
    return captions


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: "-".join(map(str, search.values())))
def test_lavis_rules_find_what_its_version_of_transformers_found(search: dict[str, Any]) -> None:
    recorded = json.loads(FILE.read_text())
    assert recorded["transformers"] == "4.33.2"
    (expected,) = (
        each["tokens"] for each in recorded["searches"] if search.items() <= each.items()
    )
    assert len(expected) == PICTURES
    assert found_by("lavis", search) == expected


def test_the_rules_of_transformers_5_find_other_captions() -> None:
    (recorded, *_) = json.loads(FILE.read_text())["searches"]
    made = found_by("transformers", SEARCHES[0])
    differing = sum(a != b for a, b in zip(made, recorded["tokens"], strict=True))
    assert PICTURES // 20 < differing < PICTURES // 2
