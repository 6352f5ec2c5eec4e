"""Checkers for the exercises, one module per chapter: `ch13.check_info_nce(my_info_nce)` gives a verdict in one line.

A stub in a chapter returns `exercises.NOT_ATTEMPTED`; its checker then says so and nothing breaks.
"""

from .core import NOT_ATTEMPTED, Check, quietly

__all__ = ["NOT_ATTEMPTED", "Check", "quietly"]
