"""Attention flow (Abnar & Zuidema 2020, §2): how much can pass from a token to the prediction at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attention_analyzer.attribution.context import Axis, Question, SiteWeights
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.errors import MissingDependencyError, Option, TooLongError

#: Most edges that are computed unless the caller says otherwise: 128 tokens in 24 layers, or 256 in 6.
MOST_EDGES = 400_000


@dataclass(frozen=True)
class Network:
    """The layered graph: a node for each token and layer, edges from where it is read to what it reads.

    Attributes:
        heads, tails: node numbers of each edge's two ends; flow runs from the prediction down to the tokens.
        capacities: of each edge.
        source: the node that stands for the prediction; ``sinks``: the nodes of the text's tokens, in order.
        nodes: how many there are.
    """

    heads: Tensor
    tails: Tensor
    capacities: Tensor
    source: int
    sinks: tuple[int, ...]
    nodes: int


def network(sites: Sequence[SiteWeights], start: Tensor, axis: Axis) -> Network:
    """Capacities are ``½ A + ½ I`` of each layer, heads averaged; into the last layer, where the prediction is read."""
    nodes = 0

    def fresh(count: int) -> Tensor:
        nonlocal nodes
        nodes += count
        return torch.arange(nodes - count, nodes)

    top: dict[Axis, Tensor] = {}
    bottom: dict[Axis, Tensor] = {}
    edges: list[tuple[Tensor, Tensor, Tensor]] = []
    for at in sites:
        for side, size in ((at.keys, at.weights.keys), (at.queries, at.weights.queries)):
            if side not in top:
                top[side] = bottom[side] = fresh(size)
        below, read = top[at.queries], top[at.keys]
        above = fresh(at.weights.queries)
        mean = sum(at.weights[head].double().cpu() for head in range(at.weights.heads)) / at.weights.heads
        assert isinstance(mean, Tensor)
        rows, keys = mean.nonzero(as_tuple=True)
        edges.append((above[rows], read[keys], mean[rows, keys] / 2))
        edges.append((above, below, torch.full((len(above),), 0.5, dtype=torch.double)))
        top[at.queries] = above
    source = int(fresh(1))
    places = start.nonzero()[:, 0]
    edges.append((torch.full((len(places),), source), top[axis][places], start[places].double()))
    heads, tails, capacities = (torch.cat(parts) for parts in zip(*edges, strict=True))
    return Network(heads, tails, capacities, source, tuple(bottom["source"].tolist()), nodes)


def most_flow(graph: Network, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> Tensor:
    """``[token]``: the largest flow from the prediction to each token.

    Args:
        progress: wraps the run over the tokens.

    Raises:
        MissingDependencyError: igraph is not installed.
    """
    try:
        import igraph
    except ImportError:
        raise MissingDependencyError("igraph", "graphs", "Attention flow") from None
    edges = torch.stack([graph.heads, graph.tails], dim=1).tolist()
    built = igraph.Graph(n=graph.nodes, edges=edges, directed=True)
    capacities = graph.capacities.tolist()
    values = [built.maxflow_value(graph.source, sink, capacities) for sink in progress(graph.sinks)]
    return torch.tensor(values, dtype=torch.double)


@dataclass(frozen=True)
class Flow(Attribution):
    """Most flow from the prediction to a token, with ``½ A + ½ I`` of each layer as capacities (heads averaged).

    One maximum-flow problem per token, so cost grows with the cube of the text's length: there is a limit. In a causal
    model early tokens can be reached on more ways, and flow is biased towards them.
    """

    name: ClassVar[str] = "flow"
    title: ClassVar[str] = "attention flow"
    limited: ClassVar[bool] = True

    most_edges: int | None = None

    def find(self, question: Question) -> RawAttribution:
        sites = question.sites
        edges = sum(at.weights.queries * at.weights.keys for at in sites)
        limit = MOST_EDGES if self.most_edges is None else self.most_edges
        if edges > limit:
            raise TooLongError(
                f"Attention flow over {len(question.tokens)} tokens in {len(sites)} layers is a graph of {edges:,} "
                f"edges, more than the limit of {limit:,}",
                [Option("method", "'rollout'", "use {}")],
            )
        graph = network(sites, question.start, question.last_axis)
        return RawAttribution(most_flow(graph, _shown_progress), {"edges": len(graph.capacities)})


def _shown_progress(tokens: Iterable[int]) -> Iterable[int]:
    """A bar on standard error, where that is a terminal and the work takes a while."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(list(tokens), "Attention flow", console=console, transient=True, disable=not console.is_terminal)
