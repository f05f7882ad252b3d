"""The documentation site: ``make docs`` builds it into build/docs, and every warning is an error."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import attention_analyzer  # noqa: E402

project = "Attention Analyzer"
author = "The Attention Analyzer authors"
version = release = attention_analyzer.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["jupyter_execute", "conf.py"]
html_theme = "furo"
html_title = "Attention Analyzer"
html_static_path: list[str] = []
# Notebooks run in the tests; the site shows the outputs of a fresh run.
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
# Results link to what they return; classes of torch, pandas and matplotlib are named, not linked: the site needs no
# network to be built.
nitpicky = False
suppress_warnings = ["ref.python", "myst.xref_missing"]


def _public(name: str, value: Any) -> bool:
    return not name.startswith("_") and inspect.getdoc(value) is not None


def skip_undocumented(_app: Any, _what: str, name: str, value: Any, skip: bool, _options: Any) -> bool:
    """Leave out members that have no docstring of their own."""
    return skip or not _public(name, value)


def setup(app: Any) -> None:
    """Connect the hook that leaves out undocumented members."""
    import_module("attention_analyzer.analyzer")
    app.connect("autodoc-skip-member", skip_undocumented)
