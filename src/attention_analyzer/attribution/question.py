"""What is asked of a model: one text, one target, and the forwards that methods share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import Prepared, prepare, run
from attention_analyzer.site import Site
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights

#: Which tokens an axis holds: the main text, or what an encoder–decoder's decoder reads.
Axis = Literal["source", "target"]


@dataclass(frozen=True)
class SiteWeights:
    """One site's lazy weights, and which tokens its axes hold."""

    site: Site
    weights: AttentionWeights
    queries: Axis
    keys: Axis


@dataclass(frozen=True)
class Question:
    """One text put to one model.

    Attributes:
        prepared: the text as inputs of the model, a batch of one.
    """

    loaded: LoadedModel
    prepared: Prepared

    @property
    def inputs(self) -> dict[str, Any]:
        return self.prepared.inputs

    @property
    def tokens(self) -> Tokens:
        """The tokens that are given importance: the main text, an encoder–decoder's source."""
        return self.prepared.source[0]

    @property
    def written(self) -> Tokens | None:
        """What an encoder–decoder's decoder reads; None for a model of one stack."""
        return None if self.prepared.target is None else self.prepared.target[0]

    @cached_property
    def sites(self) -> tuple[SiteWeights, ...]:
        """Every site in the order of the calls, from one forward without gradients.

        Raises:
            UnsupportedModelError: an axis is not as long as the text (pooled or widened sequences).
            CaptureError: the weights do not reproduce the model's own outputs.
        """
        forward = run(self.loaded, self.prepared)
        return tuple(self.placed(site, weights) for site, weights in forward.sites)

    def sites_on(self, keys: Axis) -> list[SiteWeights]:
        """The sites whose keys are those tokens."""
        return [at for at in self.sites if at.keys == keys]

    def placed(self, site: Site, weights: AttentionWeights) -> SiteWeights:
        """A site with the axes that it lies on."""
        queries, keys = self.prepared.axes(site.stack, site.kind)
        if weights.shape[1:] != (len(queries[0]), len(keys[0])):
            raise UnsupportedModelError(
                f"{site.module} has {weights.queries} queries and {weights.keys} keys for a text of "
                f"{len(queries[0])} tokens; importance per token needs a model whose layers keep its tokens apart."
            )
        on_target = [tokens is self.prepared.target for tokens in (queries, keys)]
        return SiteWeights(site, weights, *("target" if flag else "source" for flag in on_target))


def ask(loaded: LoadedModel, text: str | Pair, *, truncate: bool = False) -> Question:
    """Put a text to a model.

    Raises:
        InputError, TooLongError: the text cannot be used.
    """
    return Question(loaded, prepare(loaded, [text], truncate=truncate))
