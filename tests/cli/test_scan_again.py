"""A second ``attn scan`` of the same text: the same table from disk, without torch, and never a stale one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from attention_analyzer.models.catalog import BUNDLED
from attention_analyzer.table_cache import TableCache

SENTENCE = "The keeper of the lamp sat down."


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTENTION_ANALYZER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_second_scan_is_the_same_and_loads_neither_torch_nor_transformers(attn, tmp_path: Path) -> None:
    args = ["scan", SENTENCE, "-m", "demo-encoder"]
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    assert attn(*args, "-o", str(first))[0] == 0
    code = "import sys; from attention_analyzer.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    command = [sys.executable, "-c", code, *args, "-o", str(second)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout.strip().endswith("[]")
    pd.testing.assert_frame_equal(pd.read_parquet(second), pd.read_parquet(first), check_exact=True)


def test_a_changed_model_another_text_and_another_device_are_computed_again(attn, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "demo-encoder", model)
    _, before, _ = attn("scan", SENTENCE, "-m", str(model))
    assert attn("scan", SENTENCE, "-m", str(model))[1] == before
    weights = load_file(model / "model.safetensors")
    # clone: the tensors lie in the file that is about to be replaced
    changed = {name: tensor.clone() * (3 if "query" in name else 1) for name, tensor in weights.items()}
    save_file(changed, model / "model.safetensors", metadata={"format": "pt"})
    assert attn("scan", SENTENCE, "-m", str(model))[1] != before
    assert attn("scan", "Another text.", "-m", str(model))[1] != before
    keys = {TableCache.key(model, [SENTENCE], {"device": device}) for device in ("auto", "cpu")}
    assert len(keys) == 2


def test_a_table_keeps_types_and_every_digit_and_a_damaged_one_is_removed(cache_folder: Path) -> None:
    table = pd.DataFrame(
        {"layer": [0, 1], "kind": ["self", "cross"], "entropy": [0.1 + 0.2, np.nan], "on": [True, False]}
    )
    cache = TableCache(cache_folder)
    cache.put("key", table)
    pd.testing.assert_frame_equal(cache.get("key"), table, check_exact=True)
    (file,) = cache_folder.iterdir()
    assert file.stat().st_size == cache.size()
    for damaged in ("", "[1]", '{"layer": 3}', '{"layer": ["int64", ["x"]]}'):
        file.write_text(damaged)
        assert cache.get("key") is None
        assert not file.exists()
