"""All methods on one text, side by side, with how far each can be trusted there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from attention_analyzer.attribution.context import ask
from attention_analyzer.attribution.covering import deleter_for
from attention_analyzer.attribution.deletion import DELETIONS, DeletionKind
from attention_analyzer.attribution.faithfulness import Faithfulness, Trial, random_orders
from attention_analyzer.attribution.importance import Special, TokenImportance, Unit, check_options, present, units_of
from attention_analyzer.attribution.registry import attribution_named
from attention_analyzer.deprecation import ATTRIBUTION_VALUES, renamed_arguments
from attention_analyzer.errors import InputError, MissingDependencyError, TooLongError, UnsupportedModelError
from attention_analyzer.media_recording import Media
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.result import Result
from attention_analyzer.text.tokenization import Pair

if TYPE_CHECKING:
    import pandas as pd

#: Two methods whose rank correlation over the text's units is below this disagree: they share less than a quarter of
#: the variance of their ranks.
DISAGREE_BELOW = 0.5
#: Over fewer units a rank correlation says too little to be flagged.
FEWEST_UNITS = 5
#: Random orders, and the share of them that their interval holds.
SEEDS, INTERVAL = 40, 0.95
#: One of each kind; the other rollouts differ from the first in details.
USUAL = ("received", "last_layer", "rollout", "flow", "norm", "gradient_attention", "integrated_gradients")
#: The same for images and sounds.
USUAL_OF_MEDIA = ("received", "last_layer", "rollout", "norm", "gradient_attention", "occlusion")
_BETTER = {"comprehensiveness": 1, "sufficiency": -1, "deletion_area": -1}


@dataclass(frozen=True, repr=False)
class AttributionComparison(Result):
    """Several methods on one text.

    Attributes:
        importances: each method's scores.
        judged: each method's faithfulness, in the same order; ``random``: that of random orders.
        steps: how many units are gone at each point of the deletion curves; ``deletable``: how many can be.
        whole: the target's measure on the whole text; ``measured``: what that is.
        deletion: how tokens were deleted.
        refused: methods that this model or text does not allow, with the reason.
    """

    importances: tuple[TokenImportance, ...]
    judged: tuple[Faithfulness, ...]
    random: tuple[Faithfulness, ...]
    steps: tuple[int, ...]
    deletable: tuple[int, ...]
    whole: float
    measured: str
    target: str
    deletion: DeletionKind
    model_name: str = ""
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """One row per method, the most comprehensive first, and one for random orders.

        ``comprehensiveness`` (higher is better), ``sufficiency`` and ``deletion_area`` (lower is better); of random
        orders the mean, with ``low`` and ``high`` of each measure's interval. ``beats_random``: on how many of the
        three a method is better than that interval, ``worse_than_random``: on how many it is worse;
        ``ahead_of_random``: the share of random orders that are less comprehensive, those alike counted half. In a
        text of a few tokens a random order is often as good as the best one, and none can beat the interval.
        """
        import pandas as pd

        rows = []
        for at, judged in sorted(self._pairs, key=lambda pair: -pair[1].comprehensiveness):
            measures = _measures(judged)
            beyond = [self._beyond(name, measures[name]) for name in _BETTER]
            told = {
                "ahead_of_random": self._ahead(judged),
                "beats_random": beyond.count(1),
                "worse_than_random": beyond.count(-1),
            }
            rows.append({"method": at.method, **measures, **told})
        each = pd.DataFrame([_measures(judged) for judged in self.random])
        rows.append({"method": "random", **each.mean().to_dict()})
        table = pd.DataFrame(rows).astype({"beats_random": "Int64", "worse_than_random": "Int64"})
        for name in _BETTER:
            low, high = self.interval(name)
            table[f"{name}_low"] = [None] * (len(table) - 1) + [low]
            table[f"{name}_high"] = [None] * (len(table) - 1) + [high]
        return table

    @property
    def tokens(self) -> pd.DataFrame:
        """Each token's score by each method: one row per token."""
        import pandas as pd

        first = self.importances[0]
        columns = {found.method: found.scores for found in self.importances}
        return pd.DataFrame({"position": range(len(first)), "token": first.tokens, **columns})

    @property
    def agreement(self) -> pd.DataFrame:
        """Spearman's rank correlation of each two methods over the units that can be deleted."""
        import pandas as pd

        ranks = {found.method: [found.raw_of_all[at] for at in self.deletable] for found in self.importances}
        return pd.DataFrame(ranks).corr(method="spearman")

    @property
    def disagreements(self) -> list[tuple[str, str, float]]:
        """Pairs of methods whose rank correlation is below :data:`DISAGREE_BELOW`, the worst first."""
        if len(self.deletable) < FEWEST_UNITS:
            return []
        table = self.agreement
        names = list(table.columns)
        pairs = [(a, b, float(table.loc[a, b])) for at, a in enumerate(names) for b in names[at + 1 :]]
        return sorted((pair for pair in pairs if pair[2] < DISAGREE_BELOW), key=lambda pair: pair[2])

    @property
    def summary(self) -> str:
        """What to make of it, in a few sentences."""
        table = self.table[self.table["method"] != "random"]
        ahead = table["ahead_of_random"]
        named = {
            f"lowers it more than {INTERVAL:.0%} of random orders do": ahead >= INTERVAL,
            "lowers it no more than most random orders do": ahead <= 1 / 2,
        }
        how = f"A deleted token: {DELETIONS[self.deletion]}."
        parts = [f"{self.target}: {self.measured} {self.whole:.3f} on the whole text. {how}"]
        for label, flags in named.items():
            if flags.any():
                parts.append(f"Deleting by {', '.join(table['method'][flags])} {label}.")
        if pairs := self.disagreements:
            worst = ", ".join(f"{a} and {b} ({rho:.2f})" for a, b, rho in pairs[:3])
            rest = f", and {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
            parts.append(f"Methods disagree (rank correlation below {DISAGREE_BELOW}): {worst}{rest}.")
        elif len(self.deletable) < FEWEST_UNITS:
            parts.append(f"Fewer than {FEWEST_UNITS} tokens can be ranked: whether methods agree cannot be told.")
        return " ".join(parts)

    def interval(self, name: str) -> tuple[float, float]:
        """The middle :data:`INTERVAL` of a measure over random orders."""
        return self._intervals[name]

    @property
    def _pairs(self) -> list[tuple[TokenImportance, Faithfulness]]:
        return list(zip(self.importances, self.judged, strict=True))

    @cached_property
    def _intervals(self) -> dict[str, tuple[float, float]]:
        tail = (1 - INTERVAL) / 2
        found = {}
        for name in _BETTER:
            values = torch.tensor([_measures(judged)[name] for judged in self.random], dtype=torch.double)
            found[name] = float(values.quantile(tail)), float(values.quantile(1 - tail))
        return found

    def _ahead(self, judged: Faithfulness) -> float:
        others = torch.tensor([other.comprehensiveness for other in self.random], dtype=torch.double)
        difference = judged.comprehensiveness - others
        alike = difference.abs() < 1e-9
        return float(((difference > 0) & ~alike).double().mean() + alike.double().mean() / 2)

    def _beyond(self, name: str, value: float) -> int:
        """1 where a value is better than the interval of random orders, -1 where it is worse, 0 inside."""
        low, high = self.interval(name)
        side = (value > high) - (value < low)
        return side * _BETTER[name]

    def cautions(self) -> tuple[str, ...]:
        if len(self.deletable) >= FEWEST_UNITS:
            return ()
        return (f"rests on {len(self.deletable)} tokens or words: rank correlations of so few say little",)

    def facts(self) -> tuple[str, ...]:
        methods = ", ".join(found.method for found in self.importances)
        best = self.table.iloc[0]
        return (
            f"for {self.target}: {methods}",
            f"most comprehensive: {best['method']}, ahead of {best['ahead_of_random']:.0%} of random orders",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


@renamed_arguments(values=ATTRIBUTION_VALUES)
def compare_attributions(
    loaded: LoadedModel,
    text: str | Pair | Media,
    *,
    methods: Sequence[str] | None = None,
    target: str | None = None,
    unit: Unit = "token",
    special: Special = "exclude",
    deletion: DeletionKind | None = None,
    seeds: int = SEEDS,
    seed: int = 0,
    truncate: bool = False,
    progress: OnProgress | None = None,
) -> AttributionComparison:
    """Several methods on one text, and how far each can be trusted there.

    Args:
        text: as for :func:`.importance.token_importance`.
        methods: names in :data:`.table.ATTRIBUTIONS`; by default one of each kind, less those that this model or the
            length of the text does not allow.
        target: what was predicted, written as in :data:`.choosing.TARGETS`.
        unit: whether pieces or words are scored and deleted.
        special: what becomes of special tokens in the scores. They are never deleted.
        deletion: one of :data:`.deletion.DELETIONS`; by default "mask" where the tokenizer has a mask token, else
            "hide"; "mean" for images, "silence" for a sound.
        seeds: how many random orders; ``seed``: where they start.
        progress: called with how much is done and how much there is: methods, and texts with deletions.

    Raises:
        InputError, TooLongError: the text or an option cannot be used.
        SelectionError: there is no such method, or no such target in this text.
        UnsupportedModelError, MissingDependencyError: a method that was named cannot be had.
    """
    usual = USUAL_OF_MEDIA if isinstance(text, Media) else USUAL
    chosen = [attribution_named(name) for name in methods or usual]
    check_options(unit, special)
    if seeds < 2:
        raise InputError(f"An interval takes at least 2 random orders, not {seeds}.")
    question = ask(loaded, text, target, truncate=truncate)
    units = units_of(question.tokens, unit)
    protected = question.target.protected
    deleter = deleter_for(question, deletion)
    deletable = tuple(
        at
        for at, members in enumerate(units.members)
        if protected not in members and all(map(deleter.can_delete, members))
    )
    if len(deletable) < 2:
        raise InputError(
            f"{len(deletable)} {unit}s of this text can be deleted; at least 2 are needed to compare orders."
        )
    trial = Trial(deleter, tuple(units.members[at] for at in deletable), len(question.tokens))
    # How long a method takes is not known before; all deletions together count as much as all methods.
    steps = ProgressCounter(2 * len(chosen), progress)
    importances, refused = [], {}
    for method in chosen:
        try:
            importances.append(present(method, method.find(question), question, units, unit, special))
        except (UnsupportedModelError, MissingDependencyError, TooLongError) as error:
            if methods is not None:
                raise
            refused[method.name] = str(error)
        steps.advance()
    orders = [_order(found, deletable) for found in importances]
    judged = trial.judge([*orders, *random_orders(len(deletable), seeds, seed)], steps.within(len(chosen)))
    return AttributionComparison(
        importances=tuple(importances),
        judged=tuple(judged[: len(orders)]),
        random=tuple(judged[len(orders) :]),
        steps=tuple(trial.steps),
        deletable=deletable,
        whole=judged[0].curve[0],
        measured=question.target.measured,
        target=question.target.label,
        deletion=deleter.kind,
        model_name=loaded.name,
        refused=refused,
    )


def _order(found: TokenImportance, deletable: Sequence[int]) -> list[int]:
    """Deletable units, the most important first (of a signed method: for the target); ties as in the text."""
    return sorted(range(len(deletable)), key=lambda at: -found.raw_of_all[deletable[at]])


def _measures(judged: Faithfulness) -> dict[str, float]:
    return {
        "comprehensiveness": judged.comprehensiveness,
        "sufficiency": judged.sufficiency,
        "deletion_area": judged.area,
    }
