"""Names of a history's columns."""

#: What a row is about; together unique.
KEYS = ("step", "stack", "kind", "layer", "head")
#: The same for all heads of a step, where it is known.
OF_THE_STEP = ("step", "loss", "tokens_seen", "seconds")
#: Endings of columns that belong to the pattern of the name before them.
BESIDE = ("_control", "_error")
