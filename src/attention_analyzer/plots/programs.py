"""The figure of programs: what explains each head's weight, head by head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.plots.style import FAINT, GROUPS, INK, LINE, finish, heading, short
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attention_analyzer.programs.replace import ProgramReplacement
    from attention_analyzer.programs.result import HeadPrograms

#: Rules that have a color; further ones share a gray.
_COLORED = 10
_OTHERS, _EVENLY = "#5b6472", "#dfe3e8"


def programs_figure(found: HeadPrograms) -> Figure:
    """A bar per head, from the first layer down: the shares of its weight that the program's rules explain."""
    table, terms = found.table, found.terms
    totals = terms[terms["rule"] != "evenly"].groupby("rule")["share"].sum().sort_values(ascending=False)
    colors = dict(zip(totals.index[:_COLORED], GROUPS, strict=False))
    figure = new_figure((9.5, max(2.8, 1.6 + 0.17 * len(table))))
    axes = figure.subplots()
    several = table[["stack", "kind"]].drop_duplicates().shape[0] > 1
    names, used = [], dict[str, str]()
    groups = terms.groupby(["stack", "kind", "layer", "head"], sort=False)
    for row, ((stack, kind, layer, head), part) in enumerate(groups):
        names.append(f"{stack} {kind} L{layer}H{head}" if several else f"L{layer}H{head}")
        left = 0.0
        for term in part.sort_values("share", ascending=False).itertuples():
            rule, share = str(term.rule), float(term.share)
            color = _EVENLY if rule == "evenly" else colors.get(rule, _OTHERS)
            used[rule if rule in colors or rule == "evenly" else "other rules"] = color
            axes.barh(row, share, left=left, color=color, height=0.8, linewidth=0)
            left += share
    axes.plot(table["even"], range(len(table)), linestyle="none", marker="|", color=INK, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the head's weight; | what evenly spread weights would explain", fontsize=8, color=FAINT)
    handles = [axes.barh(0, 0, color=used[name]) for name in [*colors, "other rules", "evenly"] if name in used]
    labels = [short(name, 28) for name in [*colors, "other rules", "evenly"] if name in used]
    axes.legend(handles, labels, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1), edgecolor=LINE, labelcolor=INK)
    finish(axes, "")
    axes.tick_params(labelsize=6.5)
    heading(figure, f"{found.model_name}  {'; '.join(found.facts())}", size=9)
    return figure


def replacement_figure(found: ProgramReplacement) -> Figure:
    """A line per replacement over the share of heads replaced, with 95 % intervals over texts."""
    figure = new_figure((6.8, 4.0))
    axes = figure.add_subplot()
    for (name, part), color in zip(found.table.groupby("replacement", sort=False), GROUPS, strict=False):
        share = part["share"] * 100
        axes.fill_between(share, part["low"] * 100, part["high"] * 100, color=color, alpha=0.18, linewidth=0)
        axes.plot(share, part["change"] * 100, color=color, marker="o", markersize=3.5, label=str(name))
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_yscale("symlog", linthresh=10)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}")
    axes.set_xlabel("heads replaced, best explained first (%)", fontsize=8, color=FAINT)
    axes.set_ylabel(f"{found.unit} (%)", fontsize=8, color=FAINT)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    finish(axes, f"{found.model_name}  heads replaced by their programs; {found.texts} texts")
    return figure
