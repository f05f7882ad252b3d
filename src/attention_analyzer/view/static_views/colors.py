"""The page's colors (``viewer/src/draw/palettes.js`` and ``theme.js``), for figures that show the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize

#: Name: stops on a light page, stops on a dark one.
SEQUENTIAL = {
    "blue": (
        ("#ffffff", "#d6e6f4", "#a3c9e6", "#5fa2d1", "#2a76b5", "#0b4d8c", "#08264f"),
        ("#14181f", "#16304e", "#1b4f80", "#2a76b5", "#5fa2d1", "#a9d0ee", "#f1f8ff"),
    ),
    "viridis": (
        ("#ffffff", "#d8e86a", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"),
        ("#14181f", "#3c2a6b", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"),
    ),
    "cividis": (
        ("#ffffff", "#f3e48e", "#d0bd62", "#a59c74", "#7c7b78", "#4b5a6c", "#00224e"),
        ("#14181f", "#1d3256", "#434e6c", "#7c7b78", "#a59c74", "#d0bd62", "#fee838"),
    ),
    "magma": (
        ("#ffffff", "#fed8a6", "#fc8961", "#d3436e", "#8c2981", "#43126b", "#150e37"),
        ("#14181f", "#33165f", "#721f81", "#b73779", "#f1605d", "#feb078", "#fcfdbf"),
    ),
    "grey": (
        ("#ffffff", "#d9d9d9", "#a6a6a6", "#6e6e6e", "#3d3d3d", "#111111"),
        ("#14181f", "#343a44", "#59606c", "#8a919d", "#bfc5cf", "#ffffff"),
    ),
}
DIVERGING = {
    "blue-orange": (
        ("#0b4d8c", "#3b86c3", "#a9d0ee", "#ffffff", "#fdd0a2", "#f07f1f", "#9a3a00"),
        ("#8cc6f5", "#3b86c3", "#17406b", "#14181f", "#6b3408", "#e07a1f", "#ffd0a0"),
    ),
    "purple-green": (
        ("#40004b", "#9970ab", "#d9c2e3", "#ffffff", "#bfe3b8", "#5aae61", "#00441b"),
        ("#dcb8ea", "#9970ab", "#4a2b58", "#14181f", "#1d4a26", "#5aae61", "#c0eeba"),
    ),
}
CATEGORICAL = (
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5195", "#8c6d31", "#666666"),
    ("#4ea8e0", "#ff8a3d", "#3ccf9e", "#e79fc8", "#f0c419", "#8fd3ff", "#b593d6", "#d1b26f", "#b0b0b0"),
)
#: The smallest weight that a logarithmic scale tells apart from zero.
LOG_FLOOR = 1e-4


@dataclass(frozen=True)
class Theme:
    """Everything that is not data."""

    dark: bool
    background: str
    panel: str
    text: str
    muted: str
    line: str
    accent: str
    accent_soft: str


LIGHT = Theme(False, "#ffffff", "#f5f7fa", "#1b232d", "#5a6675", "#d4dae2", "#c2410c", "#fde6d8")
DARK = Theme(True, "#14181f", "#1c222c", "#e6eaf0", "#9aa6b5", "#343d4a", "#ffa066", "#4a2a16")


def color_map(name: str, dark: bool) -> Colormap:
    """A palette as a matplotlib color map."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = (SEQUENTIAL.get(name) or DIVERGING[name])[int(dark)]
    return LinearSegmentedColormap.from_list(name, stops)


def scale_of(state: dict[str, Any], top: float, *, signed: bool = False) -> Normalize:
    """From a weight to a place on the palette, as on the page; signed values are symmetric about zero."""
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    top = max(top, 1e-9)
    if state["scale"] == "linear":
        return Normalize(-top if signed else 0, top, clip=True)
    floor = min(LOG_FLOOR, top / 10)
    if signed:
        return SymLogNorm(floor, linscale=1e-6, vmin=-top, vmax=top, clip=True)
    return LogNorm(floor, top, clip=True)


def square_root(top: float = 1.0) -> Normalize:
    """The scale of the small pictures of heads: faint structure stays visible."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, 0, top, clip=True)
