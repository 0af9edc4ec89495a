"""Hides what grants access in text that a person may see, log or publish.

A signed URL is a password: its query holds a signature or a token, and a URL may hold a user's name
and password. Every error of this project passes its message through `redacted`.
"""

from __future__ import annotations

import logging
import re

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:/{1,3})"  # a Path makes one slash of two
    r"(?P<user>[^\s/?#'\"<>@]*@)?"
    r"(?P<path>[^\s?#'\"<>]*)"
    r"(?P<query>\?[^\s#'\"<>]*=[^\s#'\"<>]*)?"  # without "=" it is a glob
)
# What is not in a URL, such as a header in a library's message.
_SECRET = re.compile(r"\b([Bb]earer\s+(?=\S{8})|hf_(?=[A-Za-z0-9]{20}))[A-Za-z0-9._~+/-]+=*")


def redacted(text: str) -> str:
    """The text with users, passwords and queries of URLs hidden, and access tokens too.

    >>> redacted("https://me:secret@host/a.tar?X-Amz-Signature=0f9a: 403")
    'https://...@host/a.tar?...: 403'
    >>> redacted("s3://bucket/sa_00000?.tar matches nothing")
    's3://bucket/sa_00000?.tar matches nothing'
    """
    if ":/" in text:
        text = _URL.sub(_hide, text)
    return _SECRET.sub(lambda match: f"{match[1]}...", text)


def _hide(match: re.Match[str]) -> str:
    user = "...@" if match["user"] else ""
    query = match["query"] or ""
    end = query[len(query.rstrip(":;,.)]}")) :]  # the sentence's, not the URL's
    return f"{match['scheme']}{user}{match['path']}{'?...' if query else ''}{end}"


def hide_in(error: BaseException) -> BaseException:
    """Hide the same in the messages of a library's error and of its causes; returns the error.

    A traceback prints the causes of an error.
    """
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        step.args = tuple(redacted(x) if isinstance(x, str) else x for x in step.args)
        step = step.__cause__ or step.__context__
    return error


class _Redacting(logging.Filter):
    """Hides the same in log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


_REDACTING = _Redacting()


def redact_logs_of_the_hub() -> None:
    """Hide the same in what huggingface_hub logs when it repeats a request to a signed URL."""
    for name in ("huggingface_hub.utils._http", "huggingface_hub.file_download"):
        logging.getLogger(name).addFilter(_REDACTING)  # a filter is added once
