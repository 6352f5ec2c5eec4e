"""Checkers for the exercises: `exercises.check_info_nce(my_info_nce)` gives a verdict in one line.

A stub in a chapter returns `exercises.NOT_ATTEMPTED`; its checker then says so and nothing breaks.
"""

from .ch00 import (
    check_cosine_similarity,
    check_factor_score,
    check_knn_predict,
    check_label_subset,
)
from .ch13 import (
    check_info_nce,
    check_mi_bound,
    check_negative_weights,
    check_nt_xent,
    check_stable_cross_entropy,
)
from .ch25 import (
    check_false_negatives,
    check_lr_at,
    check_scaled_lr,
    check_steps_that_fit,
)
from .core import NOT_ATTEMPTED, Check

__all__ = [
    "NOT_ATTEMPTED",
    "Check",
    "check_cosine_similarity",
    "check_factor_score",
    "check_false_negatives",
    "check_info_nce",
    "check_knn_predict",
    "check_label_subset",
    "check_lr_at",
    "check_mi_bound",
    "check_negative_weights",
    "check_nt_xent",
    "check_scaled_lr",
    "check_stable_cross_entropy",
    "check_steps_that_fit",
]
