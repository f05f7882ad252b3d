"""The page: one file, strict policy, nothing from the text as markup; the widget and the command."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from attention_analyzer.record import AttentionRecord
from attention_analyzer.view.content import payload
from attention_analyzer.view.payload import read_payload
from attention_analyzer.view.program import viewer_source
from tests.view.records import query_key_record


def data_blocks(page: str) -> dict[str, bytes]:
    found = re.findall(r'<script type="application/octet-stream" id="([^"]*)">([^<]*)</script>', page)
    return {name: base64.b64decode(text) for name, text in found}


def test_page_holds_the_payload() -> None:
    record = query_key_record(queries=5)
    blocks = data_blocks(record.html())
    assert b"".join(blocks.values()) == payload(record)
    assert read_payload(b"".join(blocks.values())).header["records"][0]["model"] == "random"


def test_policy_names_the_inline_parts_by_their_hashes() -> None:
    page = query_key_record(queries=5).html()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for part in (
        re.search(r"<style>(.*?)</style>", page, re.DOTALL),
        re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL),
    ):
        assert part is not None
        digest = base64.b64encode(hashlib.sha256(part[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    assert not re.search(r'(src|href)="?https?:', page)


def test_program_cannot_end_its_own_element() -> None:
    assert "</script" not in viewer_source().lower()
    assert "<!--" not in viewer_source()


def test_title_is_text() -> None:
    record = AttentionRecord.from_weights(torch.ones(1, 1, 1), ["</title><script>alert(1)</script>"])
    page = record.html()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_widget_carries_payload_state_and_selection() -> None:
    pytest.importorskip("anywidget")
    record = query_key_record(queries=3)
    widget = record.view(state={"view": "matrix"}, height=400)
    assert widget.payload == payload(record)
    assert widget.state == {"view": "matrix"}
    assert widget.height == 400
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "selection")
    widget.set_state({"selection": {"head": 1}})
    assert seen == [{"head": 1}]
    widget.close()


def test_show_writes_a_page(tmp_path: Path) -> None:
    from attention_analyzer.cli.main import app

    target = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["show", "Mr and Mrs Smith", "-m", "demo-decoder", "-o", str(target)])
    assert result.exit_code == 0, result.output
    assert "attention-head" in data_blocks(target.read_text(encoding="utf-8"))
    assert CliRunner().invoke(app, ["show", "a", "-o", str(tmp_path / "page.pdf")]).exit_code != 0
