"""Clips of a drawn world with everything known, how they are cut and spoiled, small encoders, and what to train."""
