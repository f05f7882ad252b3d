"""The viewer as one file: opened from disk, without a network, under a strict content-security policy.

Every payload block is a data element of its own, so that the page decodes only what it shows. The policy names the two
inline parts by their hashes, and allows nothing else but the worker and the 3D scene that the viewer starts from blobs.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.files import exported
from attention_analyzer.view.content import page_title, payload_parts
from attention_analyzer.view.program import viewer_source

_STYLE = "html,body{height:100%;margin:0}body{box-sizing:border-box;padding:8px}#attention-view{height:100%}"
_META = '<meta name="color-scheme" content="light dark">'


def html_parts(
    record: CapturedAttention, other: CapturedAttention | None = None, *, title: str = "", **options: Any
) -> Iterator[str]:
    """The page in pieces, so that a long text's page is never held as a whole; options as in ``payload_parts``."""
    title = title or page_title(record, other)
    parts = payload_parts(record, other, title=title, **options)
    script = viewer_source()
    policy = (
        f"default-src 'none'; script-src {_digest(script)} blob:; style-src {_digest(_STYLE)}; worker-src blob:; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    yield "<!doctype html>\n"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield f'<meta name="viewport" content="width=device-width, initial-scale=1">{_META}'
    yield f"<title>{html.escape(title.encode('utf-8', 'replace').decode())}</title>"
    yield f"<style>{_STYLE}</style></head>\n<body>"
    yield '<div id="attention-view"><noscript>This page needs JavaScript; it loads nothing from a network.</noscript>'
    yield "</div>\n"
    yield _data("attention-head", parts[0])
    for number, block in enumerate(parts[1:]):
        yield _data(f"attention-block-{number}", block)
    yield f'<script type="module">{script}</script>\n</body></html>\n'


def html_text(record: CapturedAttention, other: CapturedAttention | None = None, **options: Any) -> str:
    """The page as one string."""
    return "".join(html_parts(record, other, **options))


def write_html(
    record: CapturedAttention, path: str | Path, other: CapturedAttention | None = None, **options: Any
) -> Path:
    """Write the page.

    Args:
        path: ends in ``.html``, as browsers expect.
        other: a second record, shown beside the first in the Difference view.
        options: ``title``, ``annotations``, ``state``, ``queries_and_keys``; see ``payload_parts``.

    Raises:
        InputError: the file cannot be written; one that was there is unchanged.
    """
    with exported(path) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(html_parts(record, other, **options))
    return Path(path)


def _data(name: str, data: bytes) -> str:
    text = base64.b64encode(data).decode("ascii")
    return f'<script type="application/octet-stream" id="{name}">{text}</script>\n'


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
