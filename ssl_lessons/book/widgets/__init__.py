"""Sliders that explain: the generic machinery, and one module per concrete widget."""

from ssl_lessons.book.widgets import temperature
from ssl_lessons.book.widgets.augmentation import Augmentations, photographs
from ssl_lessons.book.widgets.core import Choice, Slider, explore, sweep
from ssl_lessons.book.widgets.live import live_panel
from ssl_lessons.book.widgets.neighbors import Neighbors

__all__ = [
    "Augmentations", "Choice", "Neighbors", "Slider", "explore", "live_panel", "photographs", "sweep",
    "temperature",
]  # fmt: skip
