"""The forwards that happen while something else is in charge: a generation, a pipeline, a training step, a loop.

A hook on the modules that a forward can begin with (the model, the models inside it) says where each forward begins and
ends; within, attention is captured as always (:class:`.session.Capture`). Nothing happens in other threads and
contexts, in the backward pass (where checkpointed layers run again), and after the block.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from attention_analyzer.cleanup import undone
from attention_analyzer.errors import AttentionAnalyzerError, UnsupportedModelError
from attention_analyzer.given_inputs import LEARNED, valid_tokens
from attention_analyzer.hooks.dispatch_hook import AttentionDispatchMode, intercept
from attention_analyzer.hooks.forward import (
    as_written,
    batch_of,
    has_interface_only,
    not_shown,
    note_interface_only,
    nothing_captured,
    sequences_of,
)
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.hooks.parts import Origin
from attention_analyzer.hooks.session import Capture
from attention_analyzer.models.structure import modules
from attention_analyzer.module_hooks import hooks_removed
from attention_analyzer.weights.base import AttentionWeights

Keep = Callable[[CallSite, AttentionWeights], AttentionWeights | None]
#: Modules that began a forward which was watched for attention outside the interface; by model.
_watched: WeakKeyDictionary[nn.Module, set[int]] = WeakKeyDictionary()
#: The blocks that are open in this context.
_open: ContextVar[tuple[int, ...]] = ContextVar("attention_analyzer_forwards", default=())


@dataclass
class _QuietCapture(Capture[AttentionWeights | None]):
    """A capture that never disturbs what it watches: its errors are kept, not raised."""

    problem: AttentionAnalyzerError | None = None

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        with self._noting():
            super().after(call, output)
        return output

    def on_call(self, call: AttentionCall, output: Tensor, origin: Origin | None) -> None:
        with self._noting():
            super().on_call(call, output, origin)

    def on_weights(self, module: nn.Module, name: str, weights: Tensor, origin: Origin | None) -> None:
        with self._noting():
            super().on_weights(module, name, weights, origin)

    def refuse(self, error: AttentionAnalyzerError) -> None:
        self.problem = self.problem or error

    def finish(self) -> None:
        with self._noting():
            super().finish()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except AttentionAnalyzerError as error:
            self.problem = self.problem or error


@dataclass
class Forward:
    """One forward, from its beginning to its end.

    Attributes:
        entry: the module that was called.
        inputs: its arguments by name.
        capture: what was captured; its ``model`` is the whole model, so that paths are the same for every entry.
        output: what the entry returned.
        not_captured: paths of modules that attended in a way that cannot be shown.
        nothing: why there is nothing to show, where the forward had no attention that could be captured.
        closing: ends the capture; ``error_before``: what was being handled when it began.
    """

    entry: nn.Module
    inputs: dict[str, Any]
    capture: _QuietCapture
    output: Any = None
    not_captured: tuple[str, ...] = ()
    nothing: str = ""
    closing: ExitStack = field(default_factory=ExitStack)
    error_before: BaseException | None = None


@dataclass
class _Router:
    """Passes attention calls to the forward that runs now.

    Attributes:
        embedded: the ids that were embedded last, until a forward has ended, and their vectors.
        outside: where attention was met outside of any forward first.
    """

    model: nn.Module
    keep: Keep
    finished: Callable[[Forward], None]
    check: bool
    depth: list[nn.Module] = field(default_factory=list)
    running: Forward | None = None
    embedded: tuple[Tensor, Tensor] | None = None
    outside: str | None = None
    thread: int = field(default_factory=get_ident)

    # A hook of the interface, and of operations outside of it.

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    def around(self) -> AbstractContextManager[None]:
        return self.running.capture.around() if self._listens and self.running else nullcontext()

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        if self._listens and self.running is None and self.outside is None:
            self.outside = call.name
            self.finished(self._not_begun(call.module))
        return self.running.capture.after(call, output) if self._listens and self.running else output

    def _not_begun(self, module: nn.Module) -> Forward:
        """In place of a forward that no hook has seen begin."""
        name = type(self.model).__name__
        reason = (
            f"{name} attended in {self.outside} outside of any call that a hook sees; call the model itself, "
            "model(…), instead of model.forward(…) or its layers one by one."
        )
        return Forward(module, {}, _QuietCapture(self.model, self.keep), nothing=reason)

    # Where forwards begin and end.

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._listens:
            return
        if self.running is not None and module is self.running.entry:
            self.abort()  # the last forward was interrupted where torch calls no hook
        self.depth.append(module)
        if self.running is not None:
            return
        inputs = self._with_ids(module, _named(module, args, kwargs))
        capture = _QuietCapture(
            self.model,
            self.keep,
            valid=valid_tokens(inputs),
            check=self.check,
            batch=batch_of(inputs),
            sequences=sequences_of(inputs),
        )
        self.running = Forward(module, inputs, capture, error_before=sys.exc_info()[1])
        if id(module) not in _watched.get(self.model, set()) or not has_interface_only(self.model):
            watch = self.running.closing.enter_context(intercept(self.model, capture))
            capture.watch = watch
            _already_running(watch, module)

    def embed(self, module: nn.Module, args: tuple[Any, ...], vectors: Any) -> None:
        """Ids became vectors, of which a forward may be given (prompt tuning, a soft prompt of one's own)."""
        if self._listens and args and isinstance(vectors, Tensor) and vectors.dim() == 3:
            self.embedded = args[0], vectors.detach()

    def _with_ids(self, module: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """A forward's inputs with the ids of its vectors, where these were embedded just before.

        A part of the model begins by itself where ``model.forward`` is called, which no hook of the model sees; what it
        is given has gone through other layers, so that its shape alone tells.
        """
        if self.embedded is None or inputs.get("input_ids") is not None:
            return inputs
        ids, vectors = self.embedded
        given = inputs.get("inputs_embeds")
        if isinstance(given, Tensor):
            before = given.shape[1] - vectors.shape[1] if given.dim() == 3 else -1
            same = before >= 0 and torch.equal(given[:, before:], vectors)
            return inputs | {"input_ids": pad(ids, (before, 0), value=LEARNED)} if same else inputs
        hidden = next((each for each in inputs.values() if isinstance(each, Tensor) and each.dim() == 3), None)
        same = module is not self.model and hidden is not None and hidden.shape == vectors.shape
        return inputs | {"input_ids": ids} if same else inputs

    def leave(self, module: nn.Module, args: Any, *rest: Any) -> None:
        if not self._listens or module not in self.depth:
            return
        while self.depth.pop() is not module:
            pass
        forward = self.running
        if self.depth or forward is None:
            return
        self.running = None
        forward.closing.close()
        if sys.exc_info()[1] is not forward.error_before:
            return  # the forward failed: what it left is not whole
        forward.output = rest[-1] if rest else None
        capture = forward.capture
        if capture.watch is not None:
            missed = not_shown(capture)
            note_interface_only(self.model, capture, missed)
            forward.not_captured = tuple(missed)
            if not capture.calls and capture.problem is None:
                forward.nothing = nothing_captured(capture)
                if missed:
                    capture.problem = UnsupportedModelError(forward.nothing)
            _watched.setdefault(self.model, set()).add(id(module))
        if capture.calls or capture.problem or forward.nothing:
            self.embedded = None if capture.calls else self.embedded
            if self.outside is None or not forward.nothing:
                self.finished(forward)

    def abort(self) -> None:
        """Drop a forward that was interrupted."""
        self.depth.clear()
        if self.running is not None:
            self.running.closing.close()
            self.running = None

    @property
    def _listens(self) -> bool:
        in_backward = torch._C._current_graph_task_id() != -1  # noqa: SLF001 (torch says it nowhere else)
        return get_ident() == self.thread and id(self) in _open.get() and not in_backward


@contextmanager
def each_forward(model: nn.Module, keep: Keep, finished: Callable[[Forward], None], *, check: bool) -> Iterator[None]:
    """Capture every forward of a model in this block, in this thread and context.

    Args:
        model: without wrappers; see :mod:`.models.unwrapping`.
        keep: called inside the forward with each call's weights; what it returns is kept of them.
        finished: called after each forward that did not fail. What it raises reaches the caller.
        check: whether outputs are rebuilt from the weights and compared.
    """
    router = _Router(model, keep, finished, check)

    def undo() -> None:
        router.abort()
        _open.set(tuple(each for each in _open.get() if each != id(router)))

    with undone(undo), hooks_removed() as handles, ExitStack() as stack:
        _open.set((*_open.get(), id(router)))
        stack.enter_context(as_written(model))
        stack.enter_context(hook_attention(model, router))
        for module in _entries(model):
            handles.append(module.register_forward_pre_hook(router.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(router.leave, with_kwargs=True, always_call=True))
        if (table := _input_embedding(model)) is not None:
            handles.append(table.register_forward_hook(router.embed))
        yield


def _entries(model: nn.Module) -> list[nn.Module]:
    """The modules that a forward may begin with: the model, its parts, and every model inside it (an encoder)."""
    inside = [
        module for module in modules(model) if hasattr(module, "config") and hasattr(module, "get_input_embeddings")
    ]
    return list({id(module): module for module in (model, *model.children(), *inside)}.values())


def _input_embedding(model: nn.Module) -> nn.Module | None:
    try:
        found = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    return found if isinstance(found, nn.Module) else None


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments by name."""
    try:
        bound = inspect.signature(module.forward).bind_partial(*args, **kwargs)
    except (TypeError, ValueError):
        return dict(kwargs)  # the forward itself will say what is wrong
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        named |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return named


def _already_running(watch: AttentionDispatchMode, module: nn.Module) -> None:
    """The entry was called before the watch was there."""
    watch.ran[id(module)] = module
    watch.enter(module)
