"""A result as one HTML page without scripts: facts, figure, table."""

from __future__ import annotations

from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_analyzer.files import exported
from attention_analyzer.result import Result, html_table
from attention_analyzer.view.html import write_html

if TYPE_CHECKING:
    from attention_analyzer.comparison.comparison import Comparison


def result_page(result: Result, path: Path) -> None:
    """Write the page.

    Raises:
        InputError: the file cannot be written.
    """
    picture = StringIO()
    result.figure().savefig(picture, format="svg")
    svg = picture.getvalue()
    page = _PAGE.format(
        title=escape(result.heading),
        facts="".join(f"<li>{escape(fact)}</li>" for fact in result.statements()),
        figure=svg[svg.index("<svg") :],
        table=html_table(result.to_frame()),
    )
    with exported(path) as draft:
        draft.write_text(page, encoding="utf-8")


def comparison_page(comparison: Comparison, path: Path, **options: Any) -> None:
    """The first text in the interactive viewer, with both sides and their difference."""
    first, second = comparison.records
    write_html(first, path, second, **options)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }}
figure {{ margin: 1rem 0; background: white; border-radius: 6px; overflow-x: auto }}
svg {{ max-width: 100%; height: auto }}
.table {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #8884 }}
</style></head>
<body><h1>{title}</h1><ul>{facts}</ul><figure>{figure}</figure><div class="table">{table}</div></body></html>
"""
