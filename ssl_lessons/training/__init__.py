"""The training loop and what it needs: plans, recipes, optimisers, checkpoints, several processes, how long it takes.

Names are handed on from the modules below when they are first used: `launch` is asked before torch is loaded.
"""

from ssl_lessons.deferred import hand_on

__all__, __getattr__ = hand_on(
    __name__,
    {
        "batches": ("batch_indices", "seed_for"),
        "fitting": ("fit",),
        "loop": ("Diverged", "pretrain", "time_steps"),
        "monitor": ("Monitor", "default_monitor"),
        "plan": ("steps_that_fit",),
    },
)
