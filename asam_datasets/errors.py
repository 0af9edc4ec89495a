"""What is raised on purpose: one base, and a class for each kind of trouble."""

from __future__ import annotations

import re

from asam_datasets.redaction import redacted

# An object as Python shows it, such as `<_io.BytesIO object at 0x7f1c4a041d50>`.
_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


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


def what_went_wrong(error: BaseException, path: str = "") -> str:
    """The message of a library's error, in a form that is the same in every run on any machine.

    Libraries put the address of an object, or the whole path of a file, into their messages.
    Addresses differ between runs, and paths between machines. Rejects must not.

    Parameters
    ----------
    error
        An error of a library such as Pillow or h5py.
    path
        The file that was read. Its name alone stays in the text.

    Returns
    -------
    str
        The text without addresses; the error's type where there is no text.

    >>> what_went_wrong(OSError("cannot identify image file <_io.BytesIO object at 0x7f1c>"))
    'cannot identify image file'
    >>> what_went_wrong(OSError("no image: '/home/me/1.png'"), "/home/me/1.png")
    "no image: '1.png'"
    >>> what_went_wrong(EOFError())
    'EOFError'
    """
    text = str(error)
    name = path.rsplit("/", 1)[-1]
    for shown in filter(None, (path, repr(path)[1:-1])):
        text = text.replace(shown, name)
    return _OBJECT.sub("", text).strip() or type(error).__name__
