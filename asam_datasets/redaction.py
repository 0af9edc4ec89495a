"""Hides what grants access in text that a person may see, log or publish.

A signed URL is a password: its query holds a signature or a token, and a URL may hold a user's name
and password. Every error of this project passes its message through `redacted`.
"""

from __future__ import annotations

import logging
import re

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:/{1,3})"  # a Path makes one slash of two
    r"(?P<user>[^\s/?@]*@)?"
    r"(?P<path>[^\s?#]*)"
    r"(?P<query>[?#]\S*)?"
)
_CLOSING = ":;,.)]}'\"<>"  # at the end of a URL, these belong to the sentence
# What is not in a URL, such as a header in a library's message, or a URL without its scheme.
_SECRET = re.compile(
    r"(?i:\b(bearer\s+(?=\S{8})|authorization\W{1,4}basic\s+|hf_(?=[a-z0-9]{20})))[^\s'\",;]+"
)
_PARAMETER = re.compile(
    r"(?<=[?&;#])((?i:[\w.-]*(?:signature|token|secret|password|credential|sig|key))=)[^\s&]+"
)
_SHORTEST = 6  # characters of a secret; fewer would hide parts of common words

_given: dict[str, str] = {}  # URLs that a person gave, and the secrets in them


def remember(text: str) -> None:
    """Hide what a URL holds wherever it stands later, however a library quotes it.

    Parameters
    ----------
    text
        What a person gave. If it is no URL with a user, a query or a fragment, nothing happens.
    """
    found = _URL.match(text)
    if found is None:
        return
    user, at, _ = text[len(found["scheme"]) :].partition("/")[0].rpartition("@")
    query = "" if _is_harmless(found) else text.partition(found["query"][:1])[2]
    for secret, shown in ((user + at, "...@"), (query, "...")):
        if len(secret) >= _SHORTEST:
            _given[secret] = shown


def redacted(text: str) -> str:
    """The text with users, passwords and queries of URLs hidden, and access tokens too.

    >>> redacted("https://me:secret@host/a.tar?X-Amz-Signature=0f9a: 403")
    'https://...@host/a.tar?...: 403'
    >>> redacted("s3://bucket/sa_00000?.tar matches nothing")
    's3://bucket/sa_00000?.tar matches nothing'
    """
    for secret in sorted(_given, key=len, reverse=True):
        text = text.replace(secret, _given[secret])
    if ":/" in text:
        text = _URL.sub(_hide, text)
    if "=" in text:
        text = _PARAMETER.sub(r"\1...", text)
    return _SECRET.sub(lambda match: f"{match[1]}...", text)


def _is_harmless(match: re.Match[str]) -> bool:
    """Whether there is no query: only a heading of a page, or a glob's question mark."""
    query = match["query"] or ""
    is_query = query.startswith("?") and match["scheme"].lower().startswith("http")
    return "=" not in query and not (is_query and query[1:].strip(_CLOSING))


def _hide(match: re.Match[str]) -> str:
    user = "...@" if match["user"] else ""
    query = match["query"] or ""
    if not _is_harmless(match):
        query = query[0] + "..." + query[len(query.rstrip(_CLOSING)) :]
    return f"{match['scheme']}{user}{match['path']}{query}"


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
