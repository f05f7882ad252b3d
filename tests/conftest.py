"""What every test shares: no model hub, no window system, no trace in the user's own cache."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Set before anything reads it; child processes (the `attn` command, servers) inherit it. The folder is this process's
# own, so tests that run side by side share no cache.
_home = tempfile.mkdtemp(prefix="attention-analyzer-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "MPLBACKEND": "Agg",
    "XDG_CACHE_HOME": _home,
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}
