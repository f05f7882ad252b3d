"""How probable the answer is when parts of the prompt are taken away, with what stands before them read only once."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.sources.prompt import Prompt

#: How far the log-probability of an answer may lie from that of the whole forward, per token, in nats.
TOLERANCE = 2e-3
#: Tokens that are read at once after a cached beginning. Attention kernels skip what a causal mask hides only in square
#: problems, so a long run of queries behind a cache would compute many weights that are zero.
_RUN = 256


@dataclass
class Scorer:
    """Log-probabilities of one answer, in nats, summed over its tokens.

    Keys and values of the prompt are read once. A removal starts from what stands before the first removed token. The
    model's cache is used only if it gives back the log-probability of the whole forward, cut in the middle; otherwise
    every prompt is read from its beginning, and knock-outs are not available here.

    Attributes:
        use_cache: whether the cache is tried at all.
        whole: with everything in the prompt; read now, unless it is known already.
        forwards: how many forwards were run.
    """

    loaded: LoadedModel
    prompt: Prompt
    use_cache: bool = True
    whole: float = field(default=math.nan)
    forwards: int = field(init=False, default=0)
    _cache: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.ids = torch.tensor([*self.prompt.tokens.ids, *self.prompt.answer_ids])
        self._parameters = inspect.signature(self.loaded.model.forward).parameters
        if math.isnan(self.whole):
            self.whole = self._read_whole()
        if not math.isfinite(self.whole):
            raise CaptureError("The answer's log-probability is NaN or infinite; the model itself computes it so.")

    @property
    def has_cache(self) -> bool:
        """Whether keys and values of a common beginning are read only once."""
        return self._cache is not None

    def removed(self, candidates: Sequence[int]) -> float:
        """Without these candidates: their tokens are taken out, and what follows moves up."""
        gone = sorted(token for number in candidates for token in self.prompt.run_of(number))
        if not gone:
            return self.whole
        kept = torch.ones(len(self.ids), dtype=torch.bool)
        kept[gone] = False
        start = gone[0] if self.has_cache else 0
        rest = self.ids[start:][kept[start:]]
        return self._score(rest, start)

    def knocked_out(self, candidate: int) -> float:
        """With no attention to a candidate from what follows it, in any head; rows renormalize over the other keys."""
        run = self.prompt.run_of(candidate)
        return self._score(self.ids[run.stop :], run.stop, mask=self._hiding(run))

    def predictions(self, without: int | None = None) -> Tensor:
        """Log-probabilities ``[token, vocabulary]`` of what follows each token.

        Args:
            without: a candidate that nothing after it may attend to; then only the tokens after it are returned.
        """
        self.forwards += 1
        if without is None:
            outputs = self._forward(self.ids[:-1], 0, keep=0)
        else:
            run = self.prompt.run_of(without)
            past = self._past(run.stop)
            outputs = self._forward(self.ids[run.stop : -1], run.stop, past=past, mask=self._hiding(run), keep=0)
        return torch.log_softmax(outputs.logits[0].double(), dim=-1).cpu()

    def _hiding(self, run: range) -> Tensor:
        hidden = torch.ones(1, len(self.ids) - 1, dtype=torch.long)
        hidden[0, run.start : run.stop] = 0
        return hidden

    def _past(self, start: int) -> Any:
        """The cache, cut to the first tokens."""
        past = copy.deepcopy(self._cache)
        past.crop(start - (len(self.ids) - 1))  # by how many tokens too long it is
        return past

    def preferred(self, candidates: Sequence[int], length: int) -> tuple[int, ...]:
        """What the model writes, greedily, without these candidates."""
        gone = {token for number in candidates for token in self.prompt.run_of(number)}
        ids = [int(number) for at, number in enumerate(self.prompt.tokens.ids) if at not in gone]
        written: list[int] = []
        for _ in range(length):
            logits = self._forward(torch.tensor([*ids, *written]), 0, keep=1).logits[0, -1]
            written.append(int(logits.argmax()))
            self.forwards += 1
        return tuple(written)

    def _read_whole(self) -> float:
        outputs = self._forward(self.ids[:-1], 0, use_cache=self.use_cache)
        self.forwards += 1
        whole = self.prompt.answer_score(outputs.logits)
        cache = getattr(outputs, "past_key_values", None)
        if self.use_cache and cache is not None and hasattr(cache, "crop"):
            self._cache = cache
            middle = max(1, len(self.prompt.tokens) // 2)
            try:
                seen = torch.ones(1, len(self.ids) - 1, dtype=torch.long)
                found = [self._score(self.ids[middle:], middle), self._score(self.ids[middle:], middle, mask=seen)]
            except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, IndexError):
                found = []
            allowed = TOLERANCE * len(self.prompt.answer_ids) * max(1.0, abs(whole))
            if not found or any(not abs(value - whole) <= allowed for value in found):
                self._cache = None
        return whole

    def _score(self, ids: Tensor, start: int, mask: Tensor | None = None) -> float:
        """The answer at the end of ``ids``, which follow the first ``start`` tokens of the prompt."""
        self.forwards += 1
        if not start:
            return self.prompt.answer_score(self._forward(ids[:-1], 0, mask=mask).logits)
        past = self._past(start)
        at, stop = 0, len(ids) - 1
        while stop - at > _RUN + len(self.prompt.answer_ids):  # the last run has all of the answer
            reached = start + at + _RUN
            self._forward(
                ids[at : at + _RUN], start + at, past=past, mask=None if mask is None else mask[:, :reached], keep=1
            )
            at += _RUN
        return self.prompt.answer_score(self._forward(ids[at:stop], start + at, past=past, mask=mask).logits)

    def _forward(
        self,
        ids: Tensor,
        start: int,
        *,
        past: Any = None,
        mask: Tensor | None = None,
        use_cache: bool = False,
        keep: int | None = None,
    ) -> Any:
        inputs: dict[str, Any] = {"input_ids": ids[None]}
        inputs["attention_mask"] = torch.ones(1, start + len(ids), dtype=torch.long) if mask is None else mask
        if "position_ids" in self._parameters:
            inputs["position_ids"] = torch.arange(start, start + len(ids))[None]
        inputs = self.loaded.to_device(inputs)
        if "logits_to_keep" in self._parameters:
            inputs["logits_to_keep"] = len(self.prompt.answer_ids) if keep is None else keep
        if past is not None:
            inputs["past_key_values"] = past
        with self.loaded.evaluating() as model, torch.no_grad():
            return model(**inputs, use_cache=use_cache or past is not None)
