"""What a visitor reads when something cannot be done: one sentence, no paths, no traces; the log has the rest."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from attention_analyzer.errors import AttentionAnalyzerError, Option

_LOG = logging.getLogger("attention_analyzer.dashboard")
#: What a visitor can do where a program would pass an argument; for other arguments there is nothing to do here.
_SWITCHES = {
    "truncate": "switch on “Truncate to the model's maximum length”",
    "column": "choose it under “Reading options”",
    "header": "change “The first line of a CSV file is a header” under “Reading options”",
    "target": "enter the target {}",
    "method": "choose the method {}",
}
#: An absolute path of at least two parts, in the way of either family of systems; a visitor may know its last part.
_PATH = re.compile(r"(?<![\w/.:])(?:(?:/[^\s/'\"`,;()]+)+/|(?:[A-Za-z]:)?(?:\\[^\s\\'\"`,;()]+)+\\)([^\s/\\'\"`,;()]+)")


@contextmanager
def guarded() -> Iterator[None]:
    """Show errors as sentences and end the page there."""
    try:
        yield
    except AttentionAnalyzerError as error:
        _LOG.info("%s: %s", type(error).__name__, error)
        st.error(plain(error.worded(in_dashboard)), icon=":material/info:")
        st.stop()
    except Exception:  # noqa: BLE001 (whatever it was, a visitor sees one sentence and the log the rest)
        code = secrets.token_hex(3)
        _LOG.exception("Unexpected error %s", code)
        st.error(f"Unexpected error. Details are in the server log under code {code}.")
        st.stop()


def in_dashboard(option: Option) -> str | None:
    """An option of the library as a visitor of the dashboard finds it; None if it is not on any page."""
    words = _SWITCHES.get(option.name)
    return None if words is None else words.format(option.value.strip("'"))


def plain(message: str) -> str:
    """A message as plain text: without the folders of this machine, and nothing in it that Markdown would interpret."""
    return re.sub(r"([\\`*_{}\[\]<>$#|~:&!])", r"\\\1", without_folders(message))


def without_folders(message: str) -> str:
    """A message that names files of this machine by their last part alone."""
    return _PATH.sub(r"…/\1", message)
