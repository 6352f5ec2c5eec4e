"""The training loop and what it needs: plans, recipes, optimisers, checkpoints, several processes, how long it takes.

Names are handed on from the modules below when they are first used: `launch` is asked before torch is loaded.
"""

import importlib

_HOMES = {
    "batches": ("batch_indices", "seed_for"),
    "loop": ("Diverged", "pretrain", "time_steps"),
    "monitor": ("Monitor", "default_monitor"),
    "plan": ("steps_that_fit",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"ssl_lessons.training.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
