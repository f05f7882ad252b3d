"""Picture and Sound as figures: what one query looks at in the image, or listens to in the sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.errors import InputError
from attention_analyzer.media.images import Image
from attention_analyzer.media.sounds import Sound
from attention_analyzer.places.heat import lies_in, on_pixels
from attention_analyzer.text.place import SoundSpan
from attention_analyzer.view.media_content import small_pixels, spectrogram
from attention_analyzer.view.static_views.frame import caption, figure_of
from attention_analyzer.view.static_views.screen import Screen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_WIDTH, _MARGIN = 5.2, 0.6
#: How much of the image stays visible below the strongest color.
_STRONGEST = 0.82


def picture(screen: Screen) -> Figure:
    """The image with the weights of the chosen head and query over it."""
    images = [medium for medium in screen.record.media if isinstance(medium, Image)]
    number = screen.state["image"]
    if not images or not any(lies_in(place, number) for place in screen.entry.keys.places):
        raise InputError(
            f"The keys of {screen.entry.site.name} have no place in an image; choose a layer that looks at the image."
        )
    image = images[number]
    heat = on_pixels(screen.record, screen.entry.keys, _row(screen), number)
    height = _WIDTH * image.height / image.width
    figure = figure_of(screen, _WIDTH + 1.2, height + 2 * _MARGIN)
    axes = figure.add_axes((0.1, _MARGIN / (height + 2 * _MARGIN), 0.74, height / (height + 2 * _MARGIN)))
    top = draw_heat(axes, image, heat)
    bar = figure.colorbar(_opaque(top), ax=axes, fraction=0.045, pad=0.03)
    bar.ax.tick_params(labelsize=7, colors=screen.theme.muted)
    caption(figure, screen, f"{screen.head_name}: {_asked(screen)}")
    return figure


def draw_heat(axes: Axes, image: Image, heat: np.ndarray) -> float:
    """The image with heat ``[row, column]`` of its size over it; NaN and what is below zero stay clear.

    Returns:
        The heat of the strongest color.
    """
    pixels = small_pixels(image).astype(np.float32) / 255
    gray = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    extent = (0, image.width, image.height, 0)
    axes.imshow((0.55 * pixels + 0.45 * gray[..., None]) * 0.8, extent=extent, interpolation="nearest")
    top = max(float(np.nanmax(heat)), 1e-9)
    axes.imshow(
        heat,
        cmap="magma",
        vmin=0,
        vmax=top,
        alpha=_STRONGEST * np.sqrt(np.clip(np.nan_to_num(heat), 0, None) / top),
        extent=extent,
        interpolation="nearest",
    )
    axes.set_axis_off()
    return top


def sound(screen: Screen) -> Figure:
    """The spectrogram, and below it the weights of the chosen head and query over time."""
    sounds = [medium for medium in screen.record.media if isinstance(medium, Sound)]
    places = screen.entry.keys.places
    if not sounds or not any(isinstance(place, SoundSpan) for place in places):
        raise InputError(
            f"The keys of {screen.entry.site.name} have no place in a sound; choose a layer that listens to the sound."
        )
    heard = sounds[0]
    row = _row(screen)
    inside = [
        (place, weight)
        for place, weight in zip(places, row, strict=True)
        if isinstance(place, SoundSpan) and place.start < heard.seconds
    ]
    figure = figure_of(screen, 7.5, 3.8)
    above = figure.add_axes((0.09, 0.5, 0.88, 0.36))
    above.imshow(
        spectrogram(heard), origin="lower", aspect="auto", cmap="Greys", vmin=0, vmax=1, extent=(0, heard.seconds, 0, 1)
    )
    above.set_yticks([])
    above.set_ylabel("pitch", fontsize=8, color=screen.theme.muted)
    above.tick_params(labelbottom=False, colors=screen.theme.muted)
    below = figure.add_axes((0.09, 0.17, 0.88, 0.28), sharex=above)
    below.bar(
        [place.start for place, _ in inside],
        [weight for _, weight in inside],
        width=[place.stop - place.start for place, _ in inside],
        align="edge",
        color=screen.theme.accent,
    )
    below.set_xlim(0, heard.seconds)
    below.set_xlabel("seconds", fontsize=8, color=screen.theme.muted)
    below.tick_params(labelsize=7, colors=screen.theme.muted)
    below.set_facecolor(screen.theme.background)
    caption(figure, screen, f"{screen.head_name}: {_asked(screen)}")
    return figure


def _row(screen: Screen) -> np.ndarray:
    query = screen.state["query"] or 0
    return np.asarray(screen.entry.weights[screen.state["head"], query].float().cpu())


def _asked(screen: Screen) -> str:
    query = screen.state["query"] or 0
    tokens = screen.entry.queries
    if screen.entry.site.tower == "decoder" and query + 1 < len(tokens):
        return f"while “{tokens.pieces[query + 1]}” is written"
    return f"from “{tokens.pieces[query]}”"


def _opaque(top: float) -> ScalarMappable:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, top), "magma")
