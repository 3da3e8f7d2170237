"""Graph nodes, one file per stage; the only folder that knows the host."""
