"""What attribution methods cost, and attention flow beside networkx on the same graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from attention_analyzer.attribution import ATTRIBUTIONS, attribution_named
from attention_analyzer.attribution.context import Question, ask
from attention_analyzer.attribution.flow import Network, most_flow, network
from attention_analyzer.models.loaded import LoadedModel
from benchmarks import shapes

#: Longest text that a method is measured on: attention flow grows with the cube of the length, and integrated gradients
#: run the model and its backward fifty times.
LONGEST = {"flow": 128, "integrated_gradients": 512}
#: Attention flow is compared at this length, in all layers of the shape, for this many of the tokens.
FLOW_TOKENS, FLOW_ASKED = 64, 8
#: Larger differences between two solutions of the same problem are errors, not rounding.
TOLERANCE = 1e-6


def lengths(most: int) -> list[int]:
    return [tokens for tokens in (64, 128, 512, 2048, 4096) if tokens <= most]


def cost(worker: Callable[..., dict[str, Any]], most: int) -> dict[str, Any]:
    """Every method by length, each in a process of its own, and flow beside networkx.

    Args:
        worker: makes one measurement in a process of its own.
        most: the longest text.
    """
    flow = worker(do="flow")  # first: it stops everything if the two libraries differ
    methods = {
        method.name: {
            str(tokens): worker(do="attribution", method=method.name, tokens=tokens)
            for tokens in lengths(most)
            if tokens <= LONGEST.get(method.name, most)
        }
        for method in ATTRIBUTIONS
    }
    return {"methods": methods, "flow": flow}


def question(loaded: LoadedModel, tokens: int) -> Question:
    """The text's own representation, so that every method has something to explain."""
    return ask(loaded, shapes.text(tokens), "pooled")


def attribution(method: str, tokens: int) -> float:
    """Seconds of one method from the text to its numbers: the fastest of some runs."""
    chosen, loaded = attribution_named(method), shapes.model("bert", tokens)
    seconds = []
    for _ in range(3 if tokens <= 512 and method != "integrated_gradients" else 1):
        start = time.perf_counter()
        chosen.find(question(loaded, tokens))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def flow() -> dict[str, float]:
    """igraph and networkx on the same graph and tokens.

    Raises:
        SystemExit: they differ.
    """
    asked = question(shapes.model("bert", FLOW_TOKENS), FLOW_TOKENS)
    graph = network(asked.sites, asked.start, asked.last_axis)
    step = len(graph.sinks) // FLOW_ASKED
    most_flow(Network(graph.heads, graph.tails, graph.capacities, graph.source, graph.sinks[:1], graph.nodes))
    few = Network(graph.heads, graph.tails, graph.capacities, graph.source, graph.sinks[::step], graph.nodes)
    start = time.perf_counter()
    ours = most_flow(few)
    between = time.perf_counter()
    theirs = by_networkx(few)
    end = time.perf_counter()
    difference = float((ours - theirs).abs().max())
    if not difference < TOLERANCE:
        raise SystemExit(f"igraph and networkx differ by {difference:.1e} on the same graph, so nothing is timed.")
    return {
        "igraph": between - start,
        "networkx": end - between,
        "difference": difference,
        "tokens": len(few.sinks),
        "edges": len(graph.capacities),
    }


def by_networkx(graph: Network) -> torch.Tensor:
    import networkx as nx

    built = nx.DiGraph()
    ends = zip(graph.heads.tolist(), graph.tails.tolist(), graph.capacities.tolist(), strict=True)
    for head, tail, capacity in ends:
        if built.has_edge(head, tail):  # a token's weight on itself, and its residual
            built[head][tail]["capacity"] += capacity
        else:
            built.add_edge(head, tail, capacity=capacity)
    values = [nx.maximum_flow_value(built, graph.source, sink) for sink in graph.sinks]
    return torch.tensor(values, dtype=torch.double)
