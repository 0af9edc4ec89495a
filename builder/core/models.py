"""Names of models: a repo of the Hub, or a folder."""

from __future__ import annotations

from pathlib import Path


def check_model_name(name: str) -> None:
    """Refuse a name that is neither a folder's nor that of a repo of the Hub.

    Parameters
    ----------
    name
        The model, as the user gave it. The Hub is not asked for it.

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
