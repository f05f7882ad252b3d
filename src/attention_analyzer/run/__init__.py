"""One runner for everything that is learned from many texts: texts → batches → forward → states → results."""
