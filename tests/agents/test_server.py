"""The server for agents, as a client of the protocol uses it."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from matplotlib.image import imread
from mcp import Client, StdioServerParameters

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.agents import mcp_server
from attention_analyzer.agents.tools import TOOLS
from attention_analyzer.errors import InputError

TEXT = "The quick brown fox jumps over the lazy dog."
MODELS = ["demo-encoder", "demo-decoder"]


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a record, and a link that leads out of it."""
    outside = tmp_path_factory.mktemp("outside") / "secret.txt"
    outside.write_text("A secret.")
    folder = tmp_path_factory.mktemp("offered")
    (folder / "sub").mkdir()
    (folder / "sub" / "fox.txt").write_text(TEXT)
    (folder / "link.txt").symlink_to(outside)
    AttentionAnalyzer("demo-encoder").record(TEXT).save(folder / "fox.attn")
    return folder


@pytest.fixture(scope="module")
def call(offered: Path) -> Callable[..., Any]:
    """Calls a tool of a server in this process."""
    made = mcp_server(MODELS, offered)

    def called(name: str, **arguments: Any) -> Any:
        async def run() -> Any:
            async with Client(made) as client:
                return await client.call_tool(name, arguments)

        return anyio.run(run)

    return called


def content(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


def refusal(result: Any) -> str:
    assert result.is_error
    return str(result.content[0].text)


def over_stdio(work: Callable[[Client], Coroutine[Any, Any, Any]], *arguments: str) -> Any:
    async def run() -> Any:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "attention_analyzer.cli.main", "mcp", *arguments], env=dict(os.environ)
        )
        async with Client(command) as client:
            return await work(client)

    return anyio.run(run)


def test_the_command_serves_every_tool_over_standard_input_and_output(offered: Path) -> None:
    async def work(client: Client) -> tuple[Any, Any]:
        return await client.list_tools(), await client.call_tool("scan", {"text": TEXT, "limit": 3})

    listed, scanned = over_stdio(work, str(offered), "-m", "demo-encoder")
    assert [tool.name for tool in listed.tools] == list(TOOLS)
    for tool in listed.tools:
        assert tool.description and tool.annotations.read_only_hint
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), (tool.name, name)
    assert content(scanned)["schema"] == "attention-analyzer/scan/1"


def test_a_scan_has_the_numbers_of_the_head_table(call: Callable[..., Any]) -> None:
    expected = AttentionAnalyzer("demo-encoder").record(TEXT).heads().sort_values("entropy", kind="stable")
    found = content(call("scan", text=TEXT, sort="entropy", limit=4))
    assert (found["shown"], found["total"]) == (4, len(expected))
    assert [row["entropy"] for row in found["rows"]] == pytest.approx(list(expected["entropy"][:4]), rel=1e-5)
    one = content(call("scan", text=TEXT, layer=-1))
    assert {row["layer"] for row in one["rows"]} == {expected["layer"].max()}


def test_weights_are_those_of_the_record(call: Callable[..., Any]) -> None:
    weights = AttentionAnalyzer("demo-decoder").record(TEXT).weights(1, 2)
    found = content(call("weights", text=TEXT, layer=1, head=2, model="demo-decoder", most=2))
    assert len(found["queries"]) == len(weights)
    last = found["queries"][-1]
    assert last["keys"][0]["key"] == int(weights[-1].argmax())
    assert last["keys"][0]["weight"] == pytest.approx(float(weights[-1].max()), rel=1e-5)


def test_files_of_the_folder_are_read_and_none_outside(call: Callable[..., Any], offered: Path) -> None:
    assert content(call("files"))["files"] == ["fox.attn", "link.txt", "sub/fox.txt"]
    typed = content(call("scan", text=TEXT, limit=2))
    for name in ("sub/fox.txt", "fox.attn"):
        assert content(call("scan", text=name, file=True, limit=2))["rows"] == typed["rows"]
    for name in (
        "link.txt",
        "../outside/secret.txt",
        "/etc/passwd",
        "",
        "a\0b",
        "sub",
        str(offered / "fox.attn") + "x",
    ):
        assert "There is no file" in refusal(call("scan", text=name, file=True))


def test_without_a_folder_no_file_is_read() -> None:
    made = mcp_server(MODELS, None)

    async def run() -> Any:
        async with Client(made) as client:
            return await client.call_tool("scan", {"text": "/etc/passwd", "file": True})

    assert "No folder was offered" in refusal(anyio.run(run))


def test_a_picture_is_a_png_of_what_was_asked(call: Callable[..., Any]) -> None:
    pictures = []
    for arguments in ({"metric": "entropy"}, {"metric": "distance"}, {"layer": 0}, {"layer": 0, "head": 1}):
        result = call("figure", text=TEXT, **arguments)
        assert content(result)["schema"] == "attention-analyzer/figure/1"
        picture = imread(io.BytesIO(base64.b64decode(result.content[1].data)))
        assert picture.std() > 0.01  # something is drawn
        pictures.append(picture)
    assert pictures[0].shape != pictures[1].shape or not np.array_equal(pictures[0], pictures[1])


def test_other_tools_answer(call: Callable[..., Any]) -> None:
    assert content(call("models"))["models"] == MODELS
    assert content(call("tokens", text=TEXT))["rows"][0]["token"]
    texts = [f"{TEXT} Number {number} is here again and again." for number in range(3)]
    assert content(call("patterns", texts=texts, limit=5))["shown"] == 5
    found = content(call("what_if", text=TEXT, model="demo-decoder", ablate=["L0"]))
    assert found["kl"] > 0
    assert content(call("what_if", text=TEXT, model="demo-decoder"))["kl"] == 0
    assert content(call("compare", first="demo-encoder", second="demo-encoder", texts=texts))["summary"]


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("scan", {"text": TEXT, "model": "/etc"}, "is not offered"),
        ("scan", {"text": ""}, "text"),
        ("scan", {"text": TEXT, "layer": 99}, "There is no layer 99"),
        ("scan", {"text": TEXT, "sort": "nothing"}, "There is no column 'nothing'"),
        ("scan", {"text": TEXT, "limit": 0}, "limit is 0"),
        ("scan", {"text": "a " * 150_000}, "characters, more than"),
        ("weights", {"text": TEXT, "layer": 0, "head": 99}, "99"),
        ("weights", {"text": TEXT, "layer": 0, "head": 0, "most": 1000}, "most is 1000"),
        ("patterns", {"texts": [TEXT] * 101}, "101 texts"),
        ("patterns", {"texts": [TEXT]}, "at least 3 texts"),
        ("what_if", {"text": TEXT, "knock_out": ["nonsense"]}, "nonsense"),
        ("figure", {"text": TEXT, "head": 1}, "give layer too"),
        ("figure", {"text": TEXT, "metric": "nothing"}, "nothing"),
        ("tokens", {"text": TEXT, "method": "nothing"}, "nothing"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    call: Callable[..., Any], name: str, arguments: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(call(name, **arguments))


def test_no_model_and_no_folder_are_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No model is offered"):
        mcp_server([], None)
    with pytest.raises(InputError, match="is no folder"):
        mcp_server(MODELS, tmp_path / "absent")
