"""Graphs of a drawn world with everything known, how they are spoiled, small encoders, and what to train."""
