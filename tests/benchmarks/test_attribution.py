"""The cost of attribution methods as a table, and the two libraries on one graph."""

from __future__ import annotations

import pytest
import torch

from attention_analyzer.attribution.flow import most_flow, network
from benchmarks.attribution import by_networkx
from benchmarks.report import attribution_tables
from tests.attribution.cases import question


def test_both_libraries_are_given_the_same_graph() -> None:
    asked = question("grouped queries", tokens=5)
    graph = network(asked.sites, asked.start, asked.last_axis)
    torch.testing.assert_close(by_networkx(graph), most_flow(graph))


def test_what_was_not_measured_stays_empty() -> None:
    cell = {"seconds": 0.25, "memory": 0.5}
    flow = {"igraph": 0.02, "networkx": 3.0, "difference": 1e-12, "tokens": 8, "edges": 25024}
    told = attribution_tables({"methods": {"rollout": {"64": cell, "512": cell}, "flow": {"64": cell}}, "flow": flow})
    assert "| `rollout` | 0.250 s, 0.50 GB | 0.250 s, 0.50 GB |" in told
    assert "| `flow` | 0.250 s, 0.50 GB | – |" in told
    assert "**150 times** as long" in told


def test_libraries_that_differ_stop_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import attribution

    monkeypatch.setattr(attribution, "FLOW_TOKENS", 8)
    monkeypatch.setattr(attribution, "FLOW_ASKED", 1)
    monkeypatch.setattr(attribution, "by_networkx", lambda graph: most_flow(graph) + 1e-5)
    with pytest.raises(SystemExit, match="igraph and networkx differ"):
        attribution.flow()
