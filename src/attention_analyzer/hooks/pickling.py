"""A model as it can be sent to another process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

#: Where the hooks come from that transformers leaves on modules.
_CAPTURING = "transformers.utils.output_capturing"
_INSTALLED = "_output_capturing_hooks_installed"


def picklable_copy(model: nn.Module) -> nn.Module:
    """The same modules around the same parameters, without what cannot be pickled.

    Once hidden states or attentions were asked of a model, transformers keeps hooks on its modules that hold a context
    variable, which no process can send. The copy gets them again when it needs them; all other hooks stay.
    The model itself is left as it is.
    """
    return _bare(model, {})


def _bare(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    if id(module) in made:  # a module that stands in several places still does
        return made[id(module)]
    bare = made[id(module)] = object.__new__(type(module))
    content: dict[str, Any] = dict(vars(module))
    content.pop(_INSTALLED, None)
    content["_modules"] = {
        name: None if child is None else _bare(child, made) for name, child in module._modules.items()
    }
    hooks = module._forward_hooks.items()
    content["_forward_hooks"] = OrderedDict((key, hook) for key, hook in hooks if hook.__module__ != _CAPTURING)
    vars(bare).update(content)
    return bare
