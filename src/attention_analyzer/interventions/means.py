"""Mean outputs of heads, which a head that is ablated "by its mean" gives to every query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.inputs import prepare
from attention_analyzer.interventions.apply import seeing
from attention_analyzer.interventions.call_index import CallIndex, observe, same_draws
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import BATCH, batches
from attention_analyzer.site import Site
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
                    f"{site.name} has other queries than the texts have tokens, so where padding went is unknown; "
                    "take the means of single texts (batch_size=1)."
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


def mean_outputs(loaded: LoadedModel, texts: Sequence[str | Pair], *, batch_size: int = BATCH) -> MeanOutputs:
    """The heads' mean outputs over all tokens of some texts, special tokens included, padding not."""
    means = MeanOutputs()
    for batch in batches(texts, loaded.at_once(batch_size)):
        prepared = prepare(loaded, batch)
        order, _ = observe(loaded, prepared.inputs, valid=prepared.valid.to(loaded.device))
        valid = {}
        for site in order.sites:
            queries, _ = prepared.axes(site.stack, site.kind)
            length = max(map(len, queries))
            valid[site.name] = torch.tensor([[index < len(each) for index in range(length)] for each in queries])
        means.add(loaded, prepared.inputs, order, valid)
    return means
