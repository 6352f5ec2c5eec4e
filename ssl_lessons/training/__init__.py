"""The training loop and what it needs: recipes, optimisers, checkpoints, several processes, how long it takes."""

from ssl_lessons.training.loop import (
    Diverged,
    Monitor,
    batch_indices,
    default_monitor,
    pick_device,
    pretrain,
    seed_for,
    steps_that_fit,
    time_steps,
)

__all__ = [
    "Diverged", "Monitor", "batch_indices", "default_monitor", "pick_device", "pretrain", "seed_for", "steps_that_fit",
    "time_steps",
]  # fmt: skip
