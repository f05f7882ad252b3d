"""The viewer in a notebook. Needs anywidget, which is an extra; imported by ``record.view()`` only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    import anywidget
    import traitlets
except ImportError as missing:
    from attention_analyzer.errors import MissingDependencyError

    raise MissingDependencyError("anywidget", "notebook", "the viewer in a notebook") from missing

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.view.content import payload
from attention_analyzer.view.program import viewer_source


class AttentionWidget(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget has no types
    """A record on the screen; what is chosen there can be read, and set, from Python.

    Attributes:
        selection: what the reader chose last: ``view``, ``stack``, ``kind``, ``layer``, ``head``, ``query``, ``key``
            (token positions or None), their texts, and ``pins``. Observe it with ``widget.observe(f, "selection")``.
        state: everything the reader set, as plain JSON; set it to show something.
        height: pixels.
    """

    _esm = viewer_source()
    payload = traitlets.Bytes(b"").tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    selection = traitlets.Dict().tag(sync=True)
    height = traitlets.Int(620).tag(sync=True)

    def __init__(
        self,
        record: CapturedAttention,
        other: CapturedAttention | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        height: int = 620,
        **options: Any,
    ) -> None:
        super().__init__(payload=payload(record, other, **options), state=dict(state or {}), height=height)
