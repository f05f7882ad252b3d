"""The record of one text: what was captured, with everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from attention_analyzer.arguments import explain_arguments
from attention_analyzer.captured import CapturedAttention
from attention_analyzer.deprecation import renamed_arguments
from attention_analyzer.errors import InputError
from attention_analyzer.result import problem_table
from attention_analyzer.text.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    from attention_analyzer.analyzer import AttentionAnalyzer
    from attention_analyzer.interventions import KnockOut, WhatIf
    from attention_analyzer.interventions.plan import Ablation, Replacements
    from attention_analyzer.interventions.selection import Selector
    from attention_analyzer.mechanism import Why
    from attention_analyzer.metrics.metric import Metric
    from attention_analyzer.parts import Lookback, Receivers
    from attention_analyzer.parts.attention import PartAttention
    from attention_analyzer.patterns.pattern import Pattern
    from attention_analyzer.site import Kind
    from attention_analyzer.text.parts import Parts
    from attention_analyzer.text.splitters import Level
    from attention_analyzer.text.tokenization import Pair
    from attention_analyzer.view.annotations import Annotations
    from attention_analyzer.view.static_views.state import ViewSettings
    from attention_analyzer.view.widget import AttentionWidget


@explain_arguments
class AttentionRecord(CapturedAttention):
    """The attention of one text: exact weights on demand, metrics, pattern scores, figures, pages, files.

    The data is that of :class:`.CapturedAttention`; records come from :meth:`.AttentionAnalyzer.record`, from a file
    (:meth:`load`) or from another program's arrays (:meth:`from_weights`, :meth:`from_queries_and_keys`).
    """

    @classmethod
    def of(cls, captured: CapturedAttention) -> AttentionRecord:
        """The record of what was captured."""
        values = {field.name: getattr(captured, field.name) for field in fields(captured) if field.init}
        return cls(**values)

    @classmethod
    def from_weights(
        cls,
        weights: Sequence[Any] | Any,
        tokens: Sequence[str] | Tokens,
        *,
        key_tokens: Sequence[str] | Tokens | None = None,
        batch: int | None = None,
        layers: Sequence[int] | None = None,
        causal: bool | None = None,
        partial_rows: bool = False,
        stack: str | None = None,
        model_name: str = "",
    ) -> AttentionRecord:
        """A record of weights that another program computed.

        Args:
            weights: a list or tuple with one array for each layer, ``[head, query, key]`` or
                ``[batch, head, query, key]`` (the ``outputs.attentions`` of Transformers); or one array, of one layer
                ``[head, query, key]``, of all ``[layer, head, query, key]``, or of all for a batch
                ``[layer, batch, head, query, key]``. PyTorch, NumPy, JAX or nested lists. They are copied.
            tokens: what the queries show, one string for each; ``key_tokens`` what the keys show, if they are another
                sequence (cross-attention).
            batch: which text of a batch; needed if there are several.
            layers: the layers' numbers, if they are not 0, 1, 2 …
            causal: whether queries see only keys up to themselves; told from the weights by default (causal if every
                weight on a later token is zero).
            partial_rows: accept rows that sum to less than one, as a model with attention sinks gives them.
            stack: "encoder" or "decoder"; told from ``causal`` by default.

        Raises:
            InputError: an array has another shape than the tokens ask for, is None, holds NaN, infinite or negative
                numbers (scores before the softmax), or a row that does not sum to one. Rows of zeros (padding) are
                accepted.
        """
        from attention_analyzer.external.given_weights import record_from_weights

        made = record_from_weights(
            weights,
            tokens,
            key_tokens=key_tokens,
            batch=batch,
            layers=layers,
            causal=causal,
            partial_rows=partial_rows,
            stack=stack,
            model_name=model_name,
        )
        return cls.of(made)

    @classmethod
    def from_queries_and_keys(
        cls,
        queries: Sequence[Any] | Any,
        keys: Sequence[Any] | Any,
        tokens: Sequence[str] | Tokens,
        *,
        key_tokens: Sequence[str] | Tokens | None = None,
        batch: int | None = None,
        layers: Sequence[int] | None = None,
        scaling: float | Sequence[float | None] | None = None,
        causal: bool = False,
        window: int | Sequence[int | None] | None = None,
        softcap: float | Sequence[float | None] | None = None,
        sinks: Any = None,
        bias: Any = None,
        mask: Any = None,
        stack: str | None = None,
        model_name: str = "",
    ) -> AttentionRecord:
        """A record of queries and keys that another program computed; its memory is linear in the text.

        The weights of a layer are ``softmax(softcap(scaling · q kᵀ) + bias)`` over the visible keys. Queries and keys
        are those that the scores are computed from: after rotary embedding, and after norms of queries and keys.

        Args:
            queries: a list with one array for each layer, ``[head, token, channel]`` or
                ``[batch, head, token, channel]``; or one array, of one layer, of all ``[layer, head, token, channel]``,
                or of all for a batch ``[layer, batch, head, token, channel]``. PyTorch, NumPy, JAX or nested lists, of
                float16, bfloat16, float32 or float64. They are copied.
            keys: the same, with as many heads or fewer: query heads share key heads in groups of neighbors (GQA).
            tokens: one string for each token. In a causal text there may be fewer queries than tokens: they are of the
                last ones.
            key_tokens: what the keys show, if they are another sequence (cross-attention).
            batch: which text of a batch; needed if there are several.
            layers: the layers' numbers, if they are not 0, 1, 2 …
            scaling: the factor on the products, for all layers or one each; 1/√channels by default.
            causal: whether queries see only keys up to themselves. As in most libraries it must be said.
            window: query ``i`` sees key ``j`` only if ``|i - j| < window``: the ``sliding_window`` of Transformers. For
                all layers, or a list with one (or None) each.
            softcap: ``c`` in ``c · tanh(score / c)``, for all layers or one each.
            sinks: one score for each head that takes part in the softmax and is left out: ``[head]``, or one each
                layer.
            bias: added to the scores (after the softcap): ``[query, key]`` or ``[head or 1, query, key]``, or one each
                layer. Entries of -1e4 and less hide the key beside higher ones; -inf always does.
            mask: True where a query sees a key, in the same shapes.
            stack: "encoder" or "decoder"; told from ``causal`` by default.

        Raises:
            InputError: shapes do not fit each other or the tokens, or a number is NaN, infinite or impossible.
        """
        from attention_analyzer.external.given_queries import record_from_queries_and_keys

        made = record_from_queries_and_keys(
            queries,
            keys,
            tokens,
            key_tokens=key_tokens,
            batch=batch,
            layers=layers,
            scaling=scaling,
            causal=causal,
            window=window,
            softcap=softcap,
            sinks=sinks,
            bias=bias,
            mask=mask,
            stack=stack,
            model_name=model_name,
        )
        return cls.of(made)

    @classmethod
    def load(cls, path: str | Path) -> AttentionRecord:
        """Read a record that :meth:`save` wrote.

        Raises:
            FileFormatError: the file is corrupt, foreign, or from a newer version.
        """
        from attention_analyzer.storage import load_record

        return cls.of(load_record(path))

    def save(self, path: str | Path) -> Path:
        """Write the record to one file (safetensors, no pickle), linear in the text; see :mod:`.storage`."""
        from attention_analyzer.storage import save_record

        return save_record(self, path)

    def heads(self, metrics: Sequence[Metric | str] | None = None) -> pd.DataFrame:
        """One row per site and head: ``stack, kind, layer, head`` and a column for every metric.

        Args:
            metrics: which ones, or their names; all of :data:`attention_analyzer.metrics.METRICS` by default.

        Raises:
            CaptureError: a weight is NaN or infinite.
        """
        from attention_analyzer.metrics.head_table import head_table

        return head_table(self, metrics)

    def patterns(self, patterns: Sequence[Pattern] | None = None) -> pd.DataFrame:
        """One row per site, head and pattern, with its strength and controls in this text.

        See :func:`.patterns.score_table.pattern_table` for the columns. One text is no proof of what a head does:
        :meth:`.AttentionAnalyzer.label_heads` names heads from several.

        Args:
            patterns: which ones; all of :data:`attention_analyzer.patterns.PATTERNS` by default.

        Raises:
            CaptureError: a weight is NaN or infinite.
        """
        from attention_analyzer.patterns import PATTERNS
        from attention_analyzer.patterns.score_table import pattern_table

        return pattern_table(self, PATTERNS if patterns is None else patterns)

    def parts(self, level: Level | None = None) -> Parts:
        """The parts of the text: its sentences, paragraphs, turns, documents …; every token belongs to one of them.

        Args:
            level: a name of :data:`attention_analyzer.parts.SPLITTERS`; "turn", "document" or "section" of a chat;
                your own ``[Part("claim", 0, 20), …]`` in the order of the text; or a function that returns parts of a
                text. By default the sections of a chat (turns, thoughts and documents), else sentences.

        Raises:
            InputError: there is no such level, or parts overlap or hold no token.
        """
        from attention_analyzer.text.splitters import parts_of

        return parts_of(self.tokens, level)

    def between(
        self,
        level: Level | None = None,
        *,
        key_level: Level | None = None,
        stack: str | None = None,
        kind: Kind | None = None,
        layers: Iterable[int] | None = None,
    ) -> PartAttention:
        """How much the tokens of each part attend to each part, in every head, and what chance would give.

        Exact, in one pass with memory linear in the text.

        Args:
            level: as for :meth:`parts`.
            key_level: of the keys, where those are another text (cross-attention); the same level by default.
            stack, kind: which attention, if there is more than one; by default that of the first layer.
            layers: some layers only.

        Raises:
            InputError: the text has no such parts, or more than fit.
            SelectionError: there is no such layer, stack or kind.
        """
        from attention_analyzer.parts import between

        return between(self, level, key_level=key_level, stack=stack, kind=kind, layers=layers)

    def receivers(
        self,
        level: Level | None = None,
        *,
        stack: str | None = None,
        layers: Iterable[int] | None = None,
        gap: int = 4,
        shuffles: int = 400,
        seed: int = 0,
    ) -> Receivers:
        """Heads in which a few parts are attended to by much of what follows, against shuffled weights.

        Args:
            level, stack, layers: as for :meth:`between`.
            gap: attending parts stand at least so many parts behind.
            shuffles: how often weights are dealt out anew; seed: of the shuffles.

        Raises:
            InputError: the text has too few parts.
            SelectionError: there is no such layer or stack.
        """
        from attention_analyzer.parts import between, receivers

        found = between(self, level, stack=stack, layers=layers)
        return receivers(found, gap=gap, shuffles=shuffles, seed=seed)

    def lookback(self, start: int | None = None) -> Lookback:
        """How much of each written token's attention is on what was given: the lookback ratio of every head.

        Args:
            start: position of the first written token; by default known from ``analyzer.generate``.

        Raises:
            InputError: the record does not say where writing began, or nothing was given or written.
        """
        from attention_analyzer.parts import lookback

        return lookback(self, start)

    def heat(
        self,
        token: int | str | None = None,
        layer: int | None = None,
        head: int | None = None,
        *,
        stack: str | None = None,
        kind: Kind | None = None,
        image: int = 0,
        smooth: int = 1,
    ) -> np.ndarray:
        """The weight that a token puts on each pixel's cell: float32 ``[row, column]`` of the original image.

        Pixels that no token shows (cropped away) are NaN; where tiles overlap, their weights are added.

        Args:
            token: of the queries: its position, or what it shows; by default the class token, else the mean over all.
                A token that a decoder writes is looked up where it is predicted: one query earlier.
            layer, head: of which layer and head; means over all of them by default.
            stack, kind: by default where a text looks at the image, else the image's own attention.
            image: which image.
            smooth: each cell gets the mean over a window of ``smooth`` × ``smooth`` cells around it. Models often read
                a thing from cells beside it; a window of 3 then finds the thing.

        Raises:
            InputError: the record has no image whose cells are known, or ``smooth`` is no odd number of at least 1.
            SelectionError: there is no such token, layer or head.
        """
        from attention_analyzer.places.heat import heat

        return heat(self, token, layer, head, stack=stack, kind=kind, image=image, smooth=smooth)

    def timeline(
        self,
        token: int | str | None = None,
        layer: int | None = None,
        head: int | None = None,
        *,
        stack: str | None = None,
        kind: Kind | None = None,
    ) -> pd.DataFrame:
        """The weight that a token puts on each stretch of a sound: ``start`` and ``stop`` in seconds, and ``weight``.

        Arguments and errors are those of :meth:`heat`.
        """
        from attention_analyzer.places.heat import timeline

        return timeline(self, token, layer, head, stack=stack, kind=kind)

    def align(self, heads: list[tuple[int, int]] | None = None) -> pd.DataFrame:
        """When each word of the target sounds: ``word``, ``start`` and ``stop`` in seconds, and ``confidence``.

        Silences between words are left out. The confidence is the share of the word's weight that lies in its stretch
        of the sound, from 0 to 1.

        Args:
            heads: ``(layer, head)`` of the cross-attention; by default those that follow this sound best.

        Raises:
            InputError: the record is not of a sound with a target, or its times are not known.
        """
        from attention_analyzer.places.alignment import align

        return align(self, heads)

    def generated_tokens(self, top_keys: int = 3) -> pd.DataFrame:
        """One row per generated token: ``position``, ``written``, and the tokens that it attends to most.

        The row of a token is that of the query which predicts it, one position earlier; weights are means over all
        heads of all layers of the decoder, of its cross-attention if it has a source.

        Args:
            top_keys: how many tokens are named: columns ``looked_at_1``, ``weight_1``, ….

        Raises:
            InputError: the record was not made by :meth:`.AttentionAnalyzer.generate`.
        """
        from attention_analyzer.view.generation import written_tokens

        return written_tokens(self, top_keys)

    def figure(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        view: str | Mapping[str, Any] | None = None,
        other: AttentionRecord | None = None,
        stack: str | None = None,
        kind: Kind | None = None,
        log: bool | None = None,
        size: float | None = None,
        columns: int | None = None,
        annotations: Annotations | None = None,
        **settings: Unpack[ViewSettings],
    ) -> Figure:
        """A figure of one head's weights, of all heads of a layer, or of a view of the viewer.

        Args:
            layer, head: a layer draws all its heads, a layer and a head that head alone.
            view: a view's name ("heads", "matrix", "arcs", "text", "products", "space", "difference", "picture",
                "sound"), or the state of a page or widget, for the same picture as there.
            other: the second record, for the difference view.
            stack, kind: of the layer, if there are several with its number.
            log: logarithmic colors, from 1e-4 to 1; by default for texts so long that single weights are faint. For a
                view, use ``scale="log"``.
            size: of one head's figure: its width in inches.
            columns: of a layer's figure: how many heads stand next to each other.
            annotations: of a view: tracks, labels and clusters.
            settings: of a view: entries of its state, such as ``query=5``, ``scale="log"``, ``hideSpecial=True``.

        Raises:
            InputError: neither a layer nor a view, or a setting that does not belong to what is drawn.
            SelectionError: there is no such layer, head, stack or kind.
            TooLongError: the view of so long a text does not fit a figure.
        """
        if view is not None:
            from attention_analyzer.view.static_views.views import view_figure

            _refuse("view", log=log, size=size, columns=columns)
            chosen = dict(settings) if head is None else {**settings, "head": head}
            return view_figure(
                self, view, other, layer=layer, stack=stack, kind=kind, annotations=annotations, **chosen
            )
        from attention_analyzer.view.figures import head_figure, layer_figure

        if layer is None:
            raise InputError("A figure needs a layer, or a view: record.figure(layer=0), record.figure(view='arcs').")
        if head is None:
            _refuse("layer", size=size, other=other, annotations=annotations, **settings)
            return layer_figure(self, layer, stack=stack, kind=kind, log=log, columns=columns)
        _refuse("head", columns=columns, other=other, annotations=annotations, **settings)
        return head_figure(self, layer, head, stack=stack, kind=kind, log=log, size=size)

    def to_html(
        self,
        path: str | Path,
        other: AttentionRecord | None = None,
        *,
        title: str = "",
        queries_and_keys: bool | None = None,
        annotations: Annotations | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write the interactive viewer as one page that needs no network.

        Args:
            path: ends in ``.html``, as browsers expect.
            other: a second record, shown next to the first in the difference view.
            title: of the page; the model's name by default.
            queries_and_keys: whether the page holds the queries and keys for the Query–key view; by default if they
                are small.
            annotations: tracks, labels and clusters to show.
            state: what the viewer shows first, as :attr:`.AttentionWidget.state` has it.

        Raises:
            InputError: the file cannot be written (one that was there is unchanged), or annotations do not fit.
        """
        from attention_analyzer.view.html import write_html

        return write_html(
            self,
            path,
            other,
            title=title,
            queries_and_keys=queries_and_keys,
            annotations=annotations,
            state=state,
        )

    def html(
        self,
        other: AttentionRecord | None = None,
        *,
        title: str = "",
        queries_and_keys: bool | None = None,
        annotations: Annotations | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> str:
        """The interactive viewer as one page, as a string; arguments as for :meth:`to_html`."""
        from attention_analyzer.view.html import html_text

        return html_text(
            self, other, title=title, queries_and_keys=queries_and_keys, annotations=annotations, state=state
        )

    def view(
        self,
        other: AttentionRecord | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        height: int = 620,
        title: str = "",
        queries_and_keys: bool | None = None,
        annotations: Annotations | None = None,
    ) -> AttentionWidget:
        """The interactive viewer as a notebook widget.

        Args:
            height: in pixels.
            other, state, title, queries_and_keys, annotations: as for :meth:`to_html`.

        Raises:
            MissingDependencyError: anywidget is not installed.
            InputError: annotations do not fit.
        """
        from attention_analyzer.view.widget import AttentionWidget

        return AttentionWidget(
            self,
            other,
            state=state,
            height=height,
            title=title,
            queries_and_keys=queries_and_keys,
            annotations=annotations,
        )

    @renamed_arguments(names={"silence": "ablate", "silence_with": "ablation", "replace": "patch"})
    def what_if(
        self,
        *,
        analyzer: AttentionAnalyzer | None = None,
        knock_out: str | KnockOut | Iterable[str | KnockOut] = (),
        ablate: Selector | Iterable[Selector] = (),
        patch: Replacements | None = None,
        ablation: Ablation = "zero",
        reference: Sequence[str | Pair] = (),
        target: str | int | None = None,
        position: int | None = None,
    ) -> WhatIf:
        """The prediction before and after the attention of some heads is changed, on the very tokens of the record.

        Args:
            analyzer: of the model that the record is of; needed for a record that was read from a file.
            knock_out, ablate, patch, ablation, reference, target, position: as for
                :meth:`.AttentionAnalyzer.what_if`.

        Raises:
            InputError: the model is not known, or it is another one; or an argument cannot be used.
            SelectionError: a head, position or label does not exist.
            UnsupportedModelError: the model's attention can be captured but not altered.
        """
        from attention_analyzer.interventions.what_if import what_if_of_record

        return what_if_of_record(
            self,
            None if analyzer is None else analyzer.loaded,
            knock_out=knock_out,
            ablate=ablate,
            patch=patch,
            ablation=ablation,
            reference=reference,
            target=target,
            position=position,
        )

    def why(
        self,
        layer: int,
        head: int,
        query: int,
        key: int,
        *,
        analyzer: AttentionAnalyzer | None = None,
        stack: str | None = None,
        kind: Kind = "self",
    ) -> Why:
        """Why a head looks from one token at another: its score as a table [query component × key component].

        Args:
            layer, head: which head, counted from zero.
            query, key: positions of the two tokens; negative ones count from the end.
            analyzer: of the model that the record is of; needed for a record that was read from a file.
            stack, kind: of the head's attention where layers are not unique.

        Raises:
            InputError: the model is not known, or it is another one.
            SelectionError: there is no such head or position, or the query may not attend to the key.
            UnsupportedModelError: the head computes its attention outside of the library's interface.
        """
        from attention_analyzer.mechanism.why import why_of_record

        loaded = None if analyzer is None else analyzer.loaded
        return why_of_record(self, loaded, layer, head, query, key, stack=stack, kind=kind)


class Records(list[AttentionRecord]):
    """The records of a list of texts, in its order.

    Attributes:
        problems: texts that were left out because of ``errors="skip"``: ``index, text, reason``.
    """

    def __init__(self, records: Iterable[AttentionRecord] = (), problems: pd.DataFrame | None = None) -> None:
        super().__init__(records)
        self.problems = problem_table() if problems is None else problems


def _refuse(drawn: str, **settings: object) -> None:
    """Settings of another kind of figure than the one that is drawn are an error, not ignored."""
    for name, value in settings.items():
        if value is not None:
            raise InputError(f"{name}=… does not belong to the figure of a {drawn}; leave it out.")
