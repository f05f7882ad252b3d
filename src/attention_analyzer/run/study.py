"""What a study is: something learned about every head from many texts, whose parts merge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, ClassVar, Generic, TypeVar

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.run.state import State
from attention_analyzer.site import Kind, Site
from attention_analyzer.weights.base import AttentionWeights

R = TypeVar("R")
#: Called with a site's stack and kind and its weights in the batch; returns what the study keeps of them, or the
#: reductions that it needs (:class:`.needs.Needs`), which are measured once for all studies of a run.
Measure = Callable[[str, Kind, AttentionWeights], Any]


@dataclass(frozen=True)
class MeasuredBatch:
    """One forward's texts, as a study sees them.

    Attributes:
        numbers: each text's place among all texts that were given.
        prepared: the batch; None where the model makes its sequences shorter or longer, so that ``records`` alone say
            what was measured.
        sites: every site with what the study's own :meth:`Study.measuring` kept of it; empty without it.
        records: one per text, without padding, for studies that read weights and where ``prepared`` is None.
    """

    numbers: tuple[int, ...]
    prepared: Prepared | None
    sites: tuple[tuple[Site, Any], ...]
    records: tuple[CapturedAttention, ...]


class Study(ABC, Generic[R]):
    """What is learned about every head from many texts; any split of the texts gives the result of the whole.

    A study is a frozen dataclass of its settings. Its state has one row per text (:class:`.state.State`).
    """

    #: Whether the weights of whole texts are read after the forward, so that queries and keys must outlive it.
    reads_weights: ClassVar[bool] = False

    @property
    def settings(self) -> str:
        """What the state depends on beside model and texts: a store is resumed with the same only.

        For parts without a ``repr`` of their own see :func:`told_apart`.
        """
        return repr(self)

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure | None:
        """What to call with every site of this batch, inside the forward where no study reads weights.

        None for a study that runs the model itself, in :meth:`take`; a batch is captured
        only if some study measures it.
        """
        return None

    @abstractmethod
    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        """The state of one batch of texts. Padding must not count."""

    @abstractmethod
    def result(self, loaded: LoadedModel, state: State) -> R:
        """What the states of all texts, merged, result in."""


def told_apart(part: object) -> str:
    """A pattern or metric by class, name and attributes, for :attr:`Study.settings`: the same in every process."""
    if isinstance(part, (tuple, list)):
        return repr([told_apart(each) for each in part])
    if isinstance(part, (type, FunctionType)):
        return f"{part.__module__}.{part.__qualname__}"
    if not hasattr(part, "__dict__"):
        return repr(part)
    attributes = [(name, told_apart(value)) for name, value in sorted(vars(part).items())]
    return repr((told_apart(type(part)), getattr(part, "name", ""), attributes))
