"""The ``attn`` command: one file per command, each a thin call of the library."""
