"""What is raised on purpose: one base, and a class for each kind of trouble."""

from __future__ import annotations

from asam_datasets.redaction import redacted


class AsamDatasetsError(Exception):
    """Base of every error that this project raises on purpose.

    Its message holds no password: see `asam_datasets.redaction`.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(x) if isinstance(x, str) else x for x in args))


class UnknownNameError(AsamDatasetsError, ValueError):
    """No config, split, column or dataset of that name; the message says which there are."""


class UnreachableError(AsamDatasetsError):
    """A file can't be read: access was refused, or every retry failed."""


class CorruptDataError(AsamDatasetsError):
    """A file is not what the index says."""


class ContractError(CorruptDataError):
    """An index.json or a receipt is damaged, or is no such file.

    The message names the file and the field, and says what was expected and what was found.
    """


class ImageRootError(AsamDatasetsError):
    """An image is missing from `image_root`, or is not the one that was annotated."""
