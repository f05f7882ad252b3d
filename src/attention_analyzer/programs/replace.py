"""Do programs do what the heads do? Heads get their program's pattern instead of their own, and the loss is watched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import InputError, OnError
from attention_analyzer.heads.ablation import ablation_plan, measures_while_changed, same_for_all
from attention_analyzer.heads.eval_batches import Trial, measured_in_words, trials_of, usable_trials
from attention_analyzer.interventions.apply import Plan
from attention_analyzer.interventions.edits import HeadChange, Pattern, Uniform
from attention_analyzer.interventions.means import mean_outputs
from attention_analyzer.interventions.selection import Head, Selector, select_heads
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.programs.conditions import cells_of
from attention_analyzer.programs.matrices import even_rows, rule_rows
from attention_analyzer.programs.program import Program
from attention_analyzer.programs.result import HeadPrograms
from attention_analyzer.programs.scoring import exchanged
from attention_analyzer.programs.text_facts import RuleText
from attention_analyzer.progress import OnProgress
from attention_analyzer.recording import BATCH
from attention_analyzer.result import Basis, Result
from attention_analyzer.site import Kind, Site
from attention_analyzer.stats import bootstrap_interval
from attention_analyzer.text.tokenization import Pair

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
FEWEST_TEXTS = 2
#: What heads get instead of their own pattern: their program's; another head's program; the same weight on every key;
#: or, instead of an output, their mean output.
REPLACEMENTS = ("program", "another head's program", "uniform", "mean output")


@dataclass(frozen=True, repr=False)
class ProgramReplacement(Result):
    """What becomes of the model while heads follow their programs.

    Attributes:
        table: one row per replacement and share: ``replacement`` (:data:`REPLACEMENTS`), ``share`` and ``heads`` (how
            many are replaced, those that programs explain best first), ``value`` (mean of the measure over texts) and
            ``change`` with its 95 % interval over texts (``low, high``): of perplexity, where the measure is a loss,
            else of the measure itself, relative to the untouched model's.
        measure: what is measured, in words; ``untouched``: its mean without any change.
        is_loss: whether ``exp(value)`` is a perplexity (of texts, each by its mean loss).
        texts: how many.
    """

    table: pd.DataFrame = field(compare=False)
    measure: str
    untouched: float
    is_loss: bool
    texts: int
    model_name: str = ""

    @property
    def unit(self) -> str:
        """What ``change`` is of."""
        return "change of perplexity" if self.is_loss else self.measure

    def basis(self) -> Basis:
        return Basis(self.texts)

    def facts(self) -> tuple[str, ...]:
        programs = self.table[self.table["replacement"] == REPLACEMENTS[0]]
        told = ", ".join(f"{row.share:.0%}: {row.change:+.1%}" for row in programs.itertuples())
        return (f"{self.unit} with heads replaced by their programs: {told}", f"{self.texts} texts")

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


@dataclass(frozen=True)
class ProgramPattern(Pattern):
    """A program's weights on one text of a batch.

    Attributes:
        texts: the axes of the layer in every text of the batch; ``text``: which one is meant.
    """

    program: Program
    texts: tuple[RuleText, ...]
    text: int = 0

    def of_text(self, text: int) -> ProgramPattern:
        return with_fields(self, text=text)

    def rows(self, run: slice, seen: Tensor) -> Tensor:
        text = self.texts[self.text]
        result = even_rows(seen)  # padded queries get no program, and nobody reads them
        stop = min(run.stop, text.queries.size)
        if stop <= run.start:
            return result
        own = slice(run.start, stop)
        part = seen[: stop - run.start, : text.keys.size].cpu()
        rules = self.program.rules
        rows = rule_rows(text, rules, own, part)
        cells = text.once("cells", lambda: cells_of(text.queries))[own]
        share = self.program.weights(cells, [rule.name for rule in rules]) * (rows.sum(-1) > 0)
        weights = torch.einsum("rq,rqk->qk", share, rows) + (1 - share.sum(0)).clamp(min=0)[:, None] * even_rows(part)
        result[: stop - run.start, : text.keys.size] = weights.to(result.device)
        return result


def replace_by_program(
    loaded: LoadedModel,
    programs: HeadPrograms,
    texts: Sequence[str | Pair],
    heads: Selector | Iterable[Selector] | None = None,
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    truncate: bool = False,
    batch_size: int = BATCH,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> ProgramReplacement:
    """What becomes of the model's predictions while heads follow their programs instead of their own weights.

    Args:
        programs: of this model, from :func:`.find.programs`.
        texts: at least two, best others than the programs were fitted on.
        heads: these only, all at once; by default growing shares of all heads, those that programs explain best first.
        shares: of all heads, above 0 and at most 1; what is replaced without ``heads``.
        seed: of the exchanged programs and of the tokens that a masked language model has to guess.
        truncate: cut what the model has no positions for.
        batch_size: how many texts run together.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        progress: called with how many forwards are done and how many there are.

    Raises:
        InputError: the programs are of another model, a share lies outside, or there are too few texts.
        SelectionError: a head is not there.
        UnsupportedModelError: the model's attention cannot be altered.
    """
    too_few = f"A list of at least {FEWEST_TEXTS} texts was expected, for the change to have an interval."
    if isinstance(texts, (str, bytes)):
        raise InputError(too_few)
    kept = usable_trials(loaded, texts, errors=errors, truncate=truncate)
    texts = kept.texts
    if len(texts) < FEWEST_TEXTS:
        raise InputError(too_few)
    if not shares or not all(0 < share <= 1 for share in shares):
        raise InputError(f"Shares of heads lie above 0 and are at most 1, but {list(shares)} were given.")
    trials = trials_of(loaded, texts, seed=seed, truncate=truncate, batch_size=batch_size)
    sites = trials[0].order.sites
    if tuple(programs.fitted.sites) != tuple(sites):
        raise InputError(
            f"The programs are of {programs.model_name or 'a model'} with other attention layers than "
            f"{loaded.name or 'this model'}; find programs for this model first."
        )
    if heads is None:
        order = _best_first(programs, sites)
        counts = [max(1, round(share * len(order))) for share in shares]
        sets = [order[:count] for count in counts]
    else:
        sets = [select_heads(heads, sites)]
        counts = [len(sets[0])]
        shares = [counts[0] / sum(site.heads for site in sites)]
    means = mean_outputs(loaded, texts, batch_size=batch_size)
    others = exchanged(programs.fitted, seed)
    plans = [same_for_all({})]
    for chosen in sets:
        plans += [
            partial(_program_plan, chosen, programs.fitted.programs),
            partial(_program_plan, chosen, others),
            same_for_all(_plan(chosen, HeadChange(pattern=Uniform()))),
            same_for_all(ablation_plan(chosen, means)),
        ]
    values = measures_while_changed(loaded, trials, plans, progress=progress).numpy()
    is_loss = trials[0].task != "representation"
    untouched, changed = values[0], values[1:].reshape(len(sets), len(REPLACEMENTS), -1)
    rows = []
    for number, name in enumerate(REPLACEMENTS):
        for share, count, found in zip(shares, counts, changed[:, number], strict=True):
            low, high = (_relative(float(end[0]), is_loss) for end in bootstrap_interval((found - untouched)[:, None]))
            change = _relative(float((found - untouched).mean()), is_loss)
            rows.append((name, share, count, float(found.mean()), change, low, high))
    table = pd.DataFrame(rows, columns=["replacement", "share", "heads", "value", "change", "low", "high"])
    words = measured_in_words(trials[0].task)
    result = ProgramReplacement(table, words, float(untouched.mean()), is_loss, values.shape[1], loaded.name)
    return kept.noted(result)


def _relative(difference: float, is_loss: bool) -> float:
    """Perplexity is the exponential of a loss, so that its ratio is that of a difference."""
    return float(np.expm1(difference)) if is_loss else difference


def _best_first(programs: HeadPrograms, sites: Sequence[Site]) -> list[Head]:
    heads = [(site, head) for site in sites for head in range(site.heads)]
    order = np.argsort(-programs.table["explained"].to_numpy(), kind="stable")
    return [heads[index] for index in order.tolist()]


def _plan(heads: Sequence[Head], change: HeadChange) -> Plan:
    plan: dict[str, dict[int, HeadChange]] = {}
    for site, head in heads:
        plan.setdefault(site.name, {})[head] = change
    return plan


def _program_plan(heads: Sequence[Head], programs: dict[Site, tuple[Program, ...]], trial: Trial) -> Plan:
    axes: dict[tuple[str, Kind], tuple[RuleText, ...]] = {}
    plan: dict[str, dict[int, HeadChange]] = {}
    for site, head in heads:
        at = (site.stack, site.kind)
        if at not in axes:
            pairs = zip(*trial.prepared.axes(*at), strict=True)
            axes[at] = tuple(RuleText.of(own, keys, None if site.kind == "cross" else 0) for own, keys in pairs)
        plan.setdefault(site.name, {})[head] = HeadChange(pattern=ProgramPattern(programs[site][head], axes[at]))
    return plan
