"""Downloads whole files by the Hub's client, in a process that can be ended from outside.

A download that was given up in a thread would go on, and would keep the lock of its file in the
cache. So another attempt, also one of another process, would wait for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]

from asam_datasets.deadlines import RETRIED, within
from asam_datasets.errors import UnreachableError
from asam_datasets.patience import Patience

_START = 300.0  # seconds in which a process must have imported huggingface_hub
# It ends when its input does, which is when this process ends.
_CODE = """
import json, os, sys, threading
given = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
sys.path[:] = given["path"]
from huggingface_hub import hf_hub_download
print("ready", flush=True)
try:
    answer = {"file": hf_hub_download(**given["arguments"])}
except Exception as error:
    status = getattr(getattr(error, "response", None), "status_code", None)
    answer = {"error": repr(error), "status": status}
print(json.dumps(answer), flush=True)
"""


class RefusedError(UnreachableError):
    """The Hub answered that it does not give a file."""


def download(arguments: Mapping[str, Any], what: str, patience: Patience, size: int) -> str:
    """Call `hf_hub_download` in a process of its own, once; returns the file's path.

    Parameters
    ----------
    arguments
        The arguments of `hf_hub_download`.
    what
        The file's name, for messages.
    patience
        The deadline.
    size
        The file's bytes.

    Raises
    ------
    SlowError
        The file did not come in time. The download was ended.
    RefusedError
        The Hub refused, and would refuse again.
    UnreachableError
        `hf_hub_download` raised another error.
    """
    quiet = {"HF_HUB_VERBOSITY": "error"}  # its warnings show the signed URL
    if are_progress_bars_disabled():
        quiet["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **quiet},
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError  # both are pipes
        try:
            given = {"path": sys.path, "arguments": dict(arguments)}
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            within(_START, what, process.stdout.readline)
            said = within(patience.deadline(size), what, process.stdout.readline)
        except BrokenPipeError:
            said = ""
        finally:
            process.kill()
    answer = json.loads(said) if said else {"error": "its process ended", "status": None}
    if "file" in answer:
        return str(answer["file"])
    refused = answer["status"] is not None and answer["status"] not in RETRIED
    kind = RefusedError if refused else UnreachableError
    raise kind(f"{what} can't be read: {answer['error']}")


def may_be_had_later(error: Exception) -> bool:
    """Whether `download` may succeed at a later attempt."""
    return not isinstance(error, RefusedError)
