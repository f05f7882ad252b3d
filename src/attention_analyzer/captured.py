"""What was captured of one text, frozen: tokens, sites, and the lazy weights of every site.

Everything below the analyzer works on these; what a person holds is an :class:`.AttentionRecord`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from attention_analyzer.errors import SelectionError
from attention_analyzer.media.images import Image
from attention_analyzer.media.sounds import Sound
from attention_analyzer.site import Kind, Site, is_layer
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.stacked import Task

if TYPE_CHECKING:
    from attention_analyzer.models.loaded import LoadedModel
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
        """Query ``i`` is the same token as key ``i + diagonal``; None for cross-attention.

        None also where queries and keys are of different numbers and nothing shows that the queries are the last
        keys, as those of a cached step are: keys that were pooled, or that come from elsewhere.
        """
        if self.site.kind == "cross":
            return None
        ahead = len(self.keys) - len(self.queries)
        if ahead == 0 or (ahead > 0 and (self.weights.visibility.upper == ahead or self._ends_alike)):
            return ahead
        return None

    @property
    def _ends_alike(self) -> bool:
        """Whether the queries' tokens are the last of the keys'."""
        return self.keys.pieces[-len(self.queries) :] == self.queries.pieces

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
class CapturedAttention:
    """The attention of one text, as one forward pass computed it: pure data.

    :class:`.AttentionRecord` adds the methods that analyze, draw and store it.

    Attributes:
        entries: the sites with their weights and tokens, in the order the model called them.
        model_name: what the model was loaded as.
        fingerprint: a hash of the model's weights and configuration, or "" where there was no model.
        exact: True where weights are recomputed from queries and keys; False where the model handed them over.
        deviation: largest relative deviation met when module outputs were rebuilt from the weights as a check.
        origin: the model that made it, where an analyzer of this process did.
        media: the images or sounds that it is of, as the processor got them; places of tokens lie in these.
    """

    entries: tuple[SiteRecord, ...]
    model_name: str = ""
    fingerprint: str = ""
    exact: bool = True
    deviation: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = field(default=None, repr=False, compare=False)
    media: tuple[Image | Sound, ...] = field(default=(), repr=False, compare=False)
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
        return f"<{type(self).__name__} of {self.model_name or 'given weights'}: {len(self.tokens)} tokens, {sites}>"

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

        A negative layer counts from the end of its stack.

        Raises:
            SelectionError: no site, or more than one, answers.
        """
        found = [
            entry
            for entry in self.entries
            if (name is None or entry.site.name == name)
            and (layer is None or is_layer(entry.site, layer, self.sites))
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

    def received(self, layer: int, *, stack: str | None = None, kind: Kind | None = None) -> Tensor:
        """Weight that each key receives from all queries together, ``[head, key]``."""
        from attention_analyzer.weights.reductions import ReceivedWeight

        entry = self.entry(layer, stack=stack, kind=kind)
        return entry.reduce([ReceivedWeight()])[ReceivedWeight()][0]

    def _at(self, site: Site | str) -> SiteRecord:
        return self.entry(name=site if isinstance(site, str) else site.name)
