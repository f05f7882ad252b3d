"""Folders that hold an adapter (LoRA, IA³, …) and the name of the model it belongs to, as PEFT saves them."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from attention_analyzer.errors import AttentionAnalyzerError, MissingDependencyError, ModelError
from attention_analyzer.models.unwrapping import unwrap

_SETTINGS = "adapter_config.json"


def base_of(name: str) -> str | None:
    """The model that an adapter's folder names; None where it is the folder of a whole model, or none at all.

    Raises:
        ModelError: the adapter names no model.
    """
    folder = Path(name).expanduser()
    if not (folder / _SETTINGS).is_file() or (folder / "config.json").exists():
        return None
    try:
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / _SETTINGS} is not readable as JSON ({error}).") from None
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"The adapter in {name} names no base model (base_model_name_or_path in {_SETTINGS}); load it with peft "
            "and pass the PeftModel."
        )
    return base


def with_adapter(model: nn.Module, folder: str) -> nn.Module:
    """The model with a folder's adapter in its layers; ``model`` is altered, so it must be no one else's.

    Raises:
        MissingDependencyError: peft is not installed.
        ModelError: the adapter does not fit the model.
        UnsupportedModelError: it consists of virtual tokens.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingDependencyError("peft", "adapters", "An adapter's folder") from None
    try:
        return unwrap(PeftModel.from_pretrained(model, str(Path(folder).expanduser()))).model.eval()
    except AttentionAnalyzerError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ModelError(f"The adapter in {folder} could not be put into {type(model).__name__}: {reason}.") from error
