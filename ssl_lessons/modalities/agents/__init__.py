"""A dot in two rooms seen from above, who moves it, small networks that look at it, and what to train."""
