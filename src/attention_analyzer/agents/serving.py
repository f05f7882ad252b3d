"""A server for the Model Context Protocol over standard input and output. Only ``attn mcp`` imports this."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from attention_analyzer import __version__
from attention_analyzer.agents.folder import Folder
from attention_analyzer.agents.tools import TOOLS, Tools
from attention_analyzer.errors import AttentionAnalyzerError

_ABOUT = (
    "Exact attention statistics of transformer models that run on this machine. Start with `models`; `scan` gives one "
    "row per head; `weights` and `figure` show one head; `patterns` names what heads do; `what_if` tests whether it "
    "matters."
)


def mcp_server(models: Sequence[str], folder: Path | None) -> MCPServer[Any]:
    """The server with every tool.

    Raises:
        InputError: there is no such folder, or no model.
    """
    made: MCPServer[Any] = MCPServer("attention-analyzer", version=__version__, instructions=_ABOUT)
    tools = Tools(models, Folder.at(folder))
    for name in TOOLS:
        made.add_tool(
            _answering(getattr(tools, name)),
            name=name,
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
            structured_output=False,
        )
    return made


def _answering(tool: Callable[..., Any]) -> Callable[..., Any]:
    """The tool, whose errors reach the client as a sentence and whose prints do not reach the protocol's stream."""

    @functools.wraps(tool)
    def called(*args: Any, **kwargs: Any) -> Any:
        with redirect_stdout(sys.stderr):
            try:
                return tool(*args, **kwargs)
            except AttentionAnalyzerError as error:
                raise ToolError(str(error)) from error

    called.__signature__ = inspect.signature(tool, eval_str=True)  # type: ignore[attr-defined]
    return called
