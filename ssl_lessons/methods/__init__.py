"""One screen per method; everything two methods share lives below."""

import inspect

from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.methods.supervised import Supervised

METHODS = {"simclr": SimCLR, "supervised": Supervised}


def takes(name: str, option: str) -> bool:
    """Whether the constructor of a method has that option."""
    return option in inspect.signature(METHODS[name]).parameters


def build_method(name: str, encoder: nn.Module, **options) -> Method:
    """A method by name around an encoder; options go to its constructor.

    Raises InputError for an unknown name or option.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; choose from {', '.join(METHODS)}")
    try:
        return METHODS[name](encoder, **options)
    except TypeError as error:
        raise InputError(f"method {name!r} does not take these options: {error}") from None


__all__ = ["METHODS", "Method", "SimCLR", "Supervised", "build_method", "takes"]
