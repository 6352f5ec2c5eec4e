"""Is an encoder collapsing? Numbers that need no labels, and `diagnose`, which puts them into words (and listens to a
kNN accuracy, where the history has one)."""

from ssl_lessons.diagnostics.geometry import (
    cluster_learnability,
    mst_dimension,
    spectrum_area,
    two_nn,
    views_found,
)
from ssl_lessons.diagnostics.measures import (
    alignment,
    alpha_req,
    assignment_information,
    cluster_usage_entropy,
    feature_correlation,
    feature_std,
    lidar,
    norm_statistics,
    rank_me,
    sigreg,
    singular_values,
    spread,
    teacher_distance,
    uniformity,
)
from ssl_lessons.diagnostics.report import VERDICTS, CollapseReport, diagnose

__all__ = [
    "VERDICTS",
    "CollapseReport",
    "alignment",
    "alpha_req",
    "assignment_information",
    "cluster_learnability",
    "cluster_usage_entropy",
    "diagnose",
    "feature_correlation",
    "feature_std",
    "lidar",
    "mst_dimension",
    "norm_statistics",
    "rank_me",
    "sigreg",
    "singular_values",
    "spectrum_area",
    "spread",
    "teacher_distance",
    "two_nn",
    "uniformity",
    "views_found",
]
