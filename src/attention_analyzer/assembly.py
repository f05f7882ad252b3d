"""From the sites of one forward to records: one per text, each with its own tokens and without padding.

What padding is, is read from the forward's attention mask where that has the axis' length, and otherwise from the
attention itself: keys that no query may see. Texts that are packed into one row are told apart by the same rule: the
inputs say that the row is packed, and in no site does a token of one text see a token of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.given_inputs import EARLIER, LEARNED, SOURCE, TARGET, main_ids, valid_tokens, vectors_axis
from attention_analyzer.inputs import tokens_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.bias import DenseBias
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.visibility import Visibility

#: Cells of a mask that are looked at together.
_CELLS = 1 << 24


@dataclass(frozen=True)
class Axis:
    """A padded token axis of a forward.

    Attributes:
        ids: ``[text, token]``, or None where there are none (embeddings).
        valid: bool ``[text, token]``, False for padding; None where nothing is.
        length: of the axis, padding included.
        earlier: :data:`LEARNED` or :data:`EARLIER` ``[text, key]`` for what a cache held before the axis;
            ``earlier_valid`` is False for padding among it.
    """

    length: int
    ids: Tensor | None = None
    valid: Tensor | None = None
    earlier: Tensor | None = None
    earlier_valid: Tensor | None = None

    def after_virtual(self, count: int) -> Axis:
        """The axis behind learned tokens."""
        rows = next((len(each) for each in (self.ids, self.valid) if each is not None), 1)
        return replace(self, earlier=torch.full((rows, count), LEARNED)).with_earlier()

    def with_earlier(self) -> Axis:
        """The axis with what a cache held before it."""
        if self.earlier is None:
            return self
        count, valid = self.earlier.shape[1], None
        if self.valid is not None or self.earlier_valid is not None:
            rows = next(each for each in (self.valid, self.earlier_valid) if each is not None)
            sizes = (self.earlier_valid, count), (self.valid, self.length)
            valid = torch.cat([rows.new_ones(len(rows), size) if part is None else part for part, size in sizes], 1)
        ids = None if self.ids is None else torch.cat([self.earlier.to(self.ids), self.ids], 1)
        return Axis(self.length + count, ids, valid)

    def repeated(self, times: int) -> Axis:
        """Each text several times, as for the sequences of a beam search."""
        return replace(
            self,
            **{
                name: each.repeat_interleave(times, 0)
                for name in ("ids", "valid", "earlier", "earlier_valid")
                if (each := getattr(self, name)) is not None
            },
        )

    def kept(self, row: int) -> Tensor:
        """int64: the positions of one text that are no padding."""
        if self.valid is None:
            return torch.arange(self.length)
        return self.valid[min(row, len(self.valid) - 1)].nonzero()[:, 0].cpu()


@dataclass(frozen=True)
class Axes:
    """The token axes of one forward.

    Attributes:
        source: the main text's; ``target``: of an encoder–decoder's target.
        packed: whether the inputs say that a row may hold several texts.
        virtual: how many learned tokens without a text the model puts before each row's.
    """

    source: Axis | None = None
    target: Axis | None = None
    packed: bool = False
    virtual: int = 0

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> Axes:
        """The axes of a forward with these inputs."""
        return cls(_axis(inputs, "source", SOURCE), _axis(inputs, "target", TARGET), _may_be_packed(inputs))

    def of_site(self, site: Site, size: int, side: int) -> Axis | None:
        """The token axis of a site's queries (side 0) or keys (1); None if what lies there is no token."""
        if site.tower not in ("encoder", "decoder"):
            return None
        in_decoder = site.tower == "decoder" and (side == 0 or site.kind == "self")
        order = (self.target, self.source) if in_decoder else (self.source,)
        axes = [axis for axis in order if axis is not None]
        found = next((axis for axis in axes if axis.length == size), None)
        if found is None:
            found = next((whole for axis in axes if (whole := axis.with_earlier()).length == size), None)
        if found is None and self.virtual:
            found = next(
                (axis.after_virtual(self.virtual) for axis in axes if axis.length + self.virtual == size), None
            )
        return found


