"""The names of the repo, the configs and the evaluation sets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from asam_datasets.errors import UnknownNameError

REPO_ID = "xhk/ASAM-Datasets"
CONFIG_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
SPLIT_NAME = re.compile(r"(?!all$)\w+(\.\w+)*")  # datasets keeps "all" for itself
LONGEST_NAME = 100  # characters of a config's or split's name
FORMATS = ("arrow", "parquet")
TRAIN_CONFIG = re.compile(r"sa_\d{6}")
PROTOCOLS = ("native", "sam", "asam")
_PROTOCOL = re.compile(r"_a?sam$")
_SAM_SUITE = (  # of SAM's Table 7
    *("ppdls", "bbbc038v1", "doors", "timberseg", "ndd20", "lvis", "streets", "zerowaste_f"),
    *("ishape", "ade20k", "ovis", "hypersim", "ndispark", "visor", "plittersdorf", "egohos"),
    *("ibd", "woodscape", "cityscapes", "pidray", "dram", "trashcan", "gtea"),
)
EVAL_DATASETS = (
    *_SAM_SUITE,
    *("coco2017", "voc2012", "big", "hrsod_te", "camo", "kvasir_seg", "cvc_clinicdb"),
)
_NOT_IN_ASAM = ("hypersim",)  # its code has no loader for it


def config_names() -> list[str]:
    """The names of all configs: SA-1B's thousand tars, and each evaluation set by protocol."""
    names = [f"sa_{i:06d}" for i in range(1000)]
    for name in EVAL_DATASETS:
        names.append(name)
        names += [f"{name}_sam"] if name in _SAM_SUITE else []
        names += [f"{name}_asam"] if name not in _NOT_IN_ASAM else []
    return names


def shard_name(split: str, index: int, total: int, fmt: str) -> str:
    """The file name of a shard, `train-00000-of-00064.arrow`."""
    return f"{split}-{index:05d}-of-{total:05d}.{fmt}"


def unknown_name(what: str, name: object, known: Iterable[str], where: str) -> UnknownNameError:
    """The error for a name that is not among `known`; its message lists those, near ones first.

    Parameters
    ----------
    what, name
        What was asked for, such as "split", and its name.
    known
        The names that exist.
    where
        Where they exist, as the message names it.
    """
    # A repo from anyone may have folders of any name.
    names = [name if name.isprintable() else repr(name) for name in known]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    hint = did_you_mean(str(name), names)
    return UnknownNameError(f"no {what} {name!r} in {where}.{hint} There are: {shown or 'none'}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence of a message that proposes names like the one given; empty if there are none.

    Names are compared without the suffix of a protocol, because half of all configs share it.
    Another number is no misspelling, so nothing is proposed for the name of a tar.

    Parameters
    ----------
    name
        What was asked for.
    known
        The names that exist.

    >>> did_you_mean("camoo_asam", ["camo", "camo_asam", "doors_asam"])
    ' Did you mean camo_asam?'
    >>> did_you_mean("boats_asam", ["camo_asam", "doors_asam"])
    ''
    """
    if TRAIN_CONFIG.fullmatch(name):
        return ""
    stems: dict[str, list[str]] = {}
    for one in known:
        stems.setdefault(_PROTOCOL.sub("", one), []).append(one)
    close = difflib.get_close_matches(_PROTOCOL.sub("", name), stems, n=3)
    near = difflib.get_close_matches(name, [one for stem in close for one in stems[stem]], n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
