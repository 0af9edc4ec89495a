"""Beam search over slots. Each slot holds one image and is at its own position.

At each step an image has 2K candidates, the best continuations of its K beams. A candidate that
ends, and that is among the best K, competes for a place among the K finished captions. The score of
a finished caption is log-probability / length ** length_penalty. The length includes the end token.
The best K candidates that do not end become the next beams.

Two sets of rules decide when an image is done and what happens to its open beams:

- "transformers": `generate(num_beams=K)` of transformers 5 (generation/utils.py, `_beam_search`,
  with `early_stopping=False`). The best open beam is scored at its current length. The image is
  done when this score is not better than that of the worst finished caption. As long as fewer than
  K captions are finished, the image is not done. At the last allowed token, open beams become
  finished captions of that length.
- "lavis": transformers 4.33.2, which LAVIS pins (generation/beam_search.py, `BeamSearchScorer`).
  The best candidate, whether it ends or not, is scored at its length plus one. The image is done
  when K captions are finished and this score is not better than that of the worst of them. After
  the last allowed token, open beams become finished captions of one token more.

In `generate` an image waits until the whole batch is done. Here its slot is free at once. All state
is in static buffers, so that a step can be one CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from builder.captioning.fast.decoder import BeamDecoder

_NEVER = -1.0e9  # transformers adds this to a score that must not win


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The options of beam search, with one end token.

    Parameters
    ----------
    beams, max_new_tokens, length_penalty
        As in transformers' `generate`.
    start_token, end_token, pad_token
        Token ids.
    rules
        "transformers" or "lavis"; the docstring of this module explains them.
    """

    beams: int
    max_new_tokens: int
    length_penalty: float
    start_token: int
    end_token: int
    pad_token: int
    rules: str = "transformers"


