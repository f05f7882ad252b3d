"""One rule, or a family of like rules, per file; :mod:`.registry` has the table."""
