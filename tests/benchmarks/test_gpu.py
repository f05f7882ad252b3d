"""The GPU benchmark, as far as it can be held to something without a GPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu
from benchmarks.report import gpu_table

SMALL = gpu.Shape(heads=6, key_heads=3, channels=8, inner=11, layers=1)


def test_it_measures_every_part_at_every_length() -> None:
    found = gpu.measure((13, 17), SMALL, "cpu", torch.float32)
    assert set(found["lengths"]) == {"13", "17"}
    for cell in found["lengths"].values():
        assert set(cell) == {
            "plain",
            "toolkit",
            "attention_of_a_layer",
            "statistics_of_a_layer",
            "floor_of_a_layer",
        }
        assert all(part["seconds"] > 0 for part in cell.values())


def test_nothing_is_timed_where_results_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="nothing is timed"):
        gpu.measure((13,), SMALL, "cpu", torch.float32)


def test_the_attention_it_is_compared_with_is_the_sites_own() -> None:
    site = gpu.random_site(SMALL, 13, "cpu", torch.float32)
    values = site.source.key[0].repeat_interleave(2, 0)
    torch.testing.assert_close(gpu.attention(site)[0], site.full() @ values)


def test_columns_stay_empty_without_a_gpu_and_hold_ratios_with_one() -> None:
    empty = gpu_table({"gpu": None})
    assert "No GPU was at hand" in empty
    assert "×" not in empty
    parts = {f"{name}_of_a_layer": {"seconds": 0.001, "memory": 1.0} for name in ("attention", "statistics", "floor")}
    cell = parts | {"plain": {"seconds": 2.0, "memory": 3.0}, "toolkit": {"seconds": 3.0, "memory": 4.0}}
    full = gpu_table(
        {
            "about": {"cuda": "a card"},
            "gpu": {"shape": {"layers": 2}, "difference": 1e-6, "lengths": {"2048": cell}},
        }
    )
    assert "| 2,048 | 2.0 s | 3.0 s | **1.50×** | 1.00 ms | 1.00 ms | 1.00 ms | 3.00 / 4.00 |" in full
