"""What a model is, how its attention is captured and why so, and whether that holds on inputs of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attention_analyzer.errors import InputError
from attention_analyzer.hooks.doors import WHY
from attention_analyzer.hooks.verification import VerificationReport, verify_model
from attention_analyzer.inputs import prepare
from attention_analyzer.media_recording import Media, examine_media
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.quantized import quantized_layers
from attention_analyzer.places.check import PlaceCheck


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about a model.

    Attributes:
        name: what the model was asked for as.
        kind: its class.
        wrappers: class names of what it was taken out of, outermost first.
        text_side: class of its tokenizer, or "" where there is none.
        quantized: how many of its layers have quantized weights, by the layers' class.
        size: what it was tried on, in words.
        verification: how its attention was captured, and whether the weights are its own.
        places: of images, films and sounds, where tokens lie and whether that held in the original.
    """

    name: str
    kind: str
    wrappers: tuple[str, ...]
    text_side: str
    quantized: Mapping[str, int]
    size: str
    verification: VerificationReport
    places: tuple[PlaceCheck, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the weights shown are the model's own, and no place was wrong."""
        return self.verification.holds and not any(check.wrong for check in self.places)

    def lines(self) -> Iterator[tuple[str, str]]:
        """What the model is and how it is captured, as pairs of a heading and a sentence."""
        if self.wrappers:
            yield "taken out of", " in ".join(reversed(self.wrappers))
        yield "text side", self.text_side or "none: give inputs=…, or pass tokenizer=…"
        if self.quantized:
            yield "quantized", ", ".join(f"{count} {kind}" for kind, count in self.quantized.items())
        for door, calls in self.verification.doors.items():
            yield door, f"{calls} call{'s' * (calls > 1)}: the model {WHY[door]}"
        for check in self.places:
            yield f"places in {check.site}", check.sentence

    def __str__(self) -> str:
        verdict = "captured attention matches the model" if self.holds else "results for this model may be wrong"
        body = "\n".join(f"  {name}: {said}" for name, said in self.lines())
        return f"{self.name} ({self.kind}), on {self.size}\n{body}\n  verified: {verdict}"


def diagnose(
    loaded: LoadedModel,
    text: str | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    media: Media | None = None,
) -> Diagnosis:
    """Run a model alone and captured, and say how its attention is had.

    Args:
        text: a text, which the model's tokenizer reads.
        inputs: instead, inputs of its forward.
        media: instead, images, a film or a sound; then the places of tokens are tried, too.

    Raises:
        InputError: neither or both were given.
        UnsupportedModelError: the model has no attention that can be shown.
        CaptureError: the weights do not reproduce the model's own outputs.
    """
    if sum(given is not None for given in (text, inputs, media)) != 1:
        raise InputError("Give either a text or inputs=…, and not both.")
    places: tuple[PlaceCheck, ...] = ()
    if media is not None:
        _, inputs, checks = examine_media(loaded, media)
        places = tuple(checks)
    with loaded.evaluating() as network:
        if text is not None:
            prepared = prepare(loaded, [text], truncate=True, virtual_tokens=True)
            size = f"{len(prepared.source[0])} tokens"
            report = verify_model(network, prepared.inputs, valid=prepared.valid.to(loaded.device))
        else:
            given = loaded.to_device(dict(inputs or {}))
            shapes = (f"{name} {tuple(value.shape)}" for name, value in given.items() if hasattr(value, "shape"))
            size, report = ", ".join(shapes), verify_model(network, given)
    quantized: dict[str, int] = {}
    for kind in quantized_layers(loaded.model).values():
        quantized[kind] = quantized.get(kind, 0) + 1
    tokenizer = "" if loaded.tokenizer is None else type(loaded.tokenizer).__name__
    return Diagnosis(
        loaded.name, type(loaded.model).__name__, loaded.wrappers, tokenizer, quantized, size, report, places
    )
