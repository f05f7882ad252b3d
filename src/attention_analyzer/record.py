"""What was captured of one text, frozen: tokens, sites, and the lazy weights of every site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.stacked import Task

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from attention_analyzer.analyzer import AttentionAnalyzer
    from attention_analyzer.interventions import WhatIf
    from attention_analyzer.metrics.metric import Metric
    from attention_analyzer.models.loaded import LoadedModel
    from attention_analyzer.patterns.pattern import Pattern
    from attention_analyzer.view.widget import AttentionWidget
    from attention_analyzer.weights.reductions import Reduction, Statistics


@dataclass(frozen=True)
class SiteRecord:
    """One site's weights and the tokens on its two axes."""

    site: Site
    weights: AttentionWeights
    queries: Tokens
    keys: Tokens

    @property
    def diagonal(self) -> int | None:
        """Query ``i`` is the same token as key ``i + diagonal``; None for cross-attention."""
        return None if self.site.kind == "cross" else len(self.keys) - len(self.queries)

    def reduce(self, reductions: Sequence[Reduction]) -> Statistics:
        """Statistics of this site in one pass; see :meth:`AttentionWeights.reduce`."""
        return self.task.reduce(reductions)

    @property
    def task(self) -> Task:
        """This site's weights with the frame of its pass, to be reduced alone or with others."""
        groups = self.keys.groups(self.weights.empty().device)
        return Task(self.weights, self.diagonal, groups, shares=id(self.keys))


