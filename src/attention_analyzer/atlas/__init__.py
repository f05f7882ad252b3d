"""A whole model as a folder of static pages: a map of all heads, and a page for each."""

from __future__ import annotations

from attention_analyzer.atlas.site import write_atlas
from attention_analyzer.atlas.texts import is_store, store_texts

__all__ = ["is_store", "store_texts", "write_atlas"]
