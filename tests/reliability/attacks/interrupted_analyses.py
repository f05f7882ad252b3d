"""One process that analyzes for long, in any order, and is interrupted as Ctrl-C does it, at any moment."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.hooks import interface_hook
from attention_analyzer.result import Result
from tests.reliability.attack import Attack

#: However many attempts are asked for, no more are begun after this time.
SECONDS = 15 * 60
#: Attempts after which memory should have stopped growing, and by how many bytes it may grow from then on.
WARM_UP = 300
GROWTH = 20 * 1024**2
TEXTS = ("The cat sat on the mat.", "Mary gave John a book, and he read it.", "One two three. " * 6)


Analysis = Callable[[AttentionAnalyzer, str], Tensor]


class Interrupted(BaseException):
    """What Ctrl-C raises, but of a class that nothing else raises."""


class _Long:
    """A model in training that is analyzed again and again."""

    def __init__(self, draws: Random, analyses: Mapping[str, Analysis], texts: Sequence[str]) -> None:
        self.draws, self.analyses, self.texts = draws, analyses, texts
        self.analyzer = AttentionAnalyzer("demo-decoder", cache=False)
        self.analyzer.model.train()
        for module in list(self.analyzer.model.modules())[::3]:
            module.training = False
        self.state = self._state()
        self.expected: dict[tuple[str, str], Tensor] = {}
        self.longest: dict[str, float] = {}
        self.done = 0
        self.memory = 0

    def attempt(self) -> bool:
        """One analysis, half of the time interrupted; whether its result is right and nothing else has changed."""
        self.done += 1
        name, text = self.draws.choice(sorted(self.analyses)), self.draws.choice(self.texts)
        known = (name, text) in self.expected
        found = self._run(name, text, interrupted=known and self.draws.random() < 0.5)
        right = True
        if found is not None:
            expected = self.expected.setdefault((name, text), found)
            right = torch.allclose(found, expected, rtol=0, atol=1e-6, equal_nan=True)
        return right and all(map(_equal, self._state(), self.state)) and self._is_bounded()

    def _run(self, name: str, text: str, *, interrupted: bool) -> Tensor | None:
        begun = time.monotonic()
        if interrupted:
            before = signal.signal(signal.SIGALRM, _interrupt)
            try:
                signal.setitimer(signal.ITIMER_REAL, max(1e-4, self.draws.random() * self.longest[name]))
                self.analyses[name](self.analyzer, text)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            return None
        found = self.analyses[name](self.analyzer, text)
        self.longest[name] = max(self.longest.get(name, 0), time.monotonic() - begun)
        return found

    def _state(self) -> list[Any]:
        """All that an analysis must leave alone: outputs with dropout, modes, hooks, dispatch modes, gradients."""
        model = self.analyzer.model
        inputs = self.analyzer.loaded.tokenizer(TEXTS[0], return_tensors="pt")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            outputs = model(**inputs)[0]
        hooks = [
            (module.training, len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
        ]
        grads = [(parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()]
        shared = (
            interface_hook._active_hooks.get(),
            len(interface_hook._blocks),
            _get_current_dispatch_mode_stack(),
            torch.is_grad_enabled(),
        )
        return [outputs, torch.get_rng_state(), hooks, grads, shared]

    def _is_bounded(self) -> bool:
        if self.done < WARM_UP:
            return True
        now = psutil.Process().memory_info().rss
        self.memory = self.memory or now
        return now - self.memory <= GROWTH


def _interrupt(_: int, __: FrameType | None) -> None:
    raise Interrupted


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


#: Name and analysis, each with numbers that are the same every time.
ANALYSES: dict[str, Analysis] = {
    "record": lambda analyzer, text: analyzer.record(text).weights(1),
    "what_if": lambda analyzer, text: torch.tensor(analyzer.what_if(text, ablate="L0H0").kl),
    "importance": lambda analyzer, text: torch.tensor(
        [float(each) for each in analyzer.token_importance(text, method="gradient_attention").scores]
    ),
    "generate": lambda analyzer, text: analyzer.generate(text, max_new_tokens=3).weights(0),
    "metrics": lambda analyzer, text: torch.tensor(analyzer.record(text).heads()["entropy"].to_numpy()),
}


#: Analyses of many forwards each.
LONG_ANALYSES: dict[str, Analysis] = {
    "effects": lambda analyzer, text: _numbers(analyzer.effects(text)),
    "why": lambda analyzer, text: _numbers(analyzer.why(text, 1, 1, -1, -2)),
    "patch": lambda analyzer, text: _numbers(analyzer.patch(f"{text} a", f"{text} b")),
    "sources": lambda analyzer, text: _numbers(analyzer.sources(f"Tom sat. {text} Who", answer=" sat", removals=8)),
    "programs": lambda analyzer, text: _numbers(analyzer.programs([text] * 6)),
    "similarity": lambda analyzer, text: _numbers(analyzer.similarity([text] * 3)),
    "head importance": lambda analyzer, text: _numbers(
        analyzer.head_importance([text], "ablation", heads=["L0", "L1"])
    ),
}


def _numbers(found: Result) -> Tensor:
    return torch.tensor(found.to_frame().select_dtypes("number").to_numpy(dtype=float))


def interrupted(name: str, analyses: Mapping[str, Analysis], texts: Sequence[str], share: float) -> Attack:
    """An attack that makes these analyses in any order and interrupts half of them."""

    def attempts(draws: Random, _: Path) -> Iterator[Callable[[], bool]]:
        long = _Long(draws, analyses, texts)
        begun = time.monotonic()
        while time.monotonic() - begun < SECONDS:
            yield long.attempt

    return Attack(name, attempts, share)


INTERRUPTED_ANALYSES = (
    interrupted("Analyses in any order in one process, half of them interrupted", ANALYSES, TEXTS, 5.0),
    interrupted("Analyses of many forwards each, half of them interrupted", LONG_ANALYSES, TEXTS[:1], 0.1),
)
