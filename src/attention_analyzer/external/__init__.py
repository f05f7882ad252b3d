"""Attention that another program computed: its arrays, and the file in which any program can write them."""
