"""The viewer: a page, a widget, and figures of what they show; and the annotations that they can carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.view.annotations import Annotations, HeadClusters, HeadLabel, TokenTrack
    from attention_analyzer.view.figures import grid_figure, head_figure, layer_figure, map_figure, save_figure
    from attention_analyzer.view.widget import AttentionWidget

__all__ = [
    "Annotations",
    "AttentionWidget",
    "HeadClusters",
    "HeadLabel",
    "TokenTrack",
    "grid_figure",
    "head_figure",
    "layer_figure",
    "map_figure",
    "save_figure",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Annotations": "attention_analyzer.view.annotations",
        "AttentionWidget": "attention_analyzer.view.widget",
        "HeadClusters": "attention_analyzer.view.annotations",
        "HeadLabel": "attention_analyzer.view.annotations",
        "TokenTrack": "attention_analyzer.view.annotations",
        "grid_figure": "attention_analyzer.view.figures",
        "head_figure": "attention_analyzer.view.figures",
        "layer_figure": "attention_analyzer.view.figures",
        "map_figure": "attention_analyzer.view.figures",
        "save_figure": "attention_analyzer.view.figures",
    },
)