def records_of(
    loaded: LoadedModel,
    sites: Sequence[tuple[Site, AttentionWeights]],
    axes: Axes,
    *,
    exact: bool = True,
    deviation: float = 0.0,
    notes: Mapping[str, Any] | None = None,
    fingerprint: str | None = None,
) -> list[CapturedAttention]:
    """One record per text of a forward. ``record.notes`` has ``row``, and ``part`` where texts are packed.

    Args:
        notes: further notes of every record.
        fingerprint: of the model at the forward; its present one by default.

    Raises:
        InputError: the sites are of different numbers of texts, images or sounds.
        UnsupportedModelError: a text attends to its padding, so that it cannot be left out.
    """
    rows = max(weights.batch for _, weights in sites)
    for site, weights in sites:
        if weights.batch not in (1, rows):
            raise InputError(
                f"The inputs hold {rows} texts, images or sounds, but {site.module} attends in {weights.batch}; give "
                "them one by one."
            )
    axes = replace(axes, virtual=loaded.virtual_tokens)
    _check_texts(axes, rows)
    parts = [_texts(sites, axes, row) for row in range(rows)]
    shown: dict[tuple[int, ...], Tokens] = {}

    def tokens(axis: Axis, row: int, kept: Tensor) -> Tokens:
        if axis.ids is None:
            return Tokens.positions(len(kept))
        ids = axis.ids[min(row, len(axis.ids) - 1)]
        numbers = tuple(ids[kept.to(ids.device)].tolist())
        if numbers not in shown:
            first = next((place for place, number in enumerate(numbers) if number not in (LEARNED, EARLIER)), None)
            before = numbers[:first]
            of_text = tokens_of(loaded, torch.tensor(numbers[len(before) :], dtype=torch.long))
            shown[numbers] = of_text.after_virtual(len(before), learned=LEARNED in before) if before else of_text
        return shown[numbers]

    mark = loaded.fingerprint if fingerprint is None else fingerprint
    records = []
    for row, texts in enumerate(parts):
        for part, text in enumerate(texts):
            entries = tuple(_entry(site, weights, axes, row, text, tokens) for site, weights in sites)
            about = dict(notes or {})
            if rows > 1:
                about["row"] = row
            if len(texts) > 1:
                about["part"] = part
            records.append(CapturedAttention(entries, loaded.name, mark, exact, deviation, about))
    return records


def _check_texts(axes: Axes, rows: int) -> None:
    for axis in (axes.source, axes.target):
        empty = [row for row in range(rows) if axis is not None and not len(axis.kept(row))]
        if empty:
            raise InputError(f"Text {empty[0]} of the inputs has no token but padding; leave it out.")


def _axis(inputs: Mapping[str, Any], side: str, names: tuple[str, ...]) -> Axis | None:
    ids, valid = main_ids(inputs, names), valid_tokens(inputs, side)
    if ids is not None:
        length = ids.shape[1]
    elif isinstance(inputs.get(names[1]), Tensor):
        length = inputs[names[1]].shape[1]
    elif (of_vectors := vectors_axis(inputs, side)) is not None:
        length = of_vectors[0]
    elif valid is not None:
        length = valid.shape[1]
    else:
        return None
    return Axis(length, ids, valid if valid is not None and valid.shape[1] == length else None)


def _may_be_packed(inputs: Mapping[str, Any]) -> bool:
    positions = inputs.get("position_ids")
    if isinstance(positions, Tensor) and positions.dim() == 2 and bool((positions.diff(dim=-1) < 0).any()):
        return True
    mask = inputs.get("attention_mask")
    masks = list(mask.values()) if isinstance(mask, Mapping) else [mask]
    by_query = any(hasattr(each, "mask_mod") or (isinstance(each, Tensor) and each.dim() > 2) for each in masks)
    return by_query or any(inputs.get(name) is not None for name in ("cu_seq_lens_q", "seq_idx"))


def _texts(sites: Sequence[tuple[Site, AttentionWeights]], axes: Axes, row: int) -> list[Tensor | None]:
    """The positions of each text in one row of the main axis; [None] where the row is one text, whole."""
    source = axes.source
    if source is None or not axes.packed:
        return [None]
    seen = {
        id(weights.visibility): weights.visibility
        for site, weights in sites
        if site.kind == "self" and axes.of_site(site, weights.keys, 1) is source and weights.queries == weights.keys
    }
    kept = source.kept(row)
    if not seen or not len(kept):
        return [None]
    first, last = torch.arange(source.length), torch.arange(source.length)
    for visibility in seen.values():
        low, high = _reach(visibility, row)
        first, last = torch.minimum(first, low), torch.maximum(last, high)
    # A text may begin where nothing from there on looks back, and nothing before looks ahead.
    looks_back = first.flip(0).cummin(0).values.flip(0)
    looks_ahead = last.cummax(0).values
    begins = (looks_back[1:] >= torch.arange(1, source.length)) & (looks_ahead[:-1] < torch.arange(1, source.length))
    text_of = torch.cat([torch.zeros(1, dtype=torch.long), begins.long().cumsum(0)])[kept]
    texts = [kept[text_of == number] for number in text_of.unique().tolist()]
    return [None] if len(texts) == 1 else list(texts)


