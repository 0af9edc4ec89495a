"""Adds deadlines, retries and plain errors to huggingface_hub, for runs without supervision.

By default, and with `timeout=None`, its HTTP client waits forever. Here httpx gets a timeout for
each request, and each call a deadline: see `asam_datasets.patience`. It also does not retry the
commit and the small calls (whoami, create_repo). Here tenacity retries them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import huggingface_hub
import tenacity
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from asam_datasets.deadlines import (
    HTTP,
    RETRIED,
    TRANSPORT_ERRORS,
    asked_wait,
    within,
)
from asam_datasets.downloads import RefusedError
from asam_datasets.errors import UnreachableError
from asam_datasets.redaction import hide_in, redact_logs_of_the_hub
from builder.core.console import say
from builder.core.errors import HubError
from builder.hub.patience import PATIENT, Patience

T = TypeVar("T")

_REQUESTS = 8  # that one call of huggingface_hub makes at the most, a commit for example
MAX_WAIT = 60.0  # seconds between attempts, unless the Hub asks for more
# 409: another commit holds the lock. 412 is not retried: it means that someone else has committed
# in the meantime.
_RETRIED = RETRIED | {409}
_PASSING = (*TRANSPORT_ERRORS, UnreachableError)
# Whether a server has answered a request since `connect`. One that has not is not waited for.
_answered = False


def connect(patience: Patience = PATIENT) -> HfApi:
    """Make an API with timeouts for the usual endpoint and token.

    They are those of HF_ENDPOINT, and of HF_TOKEN or `hf auth login`. The timeout holds for all
    requests of huggingface_hub in this process.

    Raises
    ------
    HubError
        The installed huggingface_hub is too old.
    """
    try:
        from huggingface_hub import set_client_factory
        from huggingface_hub.utils._http import default_client_factory
    except ImportError as error:
        raise HubError(
            f"publishing needs huggingface_hub 1.0 or later, found {huggingface_hub.__version__}: "
            'pip install -U "huggingface_hub>=1"'
        ) from error

    global _answered
    _answered = False
    limits = HTTP.Timeout(patience.timeout).as_dict()

    def limit(request: Any) -> None:
        asked = request.extensions.get("timeout") or {}
        if not any(asked.values()):
            request.extensions = {**request.extensions, "timeout": limits}

    def note(response: Any) -> None:
        global _answered
        _answered = True

    def client() -> Any:
        made = default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {
            "request": [*hooks["request"], limit],
            "response": [*hooks["response"], note],
        }
        return made

    redact_logs_of_the_hub()
    set_client_factory(client)
    disable_progress_bars()
    return HfApi(library_name="asam-datasets")


def retried(
    call: Callable[[], T], what: str, patience: Patience = PATIENT, *, size: float = 0
) -> T:
    """Call a function, and call it again after an error that may pass.

    Such errors are those of the transport, a missed deadline, and the statuses 408, 409, 425, 429
    and 5xx. The wait between calls is that of the header Retry-After, else 1, 2, 4, ... seconds. A
    connection that is refused, or a name that is not resolved, is tried again only if a server
    answered before.

    Parameters
    ----------
    call
        The function.
    what
        What it does, for the message before another call.
    patience
        How long each call may take, and how often to call it.
    size
        The bytes that it moves.

    Raises
    ------
    HubError
        The Hub asks to wait for longer than `patience.longest_wait`.
    Exception
        The error of the last call.
    """

    def attempt() -> T:
        try:
            # A request without a byte ends by the timeout; this is for those that trickle.
            seconds = (_REQUESTS - 1) * patience.timeout + patience.deadline(size)
            return within(seconds, what, call)
        except Exception as error:
            hide_in(error)
            if may_pass(error) and (wait := asked_wait(error)) > patience.longest_wait:
                raise HubError(
                    f"{what}: the Hub asks to wait for {wait:.0f} s: run the same command again "
                    "after that; files that are uploaded are not sent again"
                ) from error
            raise

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: may_pass(error) and not _nobody(error)),
        stop=tenacity.stop_after_attempt(patience.retries + 1),
        wait=_wait,
        before_sleep=lambda state: _tell(what, state, patience),
        reraise=True,
    )
    return attempts(attempt)


def may_pass(error: BaseException | None) -> bool:
    """Whether a later attempt may succeed after this error or its cause."""
    while error is not None:
        if isinstance(error, (OfflineModeIsEnabled, RefusedError, HubError)):
            return False
        if isinstance(error, HfHubHTTPError):
            return status_of(error) in _RETRIED
        if isinstance(error, _PASSING):
            return True
        error = error.__cause__
    return False


def _nobody(error: BaseException | None) -> bool:
    """Whether no connection was made, and no server has answered before."""
    while error is not None:
        if isinstance(error, HTTP.ConnectError):
            return not _answered
        error = error.__cause__
    return False


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error, if it has one."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


@contextmanager
def plain_errors(repo: str) -> Iterator[None]:
    """Turn the errors of huggingface_hub in this context into a HubError that says what to do.

    No message contains the token.
    """
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise HubError("no token: set HF_TOKEN, or run `hf auth login`") from error
    except OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE is set: unset it") from error
    except HFValidationError as error:
        raise HubError(f"{repo}: not the name of a repo: {error}") from error
    except GatedRepoError as error:
        raise HubError(
            f"{repo} is gated, and this account has no access: ask for it on "
            f"https://huggingface.co/datasets/{repo}"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{repo}: no such dataset repo, or it is private and the token's account has no access"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repo}: no such revision: {_first_line(error)}") from error
    except HfHubHTTPError as error:
        raise HubError(_http_message(repo, error)) from error
    except RefusedError as error:
        raise HubError(f"{repo}: {error}") from error
    except (*_PASSING, RuntimeError) as error:
        if not may_pass(error) and not isinstance(error.__cause__, HfHubHTTPError):
            raise
        if isinstance(error, UnreachableError):
            raise HubError(
                f"{repo}: {error}; run the same command again: files that are uploaded are not "
                "sent again"
            ) from error
        cause = error.__cause__ or error
        if isinstance(cause, HfHubHTTPError):
            raise HubError(_http_message(repo, cause)) from error
        if _nobody(error):
            raise HubError(
                f"{repo}: the Hub can't be reached ({cause}): check the network, and HF_ENDPOINT "
                "if it is set"
            ) from error
        raise HubError(
            f"{repo}: the connection failed ({type(cause).__name__}: {cause}); run the same "
            "command again: files that are uploaded are not sent again"
        ) from error


def _http_message(repo: str, error: HfHubHTTPError) -> str:
    status, said = status_of(error), error.server_message or _first_line(error)
    if status == 401:
        return "the token is not valid: set HF_TOKEN to another one, or run `hf auth login`"
    if status == 403:
        return f"{repo}: this token is not allowed to do that ({said}); use one that may write"
    if status in _RETRIED:
        return f"{repo}: the Hub kept answering {status} ({said}); run the same command again later"
    return f"{repo}: the Hub answered {status}: {said}"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


_backoff = tenacity.wait_exponential(multiplier=1, max=MAX_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(asked_wait(error) if error else 0.0, _backoff(state))


def _tell(what: str, state: tenacity.RetryCallState, patience: Patience) -> None:
    error = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0
    fault = f"{status_of(error)} of the Hub" if error and status_of(error) else type(error).__name__
    attempt = f"attempt {state.attempt_number + 1} of {patience.retries + 1}"
    say(f"{what}: {fault}; {attempt} in {wait:.0f} s")
