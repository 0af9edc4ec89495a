"""A Hub on loopback: real huggingface_hub and real datasets, HTTP in between, nothing patched.

In a test::

    from tests.loopback import LoopbackHub

    with LoopbackHub() as hub:                        # or the `hub` fixture of tests/conftest.py
        hub.seed("xhk/ASAM-Datasets", dist)           # publish a folder, without any client
        subprocess.run([sys.executable, "-c", code],  # a client: HF_ENDPOINT is read on import,
                       env=hub.env(tmp_path / "hf"))  # so a subprocess, with a fresh HF_HOME
        HfApi(endpoint=hub.endpoint, token=hub.WRITE) # huggingface_hub works in this process, too

        hub.fault("status", path="*/resolve/*.arrow", status=429, retry_after=1)
        hub.fault("cut", path="/cdn/*", after=10_000, count=2)  # all actions: faults.py
        hub.matching("/cdn/*.arrow")                  # the log: method, path, range, status, sent
        hub.latency, hub.bandwidth = 0.06, 100e6      # seconds a response, bytes per second
        hub.repo("xhk/ASAM-Datasets").gated = "manual"
        hub.commit("xhk/ASAM-Datasets", {"README.md": b"..."})  # behind the client's back
        hub.read("xhk/ASAM-Datasets", "README.md"); hub.files("xhk/ASAM-Datasets")

From a shell: `python -m tests.loopback --root DIR [--port N]` prints the lines to export.

LFS files (.arrow, .parquet, images, ...) answer 302 to a second, signed origin that refuses a
request with a Hub token. Tokens: `hub.WRITE` and `hub.READ` of the user xhk, `hub.OTHER` of another
user. Errors of the server itself are raised when it closes.
"""

from tests.loopback.faults import Fault
from tests.loopback.server import Account, LoopbackHub
from tests.loopback.wire import Logged

__all__ = ["Account", "Fault", "Logged", "LoopbackHub"]
