"""``capture``: the attention of whatever the user runs, as records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd

from attention_analyzer.assembly import records_of
from attention_analyzer.captured import CapturedAttention, Origin
from attention_analyzer.collecting import Collected, Collector, Sites, depths_of, layers_among
from attention_analyzer.errors import InputError, SelectionError, UnsupportedModelError
from attention_analyzer.forwards import each_forward
from attention_analyzer.metrics import Metric
from attention_analyzer.metrics.chosen import chosen_metrics
from attention_analyzer.metrics.head_table import head_table
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import load
from attention_analyzer.models.offload import check_weights
from attention_analyzer.places.find import placed
from attention_analyzer.record import AttentionRecord
from attention_analyzer.site import head_rows

#: Bytes of queries and keys that a block may keep unless the caller says otherwise.
LIMIT = 8 * 1024**3


@contextmanager
def capture(
    model: Any,
    tokenizer: Any = None,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[tuple[int, int]] | None = None,
    keep: str | None = "queries_keys",
    metrics: Sequence[Metric | str] | None = None,
    max_bytes: int = LIMIT,
    check: bool = True,
) -> Iterator[CapturedForwards]:
    """Capture the attention of every forward of a model in a block, whoever runs it.

    >>> with attention_analyzer.capture(model, tokenizer) as captured:
    ...     model.generate(**inputs)
    >>> captured.records[0].heads()

    Outputs and gradients are the same bits as without the block. Forwards in other threads, the backward pass and
    everything after the block are not captured; a forward that fails leaves nothing.

    Args:
        model: a module, or what holds one (a pipeline, a PEFT model, ``DataParallel`` …).
        tokenizer: names the tokens; without one (and if ``model`` brings none) tokens are numbered.
        layers: numbers of the layers to keep, counted from the end if negative; all by default. With ``[]`` nothing is
            captured.
        heads: pairs ``(layer, head)`` that :meth:`CapturedForwards.heads` shows; other layers are not kept.
        keep: "queries_keys" keeps records that can be queried later; None keeps only metrics.
        metrics: compute these (or those of these names) after each forward and keep nothing else.
        max_bytes: how much may be kept. Before it is exceeded capturing stops, the user's forwards go on undisturbed,
            and :attr:`CapturedForwards.records` raises the error.
        check: whether outputs are rebuilt from the weights and compared.

    Raises:
        InputError: an argument cannot be used.
        ModelError: there is no model in what was given, or it has no weights.
    """
    if keep not in ("queries_keys", None):
        raise InputError(f"keep must be 'queries_keys' or None, not {keep!r}; to keep only numbers pass metrics=[…].")
    if not _is_number(max_bytes) or not max_bytes > 0:
        raise InputError(f"max_bytes must be a number of bytes above 0, not {max_bytes!r}.")
    if model is None:
        raise InputError("capture needs the model whose forwards are to be captured, but None was given.")
    layers = _checked_layers(layers)
    kept = None if metrics is None and keep is not None else chosen_metrics(metrics)
    captured = CapturedForwards(load(model, tokenizer), layers, _checked_heads(heads), kept, max_bytes)
    if layers is not None and not layers:
        yield captured
        return
    check_weights(captured.loaded.model)
    collector = captured.collector
    try:
        with each_forward(captured.loaded.model, collector.keep, collector.finished, check=check):
            yield captured
    finally:
        collector.close()


class CapturedForwards:
    """What a block of :func:`capture` left: one record per sequence and forward, in the order they began.

    Cached decoding steps are joined: one record per sequence has the prompt's forward and all steps. A record's
    ``notes`` have the number of its ``forward``, of a batch its ``row``, how many ``steps`` were joined, and how many
    tokens were ``taken_back`` because a later step went on from before them.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        layers: Sequence[int] | None,
        heads: tuple[tuple[int, int], ...] | None,
        metrics: tuple[Metric, ...] | None,
        max_bytes: int,
    ) -> None:
        self.loaded, self.layers, self.chosen, self.metrics = loaded, layers, heads, metrics
        reduce = None if metrics is None else self._tables
        self.collector = Collector(loaded, self._wanted, reduce, max_bytes)
        self._known: tuple[list[Any], list[AttentionRecord]] = ([], [])
        self._depths: dict[tuple[str, str], int] = {}

    @property
    def records(self) -> list[AttentionRecord]:
        """One record per sequence and forward.

        Raises:
            TooLongError: the records would take more than ``max_bytes``.
            UnsupportedModelError, CaptureError: a forward's attention could not be captured.
            SelectionError: a layer that was asked for does not exist.
            InputError: only metrics were kept.
        """
        if self.metrics is not None:
            raise InputError("Only metrics were stored; use heads(), or capture with keep='queries_keys' for records.")
        slots = self._slots()
        if len(slots) != len(self._known[0]) or any(a is not b for a, b in zip(slots, self._known[0], strict=True)):
            self._known = (
                slots,
                [AttentionRecord.of(each) for number, slot in enumerate(slots) for each in self._records(slot, number)],
            )
        return list(self._known[1])

    def heads(self, metrics: Sequence[Metric | str] | None = None) -> pd.DataFrame:
        """One row per record and head: ``record, stack, kind, layer, head`` and a column for every metric.

        Args:
            metrics: which ones; all by default, or those that were kept.

        Raises:
            InputError: metrics were asked for that were not kept, or nothing was captured.
            SelectionError: a chosen head does not exist.
        """
        if self.metrics is None:
            tables = [head_table(record, metrics) for record in self.records]
        else:
            asked = self.metrics if metrics is None else chosen_metrics(metrics)
            if missing := [metric.name for metric in asked if metric not in self.metrics]:
                raise InputError(f"The metric {missing[0]} was not stored; pass it to capture(metrics=[…]).")
            tables = [table for slot in self._slots() for table in slot]
            if metrics is not None:
                columns = ["stack", "kind", "layer", "head", *(metric.name for metric in asked)]
                tables = [table[columns] for table in tables]
        if not tables:
            raise InputError("Nothing was captured: no forward pass of the model finished inside the block.")
        table = pd.concat([each.assign(record=number) for number, each in enumerate(tables)], ignore_index=True)
        table.insert(0, "record", table.pop("record"))
        return table if self.chosen is None else _only(table, self.chosen)

    def __len__(self) -> int:
        return len(self.records) if self.metrics is None else sum(map(len, self._slots()))

    def __iter__(self) -> Iterator[AttentionRecord]:
        return iter(self.records)

    def __getitem__(self, index: int) -> AttentionRecord:
        return self.records[index]

    def __repr__(self) -> str:
        problem, name = self.collector.problem, self.loaded.name or type(self.loaded.model).__name__
        if problem is not None:
            return f"<CapturedForwards of {name}: stopped. {problem}>"
        what = "records" if self.metrics is None else "head tables"
        return f"<CapturedForwards of {name}: {len(self)} {what}; see .records and .heads()>"

    def _slots(self) -> list[Any]:
        if self.collector.problem is not None:
            raise self.collector.problem
        slots = self.collector.so_far()
        if not slots and self.collector.nothing:
            raise UnsupportedModelError(self.collector.nothing)
        deepest = max(self._depths.values(), default=0)
        for layer in self._asked if deepest else ():
            if not -deepest <= layer < deepest:
                raise SelectionError(
                    f"Layer {layer} was to be captured, but the layers that ran are numbered from 0 to {deepest - 1}."
                )
        return slots

    @property
    def _asked(self) -> Sequence[int]:
        """Layers that were asked for by number."""
        return [*(self.layers or ()), *(layer for layer, _ in self.chosen or ())]

    def _wanted(self, sites: Sites) -> Sites:
        for place, size in depths_of(sites).items():
            self._depths[place] = max(size, self._depths.get(place, 0))
        if self.layers is not None:
            return layers_among(sites, self.layers)
        return sites if self.chosen is None else layers_among(sites, [layer for layer, _ in self.chosen])

    def _tables(self, whole: Collected) -> list[pd.DataFrame]:
        return [head_table(record, self.metrics) for record in self._records(whole, 0)]

    def _records(self, whole: Collected, number: int) -> list[CapturedAttention]:
        if not whole.sites:
            return []
        made = records_of(
            self.loaded,
            whole.sites,
            whole.axes,
            exact=whole.exact,
            deviation=whole.deviation,
            notes={"forward": number}
            | ({"steps": whole.steps} if whole.steps > 1 else {})
            | ({"taken_back": whole.taken_back} if whole.taken_back else {})
            | ({"not_captured": list(whole.not_captured)} if whole.not_captured else {}),
            fingerprint=whole.state.fingerprint(self.loaded.model),
        )
        made = placed(self.loaded, made, whole.inputs)
        return [replace(record, origin=Origin(self.loaded)) for record in made]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked_layers(layers: Any) -> list[int] | None:
    if layers is None:
        return None
    listed = isinstance(layers, Iterable) and not isinstance(layers, str | bytes)
    numbers = list(layers) if listed else None
    if numbers is None or any(isinstance(each, bool) or not hasattr(each, "__index__") for each in numbers):
        raise InputError(f"layers takes a list of layers' numbers, such as layers=[0, -1], but {layers!r} was given.")
    return [int(each) for each in numbers]


def _checked_heads(heads: Sequence[Any] | None) -> tuple[tuple[int, int], ...] | None:
    if heads is None:
        return None
    for pair in heads:
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not all(isinstance(number, int) for number in pair):
            raise InputError(f"heads takes pairs (layer, head), such as heads=[(0, 3)], but {pair!r} was given.")
    return tuple((int(layer), int(head)) for layer, head in heads)


def _only(table: pd.DataFrame, chosen: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """The rows of the chosen heads, whose numbers are counted from the end if negative."""
    shown = pd.Series(False, index=table.index)
    for layer, head in chosen:
        found = head_rows(table, layer, head)
        if found.empty:
            raise SelectionError(f"There is no head {head} in layer {layer} among those that were captured.")
        shown |= table.index.isin(found.index)
    return table[shown].reset_index(drop=True)
