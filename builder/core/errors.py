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

from asam_datasets.errors import AsamDatasetsError as AsamDatasetsError
from asam_datasets.errors import ContractError as ContractError
from asam_datasets.errors import what_went_wrong as what_went_wrong


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
