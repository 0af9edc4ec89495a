"""Ranges of files on the Hub, which redirects a request for a file to a signed URL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from urllib.parse import urljoin, urlsplit

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    get_session,
    hf_raise_for_status,
)

from asam_datasets.deadlines import may_pass, persistently
from asam_datasets.errors import UnreachableError
from asam_datasets.patience import Patience
from asam_datasets.redaction import redacted

_MOST_REDIRECTS = 5


class Ranges:
    """Reads ranges of files. A signed URL is kept until it expires, so a range is one request."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._signed: dict[tuple[int, str], Future[str]] = {}  # by process and URL

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_signed": {}}

    def read(self, url: str, headers: dict[str, str], start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`, fewer where the file ends before.

        Parameters
        ----------
        url, headers
            The Hub's URL of the file, and the headers for the Hub's host alone.

        Raises
        ------
        Exception
            What huggingface_hub raises, or UnreachableError.
        """
        mine: Future[str] = Future()
        key = os.getpid(), url
        signed = self._signed.setdefault(key, mine)
        try:
            if signed is not mine and (address := signed.result()):
                try:
                    return self._followed(address, {}, start, end, lambda address: None)
                except HfHubHTTPError as error:
                    if error.response.status_code >= 500:
                        raise
                    self._signed.pop(key, None)  # it has expired

            def tell(address: str) -> None:
                if signed is mine and not mine.done():
                    mine.set_result(address)

            return self._followed(url, headers, start, end, tell)
        finally:
            if not mine.done():
                mine.set_result("")  # the others ask the Hub themselves

    def _followed(
        self,
        url: str,
        headers: dict[str, str],
        start: int,
        end: int,
        tell: Callable[[str], None],
    ) -> bytes:
        """A range from where a URL leads to. `headers` are for the host of that URL alone.

        As soon as it is known, `tell` gets the signed URL, or "" if there is none. So whoever waits
        for it does not wait for the bytes.
        """
        address = url
        for _ in range(_MOST_REDIRECTS + 1):
            abroad = urlsplit(address).netloc != urlsplit(url).netloc
            if abroad:
                tell(address)
            found = self._get(address, {} if abroad else headers, start, end, tell)
            if isinstance(found, bytes):
                return found
            address = found
        raise UnreachableError(f"{redacted(url)}: more than {_MOST_REDIRECTS} redirects")

    def _get(
        self, url: str, headers: dict[str, str], start: int, end: int, tell: Callable[[str], None]
    ) -> bytes | str:
        """A range, or the URL that the answer leads to."""
        session, asked = get_session(), {**headers, "Range": f"bytes={start}-{end - 1}"}
        asked["Accept-Encoding"] = "identity"
        request = session.build_request("GET", url, headers=asked, timeout=self._patience.timeout)

        parts: list[bytes] = []

        def get() -> Any:
            parts.clear()
            response = session.send(request, stream=True, follow_redirects=False)
            try:
                if not response.has_redirect_location:
                    if response.is_success:
                        tell("")  # the bytes come from here
                        wanted = end - start if response.status_code == 206 else end
                        parts.append(_read_at_most(response, wanted))
                    else:
                        response.read()  # it says why
                    if response.status_code != 416:
                        hf_raise_for_status(response)
            finally:
                response.close()
            return response

        what = f"{redacted(url)}, bytes {start} to {end}"
        response = persistently(get, what, self._patience, end - start, may_pass=may_pass)
        if response.has_redirect_location:
            return str(urljoin(url, response.headers["Location"]))
        if response.status_code == 416:
            return b""
        return parts[0] if response.status_code == 206 else parts[0][start:end]


def _read_at_most(response: Any, size: int) -> bytes:
    """The first bytes of an answer's body, however long it is."""
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) >= size:
            break
    return bytes(data[:size])
