"""Every error that the builder raises on purpose, one tree.

    AsamDatasetsError                  the base; it and the next four are in asam_datasets.py
    ├── UnknownNameError               no config, split, column or dataset of that name
    ├── UnreachableError               the network or the disk gave up
    ├── CorruptDataError               bytes that are not what the index says
    ├── ImageRootError                 someone's own images don't fit the annotations
    ├── SourceError                    a tar, folder or release that can't be read as a whole
    │   └── TruncatedSourceError       it ends before its last member does
    ├── SettingsError                  options that contradict each other, or the dist they meet
    ├── ShardError                     a shard that could not be written or is not what it says
    ├── CaptionError                   a captions file or model that can't be used
    ├── HubError                       the Hub refused, or holds what was not expected
    └── MissingExtraError              an optional package is not installed

A record that can't be used is no error: it is a `builder.core.records.Reject`.
"""

from __future__ import annotations

from asam_datasets import AsamDatasetsError as AsamDatasetsError


class SourceError(AsamDatasetsError):
    """A tar, folder or release that can't be read as a whole."""


class TruncatedSourceError(SourceError):
    """A source that ends before its last member does."""


class SettingsError(AsamDatasetsError):
    """Options that contradict each other, or the dist that they meet."""


class ShardError(AsamDatasetsError):
    """A shard that could not be written, or is not what its receipt says."""


class CaptionError(AsamDatasetsError):
    """A captions file or captioning model that can't be used."""


class HubError(AsamDatasetsError):
    """The Hub refused, or holds what was not expected."""


class MissingExtraError(AsamDatasetsError):
    """An optional package is not installed; `builder.core.extras` raises it."""
