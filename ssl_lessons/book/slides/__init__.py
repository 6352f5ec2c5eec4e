"""A chapter as slides, from its saved notebook: what a deck shows, by one rule for all chapters, and its files."""