def _reach(visibility: Visibility, row: int) -> tuple[Tensor, Tensor]:
    """The first and the last key that each query of a row sees; its own position where it sees none."""
    size, keys = visibility.queries, visibility.keys
    own = torch.arange(size)
    step = max(1, _CELLS // keys)
    low, high = [], []
    alone = visibility.select(min(row, _batch_of(visibility) - 1), slice(0, size), slice(0, keys))
    for start in range(0, size, step):
        rows = slice(start, min(start + step, size))
        seen = alone.seen(rows, slice(0, keys), slice(0, 1), torch.device("cpu"))
        if seen is None:
            low.append(torch.zeros(rows.stop - rows.start, dtype=torch.long))
            high.append(torch.full_like(low[-1], keys - 1))
            continue
        some = seen[0].any(0).expand(rows.stop - rows.start, keys).to(torch.uint8)
        blind = some.amax(-1) == 0
        low.append(torch.where(blind, own[rows], some.argmax(-1)))
        high.append(torch.where(blind, own[rows], keys - 1 - some.flip(-1).argmax(-1)))
    return torch.cat(low), torch.cat(high)


def _batch_of(visibility: Visibility) -> int:
    parts = [visibility.key_seen, visibility.mask, visibility.segments[0] if visibility.segments else None]
    return max((len(part) for part in parts if part is not None), default=1)


def _entry(
    site: Site,
    weights: AttentionWeights,
    axes: Axes,
    row: int,
    text: Tensor | None,
    tokens: Callable[[Axis, int, Tensor], Tokens],
) -> SiteRecord:
    row_here = row if weights.batch > 1 else 0
    sides: list[tuple[Tensor, Tokens]] = []
    for size, side in zip(weights.shape[1:], (0, 1), strict=True):
        axis = axes.of_site(site, size, side)
        if axis is None:
            kept = _seen_positions(site, weights.visibility, row_here, size, side)
            sides.append((kept, Tokens.positions(len(kept))))
            continue
        kept = text if text is not None and axis is axes.source else axis.kept(row)
        sides.append((kept, tokens(axis, row, kept)))
    (queries, of_queries), (keys, of_keys) = sides
    if _sees_beyond(weights, row_here, queries, keys):
        raise UnsupportedModelError(
            f"Tokens of text {row} attend to its padding in {site.module or 'the model'}, whose mask does not hide it; "
            "give the texts one by one without padding, or pass the mask on to that layer."
        )
    return SiteRecord(site, cut(weights, row_here, queries, keys), of_queries, of_keys)


def _seen_positions(site: Site, visibility: Visibility, row: int, size: int, side: int) -> Tensor:
    """Positions of an axis without tokens that are no padding, which is hidden from every query."""
    seen = None
    if side == 1 or (site.kind == "self" and visibility.queries == visibility.keys):
        if visibility.key_seen is not None:
            seen = visibility.key_seen[min(row, len(visibility.key_seen) - 1)]
        elif visibility.mask is not None:
            seen = visibility.mask[min(row, len(visibility.mask) - 1)].any(0).any(0).expand(size)
    if seen is None or not bool(seen.any()):
        return torch.arange(size)
    return seen.nonzero()[:, 0].cpu()


def cut(weights: AttentionWeights, row: int, queries: Tensor, keys: Tensor) -> AttentionWeights:
    """The weights of one text: the given positions of one batch row."""
    runs = _run(queries), _run(keys)
    if runs[0] is not None and runs[1] is not None:
        return weights.select(row, runs[0], runs[1])
    whole = weights.select(row, slice(0, weights.queries), slice(0, weights.keys))
    cells = whole.visibility.seen(slice(0, whole.queries), slice(0, whole.keys), slice(0, 1), torch.device("cpu"))
    mask = None if cells is None else cells.expand(1, -1, whole.queries, whole.keys)[:, :, queries][..., keys]
    seen = Visibility(len(queries), len(keys), mask=mask)
    if isinstance(whole, DenseWeights):
        return DenseWeights(_at(_at(whole.tensor, 2, queries), 3, keys), seen)
    assert isinstance(whole, QueryKeyWeights)
    source = whole.source
    bias = None
    if source.bias is not None:
        bias = DenseBias(_at(_at(source.bias.dense(), 2, queries), 3, keys))
    sinks = source.sinks if source.sinks is None or source.sinks.dim() == 1 else _at(source.sinks, 2, queries)
    return QueryKeyWeights(
        replace(
            source,
            query=_at(source.query, 2, queries),
            key=_at(source.key, 2, keys),
            visibility=seen,
            bias=bias,
            sinks=sinks,
        )
    )


def _sees_beyond(weights: AttentionWeights, row: int, queries: Tensor, keys: Tensor) -> bool:
    """Whether some of the queries attend to keys that are left out."""
    if len(keys) == weights.keys or not len(queries):
        return False
    if isinstance(weights, DenseWeights):
        left_out = torch.ones(weights.keys, dtype=torch.bool)
        left_out[keys] = False
        rows = _at(weights.tensor[row], 1, queries)
        return bool(_at(rows, 2, left_out.nonzero()[:, 0]).any())
    before = weights.visibility.counts(weights.empty().device)
    after = cut(weights, row, queries, keys).visibility.counts(before.device)
    before = before[min(row, len(before) - 1)].expand(-1, weights.queries)
    return bool((_at(before, 1, queries) != after[0]).any())


def _at(tensor: Tensor, axis: int, positions: Tensor) -> Tensor:
    return tensor.index_select(axis, positions.to(tensor.device))


def _run(positions: Tensor) -> slice | None:
    """The positions as a slice, if they follow each other."""
    if not len(positions):
        return slice(0, 0)
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last - first + 1 == len(positions) else None
