"""Every error that the builder raises on purpose, one tree.

    AsamDatasetsError                  the base; it and the next four are in asam_datasets.py
    ├── UnknownNameError               no config, split, column or dataset of that name
    ├── UnreachableError               a file can't be reached, or access is refused
    ├── CorruptDataError               bytes that differ from what the index states
    │   └── ContractError              a damaged index.json or receipt
    ├── ImageRootError                 the user's own images don't fit the annotations
    ├── SourceError                    a tar, folder or release that can't be read as a whole
    │   └── TruncatedSourceError       it ends before its last member does
    ├── SettingsError                  options that contradict the dist, source or machine they meet
    │   └── UsageError                 a command line that is wrong by itself: exit status 2
    ├── ShardError                     a shard that can't be written, or differs from its receipt
    ├── CaptionError                   a captions file or model that can't be used
    │   └── CaptionsFileError          one captions file; the other sources' are not concerned
    ├── ModelError                     a model of evaluation or of an example that can't be used
    ├── HubError                       the Hub refused, or holds what was not expected
    └── MissingExtraError              an optional package is not installed

A record that can't be used is no error: it is a `builder.core.records.Reject`.
"""

from __future__ import annotations

import re

from asam_datasets.errors import AsamDatasetsError as AsamDatasetsError
from asam_datasets.errors import ContractError as ContractError

# An object as Python shows it, such as `<_io.BytesIO object at 0x7f1c4a041d50>`.
_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


class SourceError(AsamDatasetsError):
    """A tar, folder or release that can't be read as a whole."""


class TruncatedSourceError(SourceError):
    """A source that ends before its last member does."""


class SettingsError(AsamDatasetsError):
    """Options that contradict each other, or the dist, source or machine that they meet."""


class UsageError(SettingsError):
    """A command line that is wrong by itself, whatever it meets; the exit status is then 2."""


class ShardError(AsamDatasetsError):
    """A shard that could not be written, or is not what its receipt says."""


class CaptionError(AsamDatasetsError):
    """A captions file or captioning model that can't be used."""


class ModelError(AsamDatasetsError):
    """A model that evaluation or an example can't use."""


class CaptionsFileError(CaptionError):
    """A captions file that can't be used. Other sources have files of their own."""


class HubError(AsamDatasetsError):
    """The Hub refused, or holds what was not expected."""


class MissingExtraError(AsamDatasetsError):
    """An optional package is not installed; `builder.core.extras` raises it."""


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
