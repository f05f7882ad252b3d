"""What a metric is: one number per head, made from statistics that a single pass gathers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from attention_analyzer.weights.reductions import Reduction, Statistics


class Metric(ABC):
    """One number for every head of a site.

    The docstring of a subclass is its definition, with its source; means run over the queries that count (padding
    never does). A head for which the metric has no meaning gets NaN.
    """

    name: ClassVar[str]
    #: "weight" (a share in [0, 1]), "nats", "tokens", "keys" or "" (a ratio).
    unit: ClassVar[str]
    #: What the pass must gather.
    needs: ClassVar[tuple[Reduction, ...]]

    @abstractmethod
    def value(self, statistics: Statistics) -> Tensor:
        """``[batch, head]``."""
