"""A JSON file of messages is a chat for the commands that take a text."""

from __future__ import annotations

import json

import pytest

from attention_analyzer.cli.options import read_text_or_chat

CHAT = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("written", [CHAT, {"messages": CHAT}])
def test_messages_in_a_file_are_a_chat(written: object, tmp_path) -> None:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(written))
    assert read_text_or_chat(str(path)) == CHAT


@pytest.mark.parametrize("written", ['{"a": 1}', "[1, 2]", "not JSON"])
def test_any_other_file_is_its_text(written: str, tmp_path) -> None:
    path = tmp_path / "other.json"
    path.write_text(written)
    assert read_text_or_chat(str(path)) == written
    assert read_text_or_chat("Hello") == "Hello"
