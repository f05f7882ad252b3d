"""The table of all attribution methods. A new one is a new file in this room and one line here."""

from __future__ import annotations

from attention_analyzer.attribution.method import Attribution
from attention_analyzer.attribution.received import Received
from attention_analyzer.errors import SelectionError

#: Every method, the plainest first.
ATTRIBUTIONS: tuple[Attribution, ...] = (Received(),)


def attribution_named(name: str) -> Attribution:
    """The method of that name.

    Raises:
        SelectionError: there is none.
    """
    found = next((method for method in ATTRIBUTIONS if method.name == name), None)
    if found is None:
        known = ", ".join(method.name for method in ATTRIBUTIONS)
        raise SelectionError(f"There is no attribution method {name!r}; the methods are {known}.")
    return found
