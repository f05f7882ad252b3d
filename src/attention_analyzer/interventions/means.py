"""Mean outputs of heads, which a head that is ablated "by its mean" gives to every query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.errors import Option, UnsupportedModelError
from attention_analyzer.interventions.apply import seeing
from attention_analyzer.interventions.call_index import CallIndex, observe, same_draws
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import BATCH
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import Array, State
from attention_analyzer.run.study import MeasuredBatch, Study
from attention_analyzer.site import Site
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokenization import Pair


class MeanOutputs:
    """Sums of heads' outputs over the tokens of any number of forwards."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(
        self,
        loaded: LoadedModel,
        inputs: Mapping[str, Any],
        order: CallIndex,
        valid: Mapping[str, Tensor] | None = None,
    ) -> None:
        """One forward of the untouched model.

        Args:
            valid: bool ``[batch, query]`` by the site's name, False for padding; all count by default.
        """

        def see(site: Site, output: Tensor) -> Tensor:
            values = output.detach().double()
            counted = None if valid is None else valid[site.name].to(values.device)
            if counted is None or bool(counted.all()):
                values = values.flatten(0, 1)
            elif values.shape[:2] == counted.shape:
                values = values[counted]
            else:
                raise UnsupportedModelError(
                    f"{site.name} has other queries than the texts have tokens, so the positions of padding are "
                    "unknown",
                    [Option("batch_size", "1")],
                )
            total = values.sum(0)
            self._sums[site.name] = self._sums[site.name] + total if site.name in self._sums else total
            self._counts[site.name] = self._counts.get(site.name, 0) + len(values)
            return output

        with seeing(loaded, order, see) as model, torch.no_grad():
            same_draws(model, inputs)

    def of(self, site: Site, head: int) -> Tensor:
        """``[channel]``: the mean output of a head over all tokens seen."""
        return self._sums[site.name][head] / self._counts[site.name]

    def sums(self) -> dict[str, Array]:
        """Sums ``[head, channel]`` and counts of tokens, as arrays that add up."""
        found: dict[str, Array] = {f"sum/{name}": values.cpu().numpy() for name, values in self._sums.items()}
        return found | {f"count/{name}": np.array([count]) for name, count in self._counts.items()}

    @classmethod
    def from_sums(cls, sums: Mapping[str, Array]) -> MeanOutputs:
        """The inverse of :meth:`sums`."""
        found = cls()
        for name, array in sums.items():
            what, _, site = name.partition("/")
            if what == "sum":
                found._sums[site] = torch.from_numpy(array)
            else:
                found._counts[site] = int(array[0])
        return found


@dataclass(frozen=True)
class MeanHeadOutputs(Study[MeanOutputs]):
    """The heads' mean outputs over all tokens of some texts, special tokens included, padding not."""

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        prepared = batch.prepared
        if prepared is None:
            raise UnsupportedModelError(
                f"{loaded.name} pools or widens its sequences, so where padding went is unknown; "
                "take the means of single texts (batch_size=1)."
            )
        order, _ = observe(loaded, prepared.inputs, valid=prepared.valid.to(loaded.device))
        valid = {site.name: valid_of(prepared.axes(site.stack, site.kind)[0]) for site in order.sites}
        means = MeanOutputs()
        means.add(loaded, prepared.inputs, order, valid)
        return State(len(batch.numbers), order.sites, {}, means.sums())

    def result(self, loaded: LoadedModel, state: State) -> MeanOutputs:
        return MeanOutputs.from_sums(state.sums)


def mean_outputs(loaded: LoadedModel, texts: Sequence[str | Pair], *, batch_size: int = BATCH) -> MeanOutputs:
    """The result of :class:`MeanHeadOutputs` for some texts."""
    study = MeanHeadOutputs()
    return study.result(loaded, run_studies(loaded, texts, [study], batch_size=batch_size).states[0])
