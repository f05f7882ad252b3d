"""The same history afterwards, from checkpoints that were saved: a folder of them, or revisions on the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attention_analyzer.arguments import explain
from attention_analyzer.errors import InputError
from attention_analyzer.metrics import METRICS, Metric
from attention_analyzer.models.catalog import BUNDLED
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import load
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.training.history import History
from attention_analyzer.training.snapshot import Measuring
from attention_analyzer.training.snapshot_store import MomentStore

_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@explain
def track_checkpoints(
    checkpoints: str | Path,
    store: str | Path | None = None,
    *,
    revisions: Sequence[str] | None = None,
    tokenizer: Any = None,
    texts: Sequence[str | Pair] | None = None,
    metrics: Sequence[Metric | str] = METRICS,
    patterns: Sequence[Pattern] = PATTERNS,
    keep_patterns: bool = True,
    progress: OnProgress | None = None,
    **options: Any,
) -> History:
    """The history that a tracker would have recorded, from saved checkpoints.

    Args:
        checkpoints: a folder with one folder per checkpoint (``checkpoint-500``, ``step_1000`` …; a
            ``checkpoints.json`` in it may say their steps by name); or, with ``revisions``, a model on the hub.
        store: a folder for the history, written moment by moment; what is there already is not measured again. Without
            it the history is only returned.
        revisions: branches, tags or commits whose names end in the step.
        tokenizer: for checkpoints that come without one.
        progress: called with the number of checkpoints done and of all.
        options: further arguments of :func:`.models.loading.load`.

    Raises:
        InputError: there are no checkpoints, or one's step cannot be told.
        ModelError: a checkpoint cannot be loaded.
    """
    places: dict[int, tuple[str, str | None]]
    if revisions is not None:
        places = {_step(revision, revision): (str(checkpoints), revision) for revision in revisions}
    else:
        places = {step: (str(folder), None) for step, folder in checkpoint_folders(checkpoints).items()}
    if not places:
        raise InputError(f"No checkpoints were given for {checkpoints}; name at least one revision.")
    with _folder(store) as folder:
        moments = MomentStore(folder)
        measuring: Measuring | None = None
        steps = ProgressCounter(len(places), progress)
        for step, (name, revision) in sorted(places.items()):
            if step in moments.steps:
                steps.advance()
                continue
            loaded = load(name, tokenizer, revision=revision, **options)
            tokenizer = tokenizer or loaded.tokenizer
            loaded = LoadedModel(loaded.model, tokenizer, name)
            if measuring is None:
                measuring = Measuring(loaded, texts, metrics=metrics, patterns=patterns, keep_patterns=keep_patterns)
                moments.describe(_model_name(checkpoints), *measuring.kept_tokens)
            table = measuring.table(loaded)
            table.insert(0, "step", step)
            moments.write(step, table)
            steps.advance()
        return History.load(folder)


def checkpoint_folders(folder: str | Path) -> dict[int, Path]:
    """Step to folder, for every model in a folder of checkpoints.

    Raises:
        InputError: there is no such folder, it holds no checkpoint, or a checkpoint's step cannot be told.
    """
    folder = Path(folder)
    if not folder.is_dir() and (BUNDLED / folder.name).is_dir() and len(folder.parts) == 1:
        folder = BUNDLED / folder.name
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; for a model on the hub name its revisions.")
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    if not inside:
        raise InputError(f"{folder} contains no checkpoints (no subfolder has a config.json).")
    named: dict[str, Any] = {}
    if (folder / "checkpoints.json").exists():
        named = json.loads((folder / "checkpoints.json").read_text(encoding="utf-8"))
    found: dict[int, Path] = {}
    for path in inside:
        step = int(named[path.name]) if path.name in named else _saved_step(path)
        if step in found:
            raise InputError(f"{found[step].name} and {path.name} in {folder} are both of step {step:,}; keep one.")
        found[step] = path
    return dict(sorted(found.items()))


def _saved_step(path: Path) -> int:
    """What the Trainer wrote beside the weights, or the number in the folder's name."""
    state = path / "trainer_state.json"
    if state.exists():
        return int(json.loads(state.read_text(encoding="utf-8"))["global_step"])
    return _step(path.name, str(path))


def _step(name: str, shown: str) -> int:
    match = _LAST_NUMBER.search(name)
    if match is None:
        raise InputError(f"The step of {shown} is unknown: its name has no number (such as checkpoint-500).")
    return int(match[1])


def _model_name(checkpoints: str | Path) -> str:
    return Path(checkpoints).name if Path(checkpoints).exists() else str(checkpoints)


@contextmanager
def _folder(store: str | Path | None) -> Iterator[Path]:
    """The store, or a folder that is gone afterwards."""
    if store is not None:
        yield Path(store)
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="attention-history-") as folder:
        yield Path(folder)