@dataclass(frozen=True)
class Origin:
    """What made a record in this process, so that the model can be run on its tokens again. It is never saved.

    Attributes:
        loaded: the model.
        inputs: of the forward, where they were given as such; else the record's tokens say them.
    """

    loaded: LoadedModel
    inputs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class AttentionRecord:
    """Everything one forward showed of attention for one text.

    Attributes:
        entries: the sites with their weights and tokens, in the order the model called them.
        model_name: what the model was loaded as.
        fingerprint: a hash of the model's weights and configuration, or "" where there was no model.
        exact: True where weights are recomputed from queries and keys; False where the model handed them over.
        deviation: largest relative deviation met when module outputs were rebuilt from the weights as a check.
        origin: the model that made it, where an analyzer of this process did.
    """

    entries: tuple[SiteRecord, ...]
    model_name: str = ""
    fingerprint: str = ""
    exact: bool = True
    deviation: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = field(default=None, repr=False, compare=False)
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(entry.site for entry in self.entries)

    @property
    def stacks(self) -> tuple[str, ...]:
        """Stack names in the order they were called."""
        return tuple(dict.fromkeys(site.stack for site in self.sites))

    @property
    def tokens(self) -> Tokens:
        """The tokens of the main text: what the first site's queries are (an encoder–decoder's source)."""
        return self.entries[0].queries

    @property
    def target_tokens(self) -> Tokens:
        """The tokens of the last stack's queries: an encoder–decoder's target, else the same as :attr:`tokens`."""
        return self.entries[-1].queries

    @property
    def nbytes(self) -> int:
        """Memory that the record's tensors take, in bytes; linear in the text."""
        return sum(entry.weights.nbytes for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        sites = f"{len(self.entries)} sites in {', '.join(self.stacks)}"
        return f"<AttentionRecord of {self.model_name or 'given weights'}: {len(self.tokens)} tokens, {sites}>"

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made when it is first asked for and kept with the record, whose weights never change.

        Args:
            name: what is made; whoever asks for the same name gets the same object.
        """
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def entry(
        self, layer: int | None = None, *, stack: str | None = None, kind: Kind | None = None, name: str | None = None
    ) -> SiteRecord:
        """One site's entry, by layer (and stack and kind where layers are not unique), or by its name.

        Raises:
            SelectionError: no site, or more than one, answers.
        """
        found = [
            entry
            for entry in self.entries
            if (name is None or entry.site.name == name)
            and (layer is None or entry.site.layer == layer)
            and (stack is None or entry.site.stack == stack)
            and (kind is None or entry.site.kind == kind)
        ]
        if len(found) > 1 and stack is None and kind is None and name is None:
            # The main text's own attention is what is meant unless something else is said.
            first = self.entries[0].site
            found = [entry for entry in found if (entry.site.stack, entry.site.kind) == (first.stack, first.kind)]
        if len(found) == 1:
            return found[0]
        asked = ", ".join(
            f"{label}={value!r}"
            for label, value in (("name", name), ("stack", stack), ("kind", kind), ("layer", layer))
            if value is not None
        )
        available = ", ".join(site.name for site in self.sites)
        problem = "No site" if not found else f"More than one site ({', '.join(e.site.name for e in found)})"
        raise SelectionError(f"{problem} answers to {asked or 'an empty selection'}; this record has: {available}.")

    def weights(
        self,
        layer: int,
        head: int | None = None,
        *,
        stack: str | None = None,
        kind: Kind | None = None,
        queries: slice | int = slice(None),
        keys: slice | int = slice(None),
    ) -> Tensor:
        """An exact tile of one site: ``[query, key]`` of one head, or ``[head, query, key]`` of all.

        Raises:
            SelectionError: the layer, head, stack or kind does not exist.
        """
        lazy = self.entry(layer, stack=stack, kind=kind).weights
        return lazy[slice(None) if head is None else head, queries, keys]

    def weights_at(self, site: Site | str) -> AttentionWeights:
        """The lazy weights ``[head, query, key]`` of a site."""
        return self._at(site).weights

    def tokens_for(self, site: Site | str) -> tuple[Tokens, Tokens]:
        """The tokens on a site's query and key axes."""
        entry = self._at(site)
        return entry.queries, entry.keys

    def heads(self, metrics: Sequence[Metric] | None = None) -> pd.DataFrame:
        """One row per site and head: ``stack, kind, layer, head`` and a column for every metric.

        Args:
            metrics: which ones; all of :data:`attention_analyzer.metrics.METRICS` by default.

        Raises:
            CaptureError: a weight is NaN or infinite.
        """
        from attention_analyzer.metrics.head_table import head_table

        return head_table(self, metrics)

    def patterns(self, patterns: Sequence[Pattern] | None = None) -> pd.DataFrame:
        """One row per site, head and pattern, with its strength and controls in this text.

        See :func:`.patterns.score_table.pattern_table` for the columns. One text is no proof of what a head does:
        :meth:`.AttentionAnalyzer.patterns` names heads from several.

        Args:
            patterns: which ones; all of :data:`attention_analyzer.patterns.PATTERNS` by default.
        """
        from attention_analyzer.patterns import PATTERNS
        from attention_analyzer.patterns.score_table import pattern_table

        return pattern_table(self, PATTERNS if patterns is None else patterns)

    def received(self, layer: int, *, stack: str | None = None, kind: Kind | None = None) -> Tensor:
        """Weight that each key receives from all queries together, ``[head, key]``."""
        from attention_analyzer.weights.reductions import ReceivedWeight

        entry = self.entry(layer, stack=stack, kind=kind)
        return entry.reduce([ReceivedWeight()])[ReceivedWeight()][0]

    def figure(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        view: str | Mapping[str, Any] | None = None,
        other: AttentionRecord | None = None,
        **options: Any,
    ) -> Figure:
        """A figure of one head's pattern, of all heads of a layer, or of what the viewer shows.

        Args:
            view: a view's name or the state of a page or widget, for the same picture as there; see
                :func:`.view.static_views.views.view_figure`. ``other`` is the second record of the difference view.
            options: see :mod:`attention_analyzer.view.figures`, for a view the settings of its state.
        """
        if view is not None:
            from attention_analyzer.view.static_views.views import view_figure

            settings = options if head is None else {"head": head} | options
            return view_figure(self, view, other, layer=layer, **settings)
        from attention_analyzer.view.figures import head_figure, layer_figure

        if layer is None:
            raise InputError("A figure needs a layer, or a view: record.figure(layer=0), record.figure(view='arcs').")
        return layer_figure(self, layer, **options) if head is None else head_figure(self, layer, head, **options)

    def to_html(self, path: str | Path, other: AttentionRecord | None = None, **options: Any) -> Path:
        """Write the interactive viewer as one page that needs no network; see :mod:`attention_analyzer.view.html`."""
        from attention_analyzer.view.html import write_html

        return write_html(self, path, other, **options)

    def html(self, other: AttentionRecord | None = None, **options: Any) -> str:
        """The interactive viewer as one page, as a string."""
        from attention_analyzer.view.html import html_text

        return html_text(self, other, **options)

    def view(self, other: AttentionRecord | None = None, **options: Any) -> AttentionWidget:
        """The interactive viewer as a notebook widget; see :mod:`attention_analyzer.view.widget`."""
        from attention_analyzer.view.widget import AttentionWidget

        return AttentionWidget(self, other, **options)

    def what_if(self, *, analyzer: AttentionAnalyzer | None = None, **options: Any) -> WhatIf:
        """The prediction before and after heads are changed; see :func:`.interventions.what_if.what_if`.

        Args:
            analyzer: of the model that the record is of; needed for a record that was read from a file.
            options: ``knock_out``, ``silence``, ``replace``, ``target`` ….

        Raises:
            InputError: the model is not known, or it is another one.
        """
        from attention_analyzer.interventions.what_if import what_if_of_record

        return what_if_of_record(self, None if analyzer is None else analyzer.loaded, **options)

    def save(self, path: str | Path) -> Path:
        """Write the record to one file (safetensors, no pickle), linear in the text; see :mod:`.storage`."""
        from attention_analyzer.storage import save_record

        return save_record(self, path)

    @classmethod
    def load(cls, path: str | Path) -> AttentionRecord:
        """Read a record that :meth:`save` wrote.

        Raises:
            FileFormatError: the file is corrupt, foreign, or from a newer version.
        """
        from attention_analyzer.storage import load_record

        return load_record(path)

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

        return record_from_weights(
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
                layer. Entries of -1e4 and less, such as -inf, hide the key.
            mask: True where a query sees a key, in the same shapes.
            stack: "encoder" or "decoder"; told from ``causal`` by default.

        Raises:
            InputError: shapes do not fit each other or the tokens, or a number is NaN, infinite or impossible.
        """
        from attention_analyzer.external.given_queries import record_from_queries_and_keys

        return record_from_queries_and_keys(
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

    def _at(self, site: Site | str) -> SiteRecord:
        return self.entry(name=site if isinstance(site, str) else site.name)
