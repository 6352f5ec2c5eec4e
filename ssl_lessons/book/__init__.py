"""The book: what chapters call, and what runs, builds and opens them.

    from ssl_lessons import book
    device = book.setup("13")

Names are handed on from the modules below when they are first used: a command that runs chapters need not load the
figures, and a chapter need not have what runs chapters.
"""

import importlib

_HOMES = {
    "chapter": ("claim", "recorded", "results_table", "setup"),
    "files": ("CHAPTERS", "ROOT", "badge", "check_pair", "clean", "data_file", "find", "last_state", "repository",
              "setup_cell"),
    "running": ("ChapterRun", "build", "collect_claims", "run"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"ssl_lessons.book.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
