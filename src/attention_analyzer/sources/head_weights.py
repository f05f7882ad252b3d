"""Which heads to believe: weights learned from what removals do, once per model (compare AT2, Cohen-Wang et al. 2025).

A part's score is a sum over heads, ``Σ_h w_h · a_h``, with ``a_h`` the head's attention from the answer to the part
above chance and ``w_h ≥ 0``. The weights are fitted by ridge regression to the measured drops of the answer's
log-probability on prompts without any annotation. They are kept in the cache folder under the model's fingerprint;
afterwards, sources need one forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attention_analyzer.errors import FileFormatError, InputError, MissingDependencyError, OnError, check_on_error
from attention_analyzer.fields import Fields
from attention_analyzer.files import read_json, write_json
from attention_analyzer.inputs import of_one
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.result import problem_table
from attention_analyzer.sources.evidence import HeadRows, PartWeights, attention_to_parts
from attention_analyzer.sources.prompt import Prompt, read_prompt
from attention_analyzer.sources.scorer import Scorer
from attention_analyzer.stats import rank_correlation
from attention_analyzer.usable_texts import UsableTexts, usable_texts

_FOLDER = "source-heads"
#: Drops beyond this count as this: an answer that is gone is gone.
_LARGEST_DROP = 8.0
#: Strength of the ridge, as a share of the mean squared feature.
_RIDGE = 0.1
#: Prompts of which every fourth is held out.
_FEWEST, _HELD_OUT = 8, 4


@dataclass(frozen=True)
class HeadWeights:
    """Learned weights of heads.

    Attributes:
        heads: each head, with the queries that were read; see :data:`.sources.evidence.HeadRows`.
        weights: of each head, none negative.
        fingerprint: of the model.
        prompts: how many prompts they were fitted on.
        held_out: rank correlation with the measured drops, mean over prompts that were held out.
        problems: prompts that were left out: ``index, text, reason``.
    """

    heads: tuple[HeadRows, ...]
    weights: tuple[float, ...]
    fingerprint: str
    prompts: int
    held_out: float
    problems: pd.DataFrame = field(default_factory=problem_table, compare=False, repr=False)

    def scores(self, attention: PartWeights) -> np.ndarray:
        """``[part]``: the weighted sum over heads.

        Raises:
            InputError: the weights are of other heads.
        """
        if tuple(attention.heads) != self.heads:
            raise InputError("The learned head weights are of a model with other heads; fit them again.")
        return np.asarray(self.weights) @ attention.above_chance

    def save(self, folder: Path) -> Path:
        """Write them beside the records of a cache."""
        path = _path(folder, self.fingerprint)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "heads": [list(head) for head in self.heads],
            "weights": list(self.weights),
            "fingerprint": self.fingerprint,
            "prompts": self.prompts,
            "held_out": self.held_out,
        }
        write_json(path, content)
        return path


def saved_weights(folder: Path | None, fingerprint: str) -> HeadWeights | None:
    """What was fitted for a model before; None if nothing was.

    Raises:
        FileFormatError: the file was cut or altered.
    """
    if folder is None or not (path := _path(folder, fingerprint)).is_file():
        return None
    content, _ = read_json(path)
    fields = Fields(content, str(path))
    weights = [float(value) for value in fields.any("weights")]
    heads = [(int(layer), int(head), str(rows)) for layer, head, rows in fields.any("heads")]
    if len(weights) != len(heads) or not np.isfinite(weights).all() or fields.text("fingerprint") != fingerprint:
        raise FileFormatError(f"{path} does not hold the head weights of this model; delete it and fit them again.")
    return HeadWeights(
        tuple(heads), tuple(weights), fingerprint, fields.whole("prompts", 1, 1 << 40), fields.number("held_out")
    )


def learn_head_weights(
    loaded: LoadedModel,
    prompts: Iterable[Any],
    *,
    max_new_tokens: int = 64,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> HeadWeights:
    """Fit the weights on prompts: texts, lists of messages, or mappings with ``messages`` and ``documents``.

    The model answers each; every part is removed once. One prompt in four is held out.

    Args:
        errors: "raise", or "skip" to leave out prompts that cannot be used and list them in ``problems``.

    Raises:
        InputError: there are fewer than eight prompts, or one cannot be used.
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import Ridge
    except ImportError:
        raise MissingDependencyError("scikit-learn", "cluster", "Learning head weights") from None
    kept = UsableTexts.unchecked(prompts)
    if check_on_error(errors) == "skip":
        kept = usable_texts(
            loaded, kept.texts, errors=errors, check=lambda each: _read(loaded, each, max_new_tokens=max_new_tokens)
        )
    given = kept.texts
    if len(given) < _FEWEST:
        raise InputError(f"Head weights are learned from at least {_FEWEST} prompts, not {len(given)}; give more.")
    counter = ProgressCounter(len(given), progress)
    heads: list[HeadRows] = []
    measured: list[tuple[np.ndarray, np.ndarray]] = []
    for number, each in enumerate(given):
        try:
            prompt = _read(loaded, each, max_new_tokens=max_new_tokens)
        except InputError as error:
            raise of_one(error, number, each, "Prompt") from error
        scorer = Scorer(loaded, prompt)
        drops = np.array([scorer.whole - scorer.removed([part]) for part in range(len(prompt.candidates))])
        attention = attention_to_parts(loaded, prompt)
        heads = attention.heads
        measured.append((_centered(attention.above_chance.T), _centered(drops.clip(-_LARGEST_DROP, _LARGEST_DROP))))
        counter.advance()
    fitted = [pair for number, pair in enumerate(measured) if number % _HELD_OUT]
    features, drops = np.concatenate([pair[0] for pair in fitted]), np.concatenate([pair[1] for pair in fitted])
    strength = _RIDGE * float((features**2).sum()) / features.shape[1]
    weights = Ridge(alpha=max(strength, 1e-9), positive=True, fit_intercept=False).fit(features, drops).coef_
    fits = [rank_correlation(x @ weights, y) for x, y in measured[::_HELD_OUT] if len(y) > 1]
    finite = [fit for fit in fits if np.isfinite(fit)]
    held_out = float(np.mean(finite)) if finite else 0.0
    learned = tuple(map(float, weights))
    return HeadWeights(tuple(heads), learned, loaded.fingerprint, len(fitted), held_out, kept.problems)


def _read(loaded: LoadedModel, given: Any, *, max_new_tokens: int) -> Prompt:
    options = dict(given) if isinstance(given, Mapping) else {"prompt": given}
    if foreign := options.keys() - {"prompt", "messages", "documents", "answer", "parts"}:
        raise InputError(f"A prompt has messages (or prompt), documents, answer and parts, but no {min(foreign)}.")
    return read_prompt(loaded, **options, max_new_tokens=max_new_tokens)


def _centered(values: np.ndarray) -> np.ndarray:
    return np.asarray(values - values.mean(0))


def _path(folder: Path, fingerprint: str) -> Path:
    return folder / _FOLDER / f"{fingerprint}.json"
