"""Beam searches of transformers 4.33.2, the version that LAVIS pins, recorded for the tests.

Run it to write `data/lavis_search.json` again, in an environment of its own:

    python3.11 -m venv lavis
    lavis/bin/pip install torch transformers==4.33.2 'numpy<2'
    lavis/bin/python tests/captioning/lavis_search.py

What is searched is no neural network but a table: the logits of the next token depend on the
picture, the position and the last token. So the recorded words depend on the search alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).parent / "data" / "lavis_search.json"
PICTURES, POSITIONS, WORDS = 60, 12, 24
START, END = 0, 1
SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 5, "max_new_tokens": 12, "length_penalty": 1.0},
    {"num_beams": 5, "max_new_tokens": 12, "length_penalty": 0.0},
    {"num_beams": 3, "max_new_tokens": 12, "length_penalty": 2.0},
    {"num_beams": 5, "max_new_tokens": 12, "length_penalty": -1.0},
    {"num_beams": 5, "max_new_tokens": 5, "length_penalty": 1.0},
    {"num_beams": 2, "max_new_tokens": 1, "length_penalty": 1.0},
    {"num_beams": 1, "max_new_tokens": 12, "length_penalty": 1.0},
]


def logits() -> npt.NDArray[np.float32]:
    """(pictures, positions, last token, next token)."""
    random = np.random.default_rng(433)
    table = 2 * random.standard_normal((PICTURES, POSITIONS, WORDS, WORDS))
    table[..., START] = -50  # the start, which also pads, is no word
    table[..., END] += random.uniform(0, 2, (PICTURES, 1, 1))  # pictures end early or late
    return table.astype(np.float32)


def main() -> None:
    """Search every picture in every way, and write what was found."""
    import torch
    import transformers
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput

    if transformers.__version__ != "4.33.2":
        raise SystemExit(f"expected transformers 4.33.2, found {transformers.__version__}")

    transformers.logging.set_verbosity_error()

    class Table(PreTrainedModel):  # type: ignore[misc]
        config_class = PretrainedConfig

        def __init__(self, table: torch.Tensor) -> None:
            super().__init__(PretrainedConfig(vocab_size=WORDS))
            self.anchor = torch.nn.Parameter(torch.zeros(1))
            self.table = table

        def can_generate(self) -> bool:
            return True

        def prepare_inputs_for_generation(self, input_ids: Any, **_: Any) -> Any:
            return {"input_ids": input_ids}

        def _reorder_cache(self, past: Any, _: Any) -> Any:
            return past

        def forward(self, input_ids: Any, **_: Any) -> Any:
            position = input_ids.shape[1] - 1
            return CausalLMOutput(logits=self.table[position][input_ids[:, -1]][:, None])

    found = []
    for search in SEARCHES:
        rows = []
        for table in torch.from_numpy(logits()):
            made = Table(table).generate(
                torch.tensor([[START]]),
                **search,
                min_length=1,
                do_sample=False,
                pad_token_id=START,
                eos_token_id=END,
            )
            rows.append(made[0, 1:].tolist())
        found.append({**search, "tokens": rows})
    lines = ",\n".join(json.dumps(each) for each in found)
    FILE.write_text(f'{{"transformers": "4.33.2", "searches": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