class BeamSearch:
    """Beam search on a decoder's slots.

    Parameters
    ----------
    decoder
        It sets the number of slots and beams.
    settings
        The options.
    imposed
        Whether `admit` gives the length that each caption must have, including the end token.
        Benchmarks use it, because random weights rarely end a sentence.
    """

    def __init__(
        self, decoder: BeamDecoder, settings: SearchSettings, *, imposed: bool = False
    ) -> None:
        self._decoder, self._settings = decoder, settings
        # With one beam, both versions of transformers take the likeliest token. So do these rules.
        self._rules = "transformers" if settings.beams == 1 else settings.rules
        slots, beams, device = decoder.slots, settings.beams, decoder.device
        tokens = decoder.positions + 1  # one more for the start token

        def full(shape: tuple[int, ...], value: float, dtype: torch.dtype) -> Tensor:
            return torch.full(shape, value, dtype=dtype, device=device)

        self.open = full((slots,), False, torch.bool)
        self._length = full((slots,), 0, torch.int64)  # tokens made so far
        self._running = full((slots, beams, tokens), settings.pad_token, torch.int64)
        self._running_score = full((slots, beams), 0, torch.float32)
        self._finished = full((slots, beams, tokens), settings.pad_token, torch.int64)
        self._finished_score = full((slots, beams), _NEVER, torch.float32)
        self._is_finished = full((slots, beams), False, torch.bool)
        self._ancestors = full((slots, beams, decoder.positions), 0, torch.int64)
        self._imposed = full((slots,), 0, torch.int64) if imposed else None
        self._first_score = full((beams,), _NEVER, torch.float32)
        self._first_score[0] = 0  # all beams start equal, so only the first one may be continued
        self._beam_index = torch.arange(beams, device=device)
        self._among_best = torch.arange(2 * beams, device=device) < beams

    @torch.no_grad()
    def admit(self, encoded: Tensor, slots: Tensor, lengths: Tensor | None = None) -> None:
        """Start the captions of R images in their slots.

        Parameters
        ----------
        encoded, slots
            As for `BeamDecoder.admit`.
        lengths
            (R,) int64, the imposed lengths.
        """
        self._decoder.admit(encoded, slots)
        # Not `self.open[slots] = True`: on CUDA that would copy a number from the host.
        self.open.index_fill_(0, slots, True)
        self._length.index_fill_(0, slots, 0)
        self._running.index_fill_(0, slots, self._settings.pad_token)
        self._running[:, :, 0].index_fill_(0, slots, self._settings.start_token)
        self._running_score[slots] = self._first_score
        self._finished.index_fill_(0, slots, self._settings.pad_token)
        self._finished_score.index_fill_(0, slots, _NEVER)
        self._is_finished.index_fill_(0, slots, False)
        if self._imposed is not None and lengths is not None:
            self._imposed[slots] = lengths

    @torch.no_grad()
    def step(self, reach: int) -> Tensor:
        """Make one more token for every open slot.

        Parameters
        ----------
        reach
            A multiple of 8. Every open slot must have made fewer tokens than this.

        Returns
        -------
        Tensor
            (S, 1 + P) int32. Column 0 is 1 if the slot is done. The other columns hold the best
            finished caption, padded.
        """
        settings = self._settings
        here = self._length[:, None, None].expand(-1, settings.beams, 1)  # (S, K, 1)
        self._ancestors.scatter_(2, here, self._beam_index[None, :, None].expand_as(here))
        last = self._running.gather(2, here)[..., 0]
        logits = self._decoder.step(last, self._length, self._ancestors, reach)
        score, beam, token = self._best(logits.float())
        sequences = _take(self._running, beam).scatter_(
            2, (here[:, :1] + 1).expand(-1, 2 * settings.beams, 1), token[..., None]
        )
        length = self._length + self.open
        ends = token == settings.end_token
        if self._rules == "transformers":
            ends = ends | (length >= settings.max_new_tokens)[:, None]
        self._finish(score, sequences, ends & self._among_best, length)
        running_score, keep = (score + ends * _NEVER).topk(settings.beams)
        self._running_score.copy_(running_score)
        self._running.copy_(_take(sequences, keep))
        self._ancestors.copy_(_take(self._ancestors, beam.gather(1, keep)))
        self._close(score[:, 0], length)
        self._length.copy_(length)
        done = (~self.open)[:, None]
        return torch.cat([done, self._finished[:, 0, 1:]], dim=1).to(torch.int32)

    def _close(self, best_of_all: Tensor, length: Tensor) -> None:
        """Close the slots that are done by the rules; `length` (S,) counts their tokens."""
        settings = self._settings
        at_end = length >= settings.max_new_tokens
        if self._rules == "transformers":
            best = self._penalized(self._running_score[:, 0], length)
            worst = self._finished_score.amin(1, keepdim=True).where(self._is_finished, _NEVER)
            self.open &= (best[:, None] > worst).any(1)
        else:
            best = self._penalized(best_of_all, length + 1)
            self.open &= ~self._is_finished.all(1) | (self._finished_score.amin(1) < best)
            left = (at_end & self.open)[:, None].expand_as(self._running_score)
            self._finish(self._running_score, self._running, left, length + 1)
        if self._imposed is not None:
            self.open &= length < self._imposed
        self.open &= ~at_end

    def _best(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 2K best candidates of each slot: score, beam and token, each (S, 2K)."""
        count, end = 2 * self._settings.beams, self._settings.end_token
        total = logits.logsumexp(-1, keepdim=True)
        ending = logits[..., end : end + 1] - total  # (S, K, 1)
        if self._imposed is not None:
            logits[..., end].fill_(float("-inf"))
        top, token = logits.topk(min(count, logits.shape[-1]), dim=-1)  # (S, K, 2K)
        score = top - total
        if self._imposed is not None:
            last = (self._length + 1 >= self._imposed)[:, None, None]
            only_end = torch.full_like(score, float("-inf"))
            only_end[..., :1] = ending
            score = torch.where(last, only_end, score)
            token = torch.where(last, end, token)
        score = (score + self._running_score[..., None]).flatten(1)
        score, index = score.topk(count)
        return score, index // top.shape[-1], token.flatten(1).gather(1, index)

    def _penalized(self, score: Tensor, length: Tensor) -> Tensor:
        """Scores that can be compared across lengths (S,), of log-probabilities (S,) or (S, C)."""
        divisor = length.clamp(min=1) ** self._settings.length_penalty
        return score / (divisor if score.ndim == 1 else divisor[:, None])

    def _finish(self, score: Tensor, sequences: Tensor, finishes: Tensor, length: Tensor) -> None:
        """Keep the K best of the finished captions and of the candidates that finish now.

        `score` and `finishes` are (S, C), `sequences` (S, C, L), `length` (S,).
        """
        candidate = self._penalized(score, length)
        candidate = candidate + (~self.open)[:, None] * _NEVER + ~finishes * _NEVER
        merged = torch.cat([self._finished_score, candidate], dim=1)
        best, keep = merged.topk(self._settings.beams)
        self._finished_score.copy_(best)
        self._finished.copy_(_take(torch.cat([self._finished, sequences], dim=1), keep))
        is_finished = torch.cat([self._is_finished, finishes], dim=1)
        self._is_finished.copy_(is_finished.gather(1, keep))


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (S, A, L) at `index` (S, B) of the second dimension: (S, B, L)."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))
