"""Where a model is: in a folder, on the Hub, or in the Hub's cache."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from builder.core.console import say
from builder.core.errors import ModelError

_TIMEOUT = 10.0  # seconds for the Hub to say that it has the model
_CONFIGS = ("config.json", "model_index.json")  # of transformers, of diffusers


def find_model(name: str, revision: str | None = None) -> dict[str, Any]:
    """Find a model, and ask the Hub for it at most once.

    The libraries that load models repeat each request for half a minute if the network is down, and
    then say that the model is incomplete.

    Parameters
    ----------
    name
        A folder or a repo of the Hub, as the user gave it.
    revision
        A branch, tag or commit of the repo.

    Returns
    -------
    dict
        The arguments of `from_pretrained` that say where to look. If the Hub can't be reached and
        its cache holds the model, these are the files of the cache.

    Raises
    ------
    ModelError
        There is no such repo, or the Hub can't be reached and the cache lacks the model.
    ValueError
        The name is that of a file, or can't be that of a repo.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    from asam_datasets.deadlines import within

    check_model_name(name)
    where: dict[str, Any] = {} if revision is None else {"revision": revision}
    if Path(name).is_dir():
        return where
    absent = (
        ": no such model on the Hub and no such folder; or it is private: then log in with "
        "`hf auth login`"
    )
    api = HfApi(library_name="asam-datasets")
    try:
        ask = partial(api.model_info, name, revision=revision, timeout=_TIMEOUT)
        within(2 * _TIMEOUT, name, ask)
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is gated, and this account has no access: ask for it on {api.endpoint}/{name}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{name}{absent}") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name}: no revision {revision!r} on the Hub") from error
    except Exception as error:  # the transport raises what it likes
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else 500
        if status < 500:
            said = absent if status == 404 else f": the Hub answered {status}"
            raise ModelError(f"{name}{said}") from error
        offline = isinstance(error, OfflineModeIsEnabled)
        why = "HF_HUB_OFFLINE is set" if offline else f"{api.endpoint}: {type(error).__name__}"
        if not _is_cached(name, revision):
            raise ModelError(
                f"{name}: the Hub could not be reached ({why}), and its cache on this machine "
                "lacks the model: check the network, or give the folder of the model"
            ) from error
        if not offline:
            say(f"note: the Hub could not be reached ({why}): {name} is taken from its cache")
        where["local_files_only"] = True
    return where


def check_model_name(name: str) -> None:
    """Refuse a name that is neither a folder's nor that of a repo of the Hub, which is not asked.

    Raises
    ------
    ValueError
        It is a file, or there is no such folder and no repo can have this name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    path = Path(name)
    if path.is_dir():
        return
    if path.exists():
        raise ValueError("it is a file; expected the folder that the file is in")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError("no such folder, and no repo's name") from error


def _is_cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(name, file, revision=revision) for file in _CONFIGS)
    return any(isinstance(path, str) for path in found)
