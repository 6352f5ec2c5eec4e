"""Pictures with captions, sounds and programs with descriptions: what goes together, and what one sense teaches the other."""
