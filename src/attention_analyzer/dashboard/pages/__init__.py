"""One file per page; each has one function ``show()``."""
