"""Images with their labels and factors: the embedded world, digits, STL-10, CIFAR-10, any folder.

Names are handed on from the modules below when they are first used: a server decodes pictures (`decoding`) without
torch, and torchvision, which the readers of real images bring in, takes seconds to import.
"""

import importlib

_HOMES = {
    "image_set": ("SPLITS", "Factor", "ImageSet", "label_subset"),
    "folders": ("folder",),
    "layout": ("Found",),
    "loading": ("NAMES", "load"),
    "real": ("cifar10", "digits", "stl10"),
    "world": ("captions", "recolour", "render", "sample_factors", "shapes", "video"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"ssl_lessons.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
