"""What is asked of a model: one text, one target, and the forwards that methods share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from attention_analyzer.attribution.activations import gradients, record_activations
from attention_analyzer.attribution.target import Layout, Target
from attention_analyzer.attribution.target_parser import choose
from attention_analyzer.errors import CaptureError, UnsupportedModelError
from attention_analyzer.inputs import Prepared, prepare
from attention_analyzer.media.processing import Processed
from attention_analyzer.media_recording import Media, prepare_media
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import run
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
class SiteGradient(SiteWeights):
    """A site with what its values were and how the target depends on its output.

    Attributes:
        value: ``[head, key, channel]``.
        gradient: ``∂ target / ∂ output``, ``[head, query, channel]``, the output before its projection.
    """

    value: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Question:
    """One text put to one model.

    Attributes:
        prepared: the text as inputs of the model, a batch of one.
        processed: how its images or its sound were processed; None for a text alone.
    """

    loaded: LoadedModel
    prepared: Prepared
    target: Target
    processed: Processed | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        return self.prepared.inputs

    @property
    def tokens(self) -> Tokens:
        """The tokens that are given importance: the main text, an encoder–decoder's source."""
        return self.prepared.source[0]

    @property
    def whole(self) -> Layout:
        """The text as it is, once."""
        return Layout.whole(1, len(self.tokens), self.loaded.device)

    @cached_property
    def sites(self) -> tuple[SiteWeights, ...]:
        """Every site in the order of the calls, from one forward without gradients.

        Raises:
            UnsupportedModelError: an axis is not as long as the text (pooled or widened sequences).
            CaptureError: the weights do not reproduce the model's own outputs.
        """
        forward = run(self.loaded, self.prepared)
        return tuple(
            SiteWeights(site, weights, *self.axes(site, weights)) for site, weights in forward.sites if self.reads(site)
        )

    @cached_property
    def gradients(self) -> tuple[SiteGradient, ...]:
        """Every site with the gradient of the target at its output, from one forward and one backward.

        Raises:
            UnsupportedModelError: a site's values cannot be seen.
            CaptureError: a gradient is not finite.
        """
        outputs, calls = record_activations(self.loaded, self.prepared, grad=True)
        with torch.enable_grad():
            value = self.target.values(outputs, self.whole).sum()
        found = gradients(value, [heard for _, heard in calls])
        if not all(bool(torch.isfinite(gradient).all()) for gradient in found):
            raise CaptureError(
                f"The gradient of {self.target.label} is NaN or infinite; the model itself computes it so: "
                "check its weights and dtype."
            )
        return tuple(
            SiteGradient(site, heard.weights, *self.axes(site, heard.weights), heard.values_by_head, gradient)
            for (site, heard), gradient in zip(calls, found, strict=True)
            if self.reads(site)
        )

    def sites_on(self, keys: Axis) -> list[SiteWeights]:
        """The sites whose keys are those tokens."""
        return [at for at in self.sites if at.keys == keys]

    @property
    def last_axis(self) -> Axis:
        """The axis on which the prediction is read: an encoder–decoder's target, else the text."""
        return "source" if self.prepared.target is None else "target"

    @cached_property
    def start(self) -> Tensor:
        """float32 ``[query]`` of the last stack, on the CPU: where the prediction is read, as shares that sum to one.

        Most targets say so themselves. For a class it is told by the gradients at the last layer's output: the size of
        each position's share in all of it, all on one position where a classifier reads only that one.
        """
        axis = self.tokens if self.prepared.target is None else self.prepared.target[0]
        known = self.target.start(len(axis))
        if known is not None:
            return known
        sizes = self.gradients[-1].gradient.float().norm(dim=(0, 2)).cpu()
        if float(sizes.sum()) == 0:
            raise UnsupportedModelError(
                f"{self.target.label} does not depend on the last layer's attention, so the read position cannot be "
                "determined."
            )
        return sizes / sizes.sum()

    def reads(self, site: Site) -> bool:
        """Whether a site's axes are the question's tokens; a tower for images or sounds comes before them."""
        return self.processed is None or site.tower in ("encoder", "decoder")

    def axes(self, site: Site, weights: AttentionWeights) -> tuple[Axis, Axis]:
        """The axes that a site lies on."""
        queries, keys = self.prepared.axes(site.stack, site.kind)
        if weights.shape[1:] != (len(queries[0]), len(keys[0])):
            raise UnsupportedModelError(
                f"{site.module} has {weights.queries} queries and {weights.keys} keys for a text of "
                f"{len(queries[0])} tokens; importance per token needs a model whose layers keep its tokens apart."
            )
        on_target = [tokens is self.prepared.target for tokens in (queries, keys)]
        return "target" if on_target[0] else "source", "target" if on_target[1] else "source"


def ask(
    loaded: LoadedModel, text: str | Pair | Media, target: str | None = None, *, truncate: bool = False
) -> Question:
    """Put a text, images or a sound to a model.

    Args:
        target: one of :data:`.choosing.TARGETS`; what the model was made for by default.

    Raises:
        InputError, TooLongError: the text, the images or the sound cannot be used.
        SelectionError: there is no such target in it.
        UnsupportedModelError: the model has no such output.
    """
    if isinstance(text, Media):
        prepared, processed = prepare_media(loaded, text, truncate=truncate)
    else:
        prepared, processed = prepare(loaded, [text], truncate=truncate), None
    chosen = choose(loaded, prepared, target)
    return Question(chosen.loaded, chosen.prepared, chosen.target, processed)
