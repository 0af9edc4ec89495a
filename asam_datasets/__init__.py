"""ASAM-Datasets as its users see it: schemas, configs, loading, and masks for training.

The package stands alone: it needs datasets, pyarrow, numpy and pillow (torch only for masks on a
device) and imports nothing of the builder. `python -m tools.amalgamate` makes one file of it,
asam_datasets.py, which is published in the Hub repo beside the data.

A public name is loaded when it is first used, by PEP 562. So `import asam_datasets.rle` imports
numpy and little else.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asam_datasets.bits import mask_bits, mask_boxes
    from asam_datasets.control import control_colors, decode_control, mask_order
    from asam_datasets.decode import decode_masks
    from asam_datasets.errors import (
        AsamDatasetsError,
        ContractError,
        CorruptDataError,
        ImageRootError,
        UnknownNameError,
        UnreachableError,
    )
    from asam_datasets.images import ImageRoot
    from asam_datasets.index import FORMAT_VERSION, Index, open_index, parse_index
    from asam_datasets.loading import load
    from asam_datasets.names import (
        CONFIG_NAME,
        EVAL_DATASETS,
        PROTOCOLS,
        REPO_ID,
        TRAIN_CONFIG,
        config_names,
    )
    from asam_datasets.reading import AHEAD_BATCHES, AHEAD_BYTES, GAP_BYTES, Reader
    from asam_datasets.rle import MaskRuns, parse_rle
    from asam_datasets.schema import EVAL_FEATURES, TRAIN_FEATURES, features_of, legacy_metadata
    from asam_datasets.script import VERSION, AnyConfig, AsamConfig, AsamDatasets
    from asam_datasets.shards import Shard, Split
    from asam_datasets.stores import Files, Hub, open_store
    from asam_datasets.stream import WINDOW, RowStream, units

__version__ = "0.1.0"

# Which names each module defines. The imports above say the same to type checkers.
_HOMES = {
    "bits": "mask_bits mask_boxes",
    "control": "control_colors decode_control mask_order",
    "decode": "decode_masks",
    "errors": "AsamDatasetsError ContractError CorruptDataError ImageRootError UnknownNameError "
    "UnreachableError",
    "images": "ImageRoot",
    "index": "FORMAT_VERSION Index open_index parse_index",
    "loading": "load",
    "names": "CONFIG_NAME EVAL_DATASETS PROTOCOLS REPO_ID TRAIN_CONFIG config_names",
    "reading": "AHEAD_BATCHES AHEAD_BYTES GAP_BYTES Reader",
    "rle": "MaskRuns parse_rle",
    "schema": "EVAL_FEATURES TRAIN_FEATURES features_of legacy_metadata",
    "script": "VERSION AnyConfig AsamConfig AsamDatasets",
    "shards": "Shard Split",
    "stores": "Files Hub open_store",
    "stream": "WINDOW RowStream units",
}

__all__ = [
    "AHEAD_BATCHES",
    "AHEAD_BYTES",
    "CONFIG_NAME",
    "EVAL_DATASETS",
    "EVAL_FEATURES",
    "FORMAT_VERSION",
    "GAP_BYTES",
    "PROTOCOLS",
    "REPO_ID",
    "TRAIN_CONFIG",
    "TRAIN_FEATURES",
    "VERSION",
    "WINDOW",
    "AnyConfig",
    "AsamConfig",
    "AsamDatasets",
    "AsamDatasetsError",
    "ContractError",
    "CorruptDataError",
    "Files",
    "Hub",
    "ImageRoot",
    "ImageRootError",
    "Index",
    "MaskRuns",
    "Reader",
    "RowStream",
    "Shard",
    "Split",
    "UnknownNameError",
    "UnreachableError",
    "config_names",
    "control_colors",
    "decode_control",
    "decode_masks",
    "features_of",
    "legacy_metadata",
    "load",
    "mask_bits",
    "mask_boxes",
    "mask_order",
    "open_index",
    "open_store",
    "parse_index",
    "parse_rle",
    "units",
]

if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        for module, names in _HOMES.items():
            if name in names.split():
                value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
                globals()[name] = value  # from now on it is found without this function
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
