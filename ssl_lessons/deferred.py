"""Packages that hand on names of their modules, each loaded when one of its names is first used."""

import importlib
from collections.abc import Callable, Mapping, Sequence


def hand_on(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[list[str], Callable]:
    """What the package needs, `__all__, __getattr__ = hand_on(__name__, {"module": ("name", ...), ...})` (PEP 562)."""
    home = {name: module for module, names in homes.items() for name in names}

    def __getattr__(name: str):
        if name in home:
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return sorted(home), __getattr__
