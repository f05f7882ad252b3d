"""What a model can read, told from its embeddings where no configuration says it."""

from __future__ import annotations

import re

from torch import nn

from attention_analyzer.errors import ModelError, Option
from attention_analyzer.models.loaded import LoadedModel

_POSITIONS = re.compile(r"pos|wpe", re.IGNORECASE)


def vocabulary_size(loaded: LoadedModel) -> int:
    """How many ids the model embeds: its input embedding's rows.

    Raises:
        ModelError: it embeds no ids.
    """
    model = loaded.model
    own = getattr(model, "get_input_embeddings", None)
    found = own() if callable(own) else None
    if not isinstance(found, nn.Embedding):
        tables = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
        found = next((module for name, module in tables if not _POSITIONS.search(name)), None)
    if found is None:
        raise ModelError(
            f"{loaded.name or type(model).__name__} has no embedding of ids, so no random tokens can be drawn for it",
            [Option("probes", "False")],
        )
    return int(found.num_embeddings)


def embedded_positions(model: nn.Module) -> int | None:
    """Tokens that a model has learned positions for, told from the names of its parameters; None without such."""
    rows = [
        parameter.shape[-2]
        for name, parameter in model.named_parameters()
        if _POSITIONS.search(name) and parameter.dim() in (2, 3) and re.search(r"weight$|pos\w*$", name)
    ]
    return min(rows) if rows else None
