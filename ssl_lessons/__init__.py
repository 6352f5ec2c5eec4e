"""An executable textbook of self-supervised learning.

Nothing is imported here: `from ssl_lessons import data, pretraining, evaluation` takes what you need.
"""


def __getattr__(name: str):
    if name == "__version__":  # only looked up when asked for
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("ssl-lessons")
        except PackageNotFoundError:
            return "not installed"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
