"""Pictures with captions: scenes and what is said of them, towers that meet in one space, and what they are asked."""
