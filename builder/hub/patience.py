"""How long a request to the Hub may take when a repo is published or checked."""

from __future__ import annotations

from asam_datasets.patience import Patience as Patience

PATIENT = Patience(timeout=120.0, retries=7)
