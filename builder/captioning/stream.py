"""Captions the images of a source on one device.

Threads decode the images. The model captions them. Images that can't be decoded become rejects. If
the memory runs out, the batch size is halved, at the start or in the middle of a source.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt
import torch

from builder.captioning.families import choose_engine
from builder.captioning.fast import ContinuousCaptioner
from builder.captioning.model import Loaded
from builder.captioning.plain import PlainCaptioner, retry_options
from builder.captioning.preprocess import UndecodableError
from builder.captioning.quality import degenerate
from builder.captioning.store import holds_name
from builder.captioning.todo import Given, Numbered, Todo
from builder.core.console import say
from builder.core.errors import CaptionError
from builder.core.records import Reject

if TYPE_CHECKING:  # any image source will do, so none is imported
    from builder.captioning.images import ImageSource

_LARGEST = {"cuda": 1024}  # the batch size to start with where none was given
_LARGEST_ELSEWHERE = 8

Outcome = tuple[int, str, "str | Reject"]  # an image's number, name, and caption or reject


class Captioner(Protocol):
    """Makes captions of prepared images. `PlainCaptioner` is the simplest one."""

    batch: int

    def __call__(
        self, images: Iterator[tuple[int, npt.NDArray[Any]]]
    ) -> Iterator[list[tuple[int, str]]]:
        """Caption pairs of a number and an image; yields (number, caption) in any order."""
        ...

    def retry(self, image: npt.NDArray[Any]) -> str:
        """Caption an image once more, because its first caption is degenerate."""
        ...


@dataclass(slots=True)
class CaptionStream:
    """Captions on one device.

    Parameters
    ----------
    loaded
        The model.
    engine
        "continuous" is `ContinuousCaptioner`, for a BLIP-2 with a T5. "generate" is
        `PlainCaptioner`, for any model. "auto" is "continuous" where it is possible.
    batch
        The largest number of images at a time. None starts with 1,024 on a GPU and 8 elsewhere.
    threads
        The number of threads that decode images.
    check
        Whether degenerate captions are tried again. Benchmarks of speed turn it off.
    captioner
        The captioner to begin with. By default one of `batch` images is made.

    Raises
    ------
    CaptionError
        The engine can't caption with this model.
    """

    loaded: Loaded
    engine: str
    batch: int | None
    threads: int
    check: bool = True
    captioner: Captioner | None = None

    def __post_init__(self) -> None:
        self.engine = choose_engine(self.engine, self.loaded.family, self.loaded.settings)
        if self.batch is None:
            self.batch = _LARGEST.get(self.loaded.device.type, _LARGEST_ELSEWHERE)
        if self.loaded.device.type == "cuda":
            torch.cuda.set_device(self.loaded.device)

    def open(self) -> Captioner:
        """Return the captioner, after making one with the largest batch that fits the memory.

        Raises
        ------
        CaptionError
            Not even one image fits.
        """
        while self.captioner is None:
            if self.loaded.device.type == "cuda":
                torch.cuda.empty_cache()  # of an earlier attempt with a larger batch
            try:
                self.captioner = self._open(self.batch or 1)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._halve(error)
        return self.captioner

    def _open(self, batch: int) -> Captioner:
        if self.engine == "continuous":
            return ContinuousCaptioner(self.loaded, batch)
        return PlainCaptioner(self.loaded, batch)

    def _halve(self, error: RuntimeError) -> None:
        """Halve the batch size if the memory ran out; raise any other error again."""
        if not is_out_of_memory(error):
            raise error
        if self.batch == 1:
            raise CaptionError(
                f"out of memory on {self.loaded.device} at batch size 1: use fewer beams or "
                "tokens, a smaller model or dtype, or a device with more memory "
                f"({str(error)[:200]})"
            ) from error
        self.batch = (self.batch or 2) // 2
        self.captioner = None
        for each in _chain(error):  # their frames still refer to the captioner's tensors
            traceback.clear_frames(each.__traceback__)
        say(f"out of memory: going on with batch size {self.batch}")

    def __call__(
        self, images: ImageSource, todo: Sequence[Numbered] | Todo
    ) -> Generator[list[Outcome]]:
        """Caption images of a source.

        Parameters
        ----------
        images
            The source.
        todo
            The numbers and names of the images, at once or as they come.

        Yields
        ------
        list of Outcome
            In any order. Each image has exactly one outcome.

        Raises
        ------
        CaptionError
            Not even one image fits the memory.
        SourceError
            An image can't be read from the source.
        """
        taken = _Taken(Given(todo) if isinstance(todo, Sequence) else todo)
        while taken.wait():
            try:
                for outcomes in self._run(images, taken):
                    taken.finish(outcomes)
                    yield outcomes
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._halve(error)
                taken.again()

    def _run(self, images: ImageSource, todo: _Taken) -> Iterator[list[Outcome]]:
        """Caption the images that are there, until there are none for the moment."""
        captioner = self.open()
        names = todo.open
        rejects: list[Outcome] = []

        def undecodable(number: int, error: UndecodableError) -> None:
            name = names[number]
            reject = Reject(images.name, name, error.reason, error.expected, error.found)
            rejects.append((number, name, reject))

        prepared = self._prepare(images, todo, 3 * captioner.batch, undecodable)
        try:
            for captions in captioner(prepared):
                rejects += ((n, name, _refused(images, name)) for n, name in todo.unnamed())
                outcomes = rejects[:]
                rejects.clear()
                for number, caption in captions:
                    name = names[number]
                    outcomes.append((number, name, self._checked(captioner, images, name, caption)))
                yield outcomes
        except BaseException:
            self.captioner = None  # its slots still hold images of this run
            raise
        rejects += ((n, name, _refused(images, name)) for n, name in todo.unnamed())
        if rejects:
            yield rejects

    def _prepare(
        self,
        images: ImageSource,
        todo: _Taken,
        ahead: int,
        undecodable: Callable[[int, UndecodableError], None],
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield numbers and prepared images in order; threads decode up to `ahead` in advance."""

        def work(name: str) -> npt.NDArray[Any]:
            return self.loaded.prepare(images.read(name))

        pending: deque[tuple[int, Future[npt.NDArray[Any]]]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        try:
            while True:
                while len(pending) < ahead + self.threads:
                    following = todo.take()
                    if following is None:
                        break
                    pending.append((following[0], pool.submit(work, following[1])))
                if not pending:
                    return
                number, future = pending.popleft()
                try:
                    image = future.result()
                except UndecodableError as error:
                    undecodable(number, error)
                else:
                    yield number, image
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _checked(
        self, captioner: Captioner, images: ImageSource, name: str, caption: str
    ) -> str | Reject:
        """The caption; a second one if it is degenerate; a reject if that one is degenerate too."""
        prompt = self.loaded.prompt_words
        if not self.check or degenerate(caption.removeprefix(prompt)) is None:
            return caption
        again = captioner.retry(self.loaded.prepare(images.read(name)))
        reason = degenerate(again.removeprefix(prompt))
        if reason is None:
            return again
        retry = retry_options(self.loaded.settings)
        expected = f"words and no repeated phrase, also in a second caption made with {retry}"
        return Reject(images.name, name, reason, expected, repr(again[:120]))


class _Taken:
    """The images that were taken, until their outcomes are there.

    Images whose names no captions file can hold are kept apart.
    """

    def __init__(self, todo: Todo) -> None:
        self._todo = todo
        self._next: deque[Numbered] = deque()  # to be given out
        self._unnamed: list[Numbered] = []
        self.open: dict[int, str] = {}

    def wait(self) -> bool:
        """Wait for an image; False if none comes any more."""
        while not self._next and not self._unnamed:
            found = self._todo.take(wait=True)
            if found is None:
                return False
            self._sort_in(found)
        return True

    def take(self) -> Numbered | None:
        """The next image, or None if there is none now."""
        while not self._next and (found := self._todo.take(wait=False)) is not None:
            self._sort_in(found)
        return self._next.popleft() if self._next else None

    def _sort_in(self, image: Numbered) -> None:
        number, name = image
        self.open[number] = name
        (self._next if holds_name(name) else self._unnamed).append(image)

    def unnamed(self) -> list[Numbered]:
        """The images that `take` has left out since the last call."""
        found, self._unnamed = self._unnamed, []
        return found

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Forget images whose outcomes are there."""
        for number, _, _ in outcomes:
            del self.open[number]

    def again(self) -> None:
        """Give all images again whose outcomes are not there."""
        self._next.clear()
        self._unnamed.clear()
        for image in tuple(self.open.items()):
            self._sort_in(image)


def _refused(images: ImageSource, name: str) -> Reject:
    """The reject of an image whose name can't be written to a captions file."""
    expected = "a name in UTF-8 without spaces at its ends, as the captions file needs it"
    return Reject(images.name, name, "unusable_file_name", expected, ascii(name))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that caused it, says that a device or the machine has no memory."""
    signs = ("out of memory", "DefaultCPUAllocator: can't allocate", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(
        isinstance(each, torch.OutOfMemoryError) or any(sign in str(each) for sign in signs)
        for each in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes: an error while a graph is recorded can hide another one."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
