"""The toolkit as tools for other programs, by the Model Context Protocol: ``attn mcp``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.agents.serving import mcp_server

__all__ = ["mcp_server"]

#: The package mcp is an extra, and is imported with the function.
__getattr__, __dir__ = lazily(__name__, {"mcp_server": "attention_analyzer.agents.serving"})
