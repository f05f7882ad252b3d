"""The tap: the one place where a running model is listened to.

transformers asks ``AttentionInterface.get_interface`` for the attention function at every call; a few models look it up
by its name (``AttentionInterface.__getitem__``), as that method itself does. While a tap is open, what they get is
wrapped: the hook sees the arguments and the real function's output, and the real function is called with exactly
the arguments it would have had. No attention implementation is switched, no name is registered and nothing is left on
the model, so outputs are bit-identical with and without a tap.

A wrapper does nothing unless a tap is open *in this context* (threads do not see each other's) and the module belongs
to the tapped model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface

from attention_analyzer.cleanup import undone
from attention_analyzer.locks import ForkSafeLock
from attention_analyzer.models.structure import ModulePaths

_ARGUMENTS = ("module", "query", "key", "value", "attention_mask")


@dataclass(frozen=True)
class AttentionCall:
    """The arguments of one attention call, as the model gave them.

    ``query [batch, head, query, channel]``, ``key`` and ``value [batch, key head, key, channel]``; ``mask`` in the
    backend's own form; ``options`` are the remaining keyword arguments.
    """

    module: nn.Module
    name: str
    backend: str
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Any
    options: dict[str, Any] = field(default_factory=dict)


class AttentionHook(Protocol):
    """What a tap talks to."""

    def before(self, call: AttentionCall) -> AttentionCall:
        """May return an altered call (an intervention); returning ``call`` itself leaves the model alone."""
        ...

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        """Sees ``output [batch, query, head, channel]``; may return another one, or the very same."""
        ...


@runtime_checkable
class WrappingHook(Protocol):
    """A hook that also wraps the model's own attention function while it runs."""

    def around(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class _ActiveHook:
    hook: AttentionHook
    names: ModulePaths


_active_hooks: ContextVar[tuple[_ActiveHook, ...]] = ContextVar("attention_analyzer_hooks", default=())
#: Blocks for which the interface is hooked.
_blocks: dict[int, object] = {}
_install_lock = ForkSafeLock()
_original_get_interface = AttentionInterface.get_interface
_look_up = AttentionInterface.__getitem__


@contextmanager
def hook_attention(model: nn.Module, hook: AttentionHook) -> Iterator[None]:
    """Let ``hook`` hear all attention calls that ``model`` makes in this context. Taps nest; the inner is first."""
    names = ModulePaths(model)
    block = _ActiveHook(hook, names)

    def undo() -> None:
        _uninstall(block)
        # Not what was there before: a block that an interrupt cut short may end after those around it.
        _active_hooks.set(tuple(each for each in _active_hooks.get() if each is not block))

    with undone(undo):
        _active_hooks.set((*_active_hooks.get(), block))
        _install(block)
        yield


def _install(block: object) -> None:
    with _install_lock():
        _blocks[id(block)] = block
        AttentionInterface.get_interface = _hooked_get_interface
        AttentionInterface.__getitem__ = _hooked_look_up


def _uninstall(block: object) -> None:
    with _install_lock():
        _blocks.pop(id(block), None)
        if not _blocks:
            AttentionInterface.get_interface = _original_get_interface
            if "__getitem__" in vars(AttentionInterface):
                del AttentionInterface.__getitem__


def _hooked_get_interface(
    self: AttentionInterface, attn_implementation: str, default: Callable[..., Any]
) -> Callable[..., Any]:
    function = _original_get_interface(self, attn_implementation, default)
    hooks = _active_hooks.get()
    # Functions that have a name were looked up by it, and are wrapped by now.
    return _wrap(function, attn_implementation or "eager", hooks) if hooks and function is default else function


def _hooked_look_up(self: AttentionInterface, name: str) -> Callable[..., Any]:
    function = _look_up(self, name)
    hooks = _active_hooks.get()
    return _wrap(function, name, hooks) if hooks else function


def _wrap(function: Callable[..., Any], backend: str, hooks: tuple[_ActiveHook, ...]) -> Callable[..., Any]:
    def hooked(*args: Any, **kwargs: Any) -> Any:
        module = args[0] if args else kwargs["module"]
        matching = [active for active in reversed(hooks) if active.names.meets(module)]
        if not matching:
            return function(*args, **kwargs)
        named = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        call = AttentionCall(
            module=module,
            name=matching[0].names[id(module)],
            backend=backend,
            query=named.pop("query"),
            key=named.pop("key"),
            value=named.pop("value"),
            mask=named.pop("attention_mask", None),
            options={name: value for name, value in named.items() if name != "module"},
        )
        passed = call
        for active in matching:
            passed = active.hook.before(passed)
        with ExitStack() as around:
            for active in matching:
                if isinstance(active.hook, WrappingHook):
                    around.enter_context(active.hook.around())
            if passed is call:
                output, *rest = function(*args, **kwargs)
            else:
                output, *rest = function(
                    module,
                    passed.query,
                    passed.key,
                    passed.value,
                    passed.mask,
                    *args[len(_ARGUMENTS) :],
                    **passed.options,
                )
        for active in matching:
            output = active.hook.after(passed, output)
        return (output, *rest)

    return hooked
