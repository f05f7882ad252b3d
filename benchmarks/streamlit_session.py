"""A visitor of a Streamlit server without a browser: the same messages over the same socket, and nothing drawn."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a run of a page may take.
PATIENCE = 300


@contextmanager
def server(program: str = "streamlit", **environment: str) -> Iterator[str]:
    """A dashboard of this checkout, listening to this machine; gives ``address:port``.

    Args:
        program: the module that serves.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", program, "run", str(ROOT / "app.py"), f"--server.port={port}"]
    command += ["--server.headless=true", "--server.address=127.0.0.1"]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"the server did not answer within {PATIENCE} seconds")


class Session:
    """One visitor.

    Attributes:
        seconds: from asking for the last run of the page until the server had sent all of it.
        first: seconds until the first element of each kind had come ("text_area", "bidi_component" for the viewer).
        tree: the page, as :mod:`streamlit.testing` shows it.
    """

    def __init__(self, address: str, page: str = "explore") -> None:
        self._address = address
        self._page = page
        self._open = ExitStack()
        self._socket: Any = None
        self._set: dict[str, Any] = {}
        self._known: dict[str, Any] = {}
        self.seconds = 0.0
        self.first: dict[str, float] = {}
        self.tree: Any = None

    def __enter__(self) -> Self:
        from websockets.sync.client import connect
        from websockets.typing import Subprotocol

        # A long text's payload is one message.
        place = f"ws://{self._address}/_stcore/stream"
        self._socket = self._open.enter_context(connect(place, subprotocols=[Subprotocol("streamlit")], max_size=None))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def run(self, **address: str) -> Session:
        """Open the page with what its address says, or run it again with what was set."""
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
        from streamlit.testing.v1.element_tree import parse_tree_from_messages

        ask = BackMsg()
        ask.rerun_script.query_string = urlencode(address)
        ask.rerun_script.page_name = self._page
        ask.rerun_script.widget_states.widgets.extend(self._set.values())
        # As a browser does, say which large messages are known; the server names them instead of sending them again.
        ask.rerun_script.cached_message_hashes.extend(self._known)
        started = time.perf_counter()
        self.first = {}
        self._socket.send(ask.SerializeToString())
        messages: list[Any] = []
        while True:
            message = ForwardMsg.FromString(self._socket.recv(timeout=PATIENCE))
            if message.WhichOneof("type") == "ref_hash":
                message = self._known[message.ref_hash]
            elif message.metadata.cacheable:
                self._known[message.hash] = message
            messages.append(message)
            if message.WhichOneof("type") == "delta" and (kind := message.delta.new_element.WhichOneof("type")):
                self.first.setdefault(kind, time.perf_counter() - started)
            if (
                message.WhichOneof("type") == "script_finished"
                and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN
            ):
                break
        self.seconds = time.perf_counter() - started
        self.tree = parse_tree_from_messages(messages)
        return self

    def set(self, kind: str, key: str, value: str) -> Session:
        """Give a text box or a select box of the page a value, for the next run."""
        from streamlit.proto.WidgetStates_pb2 import WidgetState

        widget = getattr(self.tree, kind)(key=key)
        self._set[widget.id] = WidgetState(id=widget.id, string_value=value)
        return self

    def words(self) -> str:
        """What the page says in running text."""
        return "\n".join(
            element.value for kind in ("subheader", "markdown", "error") for element in self.tree.get(kind)
        )
