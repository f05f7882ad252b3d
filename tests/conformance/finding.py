"""What is found out about one type."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Finding:
    """What the examination of one type found; ``state`` is how the type stands in the coverage table.

    States: "exact", "weights only", "refused", "no attention", "part" (of another type's model), "not here" (needs a
    package that is not installed), and, for what must be repaired before a release, "failed" and "not built".

    Attributes:
        handed: arrays that the model handed over with ``output_attentions``, each found again among those captured.
    """

    type: str
    state: str = "failed"
    model: str = ""
    reason: str = ""
    step: int = 0
    backends: dict[str, str] = field(default_factory=dict)
    sites: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    paddings: list[str] = field(default_factory=list)
    cache: str = ""
    handed: int = 0
    deviation: float = 0.0
    weights_error: float = 0.0
    metrics_error: float = 0.0
    not_captured: list[str] = field(default_factory=list)
    seconds: float = 0.0
    transformers: str = ""


class Disagreement(Exception):
    """The toolkit and the witness disagree."""
