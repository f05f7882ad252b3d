"""The pruning curve: heads are ablated, the least important first, and the loss is watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import torch

from attention_analyzer.deprecation import renamed_arguments
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.heads.ablation import Measure, measure_in_words, measures_while_silent
from attention_analyzer.heads.eval_batches import trials_of, usable_trials
from attention_analyzer.heads.importance import Method, all_heads, head_importance, ranked
from attention_analyzer.interventions.means import mean_outputs
from attention_analyzer.interventions.plan import Ablation
from attention_analyzer.interventions.selection import Head
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.recording import BATCH
from attention_analyzer.result import Basis, Result
from attention_analyzer.stats import bootstrap_interval
from attention_analyzer.text.tokenization import Pair

if TYPE_CHECKING:
    pass

#: Random orders that the curve is held against.
_RANDOM_ORDERS = 5
_SHARES = tuple(number / 10 for number in range(11))


@dataclass(frozen=True, repr=False)
class PruningCurve(Result):
    """What is left of a model while more and more heads are silent.

    Attributes:
        table: one row per order and share: ``order`` ("by importance" or "at random"), ``share``, ``heads`` (how many
            are silent), ``value`` (mean of the measure), ``low`` and ``high``: by importance the value of the untouched
            model plus the 95 % interval over texts of the change from it (how hard texts are is no uncertainty of what
            ablation does), at random the least and the largest of the random orders' means.
        measure: what is measured, in words.
        method: how importance was measured; ``held_out``: whether on other texts than the curve was.
        texts: how many the curve was measured on.
    """

    table: pd.DataFrame = field(compare=False)
    measure: str
    method: Method
    held_out: bool
    texts: int
    model_name: str = ""

    def basis(self) -> Basis:
        return Basis(self.texts)

    def facts(self) -> tuple[str, ...]:
        return (f"{self.measure} while heads are ablated by {self.method}; {self.texts} texts",)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


@renamed_arguments(names={"silence_with": "ablation"}, values={"method": {"silence": "ablation"}})
def pruning_curve(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    method: Method = "gradient",
    *,
    shares: Sequence[float] = _SHARES,
    measure: Measure = "loss",
    ablation: Ablation = "zero",
    held_out: bool = True,
    labels: Sequence[int | str] | None = None,
    seed: int = 0,
    truncate: bool = False,
    batch_size: int = BATCH,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> PruningCurve:
    """Ablate growing shares of all heads in order of importance, and in random orders.

    Args:
        texts: every second one finds the order, the others are what the curve is measured on: an order does well on
            the very texts it was chosen by.
        method: how importance is measured; see :func:`.importance.head_importance`.
        shares: of all heads, in [0, 1].
        measure: "loss", "logits" or a function; see there.
        held_out: False takes all texts for both.
        labels: a classifier's classes, one a text.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.

    Raises:
        InputError: fewer than two texts (or four to be held out), or a share outside [0, 1].
    """
    fewest = 4 if held_out else 2
    kept = usable_trials(loaded, texts, labels, errors=errors, truncate=truncate)
    texts, labels = kept.texts, kept.of(labels)
    if len(texts) < fewest:
        raise InputError(f"A pruning curve needs at least {fewest} texts, but {len(texts)} were given.")
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise InputError(f"Shares lie between 0 and 1, but {list(shares)} were given.")
    asked = {"seed": seed, "truncate": truncate, "batch_size": batch_size}
    finding, watching = (slice(0, None, 2), slice(1, None, 2)) if held_out else (slice(None), slice(None))
    with_labels = [None if labels is None else list(labels)[part] for part in (finding, watching)]
    found = head_importance(loaded, texts[finding], method, labels=with_labels[0], **asked)  # type: ignore[arg-type]
    trials = trials_of(loaded, texts[watching], labels=with_labels[1], **asked)  # type: ignore[arg-type]
    sites = trials[0].order.sites
    orders = [ranked(found, sites), *_random_orders(all_heads(sites), seed)]
    counts = [round(share * len(orders[0])) for share in shares]
    means = mean_outputs(loaded, texts[finding], batch_size=batch_size) if ablation == "mean" else None
    sets = [order[:count] for order in orders for count in counts]
    values = measures_while_silent(loaded, trials, sets, measure=measure, means=means, progress=progress)
    by_order = values.view(len(orders), len(counts), -1)
    plain = measures_while_silent(loaded, trials, [[]], measure=measure)[0]
    low, high = (float(plain.mean()) + end for end in bootstrap_interval((by_order[0] - plain).T.numpy()))
    at_random = by_order[1:].mean(-1)
    frames = [
        {"order": "by importance", "value": by_order[0].mean(-1).numpy(), "low": low, "high": high},
        {
            "order": "at random",
            "value": at_random.mean(0).numpy(),
            "low": at_random.amin(0).numpy(),
            "high": at_random.amax(0).numpy(),
        },
    ]
    both = [pd.DataFrame({"share": list(shares), "heads": counts} | frame) for frame in frames]
    table = pd.concat(both, ignore_index=True)[["order", "share", "heads", "value", "low", "high"]]
    words = measure_in_words(measure, trials[0])
    return kept.noted(PruningCurve(table, words, method, held_out, values.shape[1], loaded.name))


def _random_orders(heads: Sequence[Head], seed: int) -> list[list[Head]]:
    draws = torch.Generator().manual_seed(seed)
    return [
        [heads[index] for index in torch.randperm(len(heads), generator=draws).tolist()] for _ in range(_RANDOM_ORDERS)
    ]
