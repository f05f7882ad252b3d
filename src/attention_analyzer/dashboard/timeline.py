"""A map of all heads that plays over the steps of a training, in the browser alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from attention_analyzer.training import History

#: Milliseconds a step is shown while it plays.
_PACE = 250


def animated_map(history: History, measure: str, step: int) -> Any:
    """Layers × heads, colored by a measure; a button plays all recorded steps, beginning with the chosen one.

    The colors mean the same at every step, so that what grows is seen to grow.
    """
    import plotly.graph_objects as go

    wide = history.wide(measure)
    stack, kind = wide.columns[0][:2]
    own = wide[stack, kind]
    grids = {int(at): own.loc[at].unstack("head") for at in own.index}
    values = own.to_numpy()
    scale = {"zmin": float(np.nanmin(values)), "zmax": float(np.nanmax(values)), "colorscale": "Viridis"}
    shown = grids[step]
    heads = [f"H{head}" for head in shown.columns]
    layers = [f"L{layer}" for layer in shown.index]

    def tile(at: int) -> Any:
        return go.Heatmap(
            z=grids[at].to_numpy(),
            x=heads,
            y=layers,
            xgap=2,
            ygap=2,
            hovertemplate="%{y}%{x}: %{z:.3f}<extra></extra>",
            colorbar={"title": measure.replace("_", " "), "thickness": 12},
            **scale,
        )

    playing = {"frame": {"duration": _PACE, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": False}
    stopped = {"frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    frames = [go.Frame(data=[tile(at)], name=str(at), layout={"title": _title(measure, at)}) for at in grids]
    figure = go.Figure(data=[tile(step)], frames=frames)
    figure.update_layout(
        title=_title(measure, step),
        height=360,
        margin={"l": 40, "r": 10, "t": 50, "b": 30},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "x": 1,
                "xanchor": "right",
                "y": 1.18,
                "buttons": [
                    {"label": "▶ Play", "method": "animate", "args": [None, playing]},
                    {"label": "❚❚", "method": "animate", "args": [[None], stopped]},
                ],
            }
        ],
    )
    return figure


def _title(measure: str, step: int) -> str:
    return f"{measure.replace('_', ' ')} at step {step:,}"
