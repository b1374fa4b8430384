"""A picture on a terminal that is alive: it is made of cells, bars and blocks, and follows keys, sizes and news."""
