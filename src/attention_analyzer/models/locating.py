"""Where the files of a named model are; it loads neither torch nor transformers."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attention_analyzer.errors import ModelNotFoundError
from attention_analyzer.models.catalog import available, offline_encoder, offline_folder

#: What is meant where nothing is named.
DEFAULT = "bert-base-uncased"


@dataclass(frozen=True)
class OfflineModel:
    """A model that is loaded without asking the hub.

    Attributes:
        name, folder: its name and where its files are.
        remark: a sentence for the user, where it is not the model that would have been the default.
    """

    name: str
    folder: Path
    remark: str = ""


def offline_model(name: str | None) -> OfflineModel | None:
    """The model of that name, if it is loaded without asking the hub; None for all others and for unknown ones.

    Args:
        name: as given to :func:`.load_model`; for None the offline encoder, where the default model is out of reach.
    """
    remark = ""
    if name is None:
        name = offline_encoder()
        try:
            locate(DEFAULT, {})
        except ModelNotFoundError as error:
            remark = fallback_remark(error, name or "")
        else:
            return None
    try:
        folder = offline_folder(name or "") or Path(name or "").expanduser()
        return OfflineModel(str(name), folder, remark) if name and (folder / "config.json").is_file() else None
    except (OSError, ValueError):  # no name of a file
        return None


def fallback_remark(error: Exception, name: str) -> str:
    """What is said where the default model could not be loaded and the offline encoder stands in."""
    reason = str(error).split(";", maxsplit=1)[0].rstrip(".")
    return f"No model was named and {reason}; the offline encoder {name} is used instead."


def locate(name: str, settings: dict[str, Any]) -> tuple[str, bool]:
    """Where transformers shall read from, and whether the network stays out of it."""
    offline = offline_folder(name)
    if offline is not None:
        return str(offline), True
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise ModelNotFoundError(f"The folder {name} has no config.json, so it holds no transformers model.")
        return str(folder), True
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelNotFoundError(f"There is no folder {name}; {offline_models()}")
    if in_hub_cache(name, settings.get("revision")):
        return name, not hub_answers()
    if not hub_answers():
        raise ModelNotFoundError(
            f"{name} is neither bundled, nor a folder, nor in the hub's local cache, and the hub cannot be reached; "
            f"{offline_models()}"
        )
    return name, False


def in_hub_cache(name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)
    except HFValidationError:
        raise ModelNotFoundError(
            f"{name!r} is not a bundled model, not a folder, and not a valid Hugging Face id; {offline_models()}"
        ) from None


@lru_cache(maxsize=1)
def hub_answers() -> bool:
    """Whether the hub can be reached at all; asked once, because its own retries take half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=3):
            return True
    except OSError:
        return False


def offline_models() -> str:
    names = [model.name for model in available()]
    return f"available here: {', '.join(names)}." if names else "no model is available offline."
