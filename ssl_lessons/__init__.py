"""An executable textbook of self-supervised learning.

Nothing is imported here: `from ssl_lessons import data, training, evaluation` takes what you need.
"""

_OF_THE_BOOK = ("exercises", "plots", "widgets")  # chapters import these from here


def __getattr__(name: str):
    if name == "__version__":  # only looked up when asked for
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("ssl-lessons")
        except PackageNotFoundError:
            return "not installed"
    if name in _OF_THE_BOOK:
        from importlib import import_module

        return import_module(f"ssl_lessons.book.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
