"""Attention weights as a lazy array, and the blocked pass that reads them once."""
