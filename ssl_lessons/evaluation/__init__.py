"""How good is a representation?  Frozen features, kNN, linear and richer probes, label efficiency, factor probe,
fine-tuning, retrieval, what features know at a place, attacks.
"""

from ssl_lessons.evaluation.attacks import pgd
from ssl_lessons.evaluation.dense import (
    DenseResult,
    contour_accuracy,
    dense_probe,
    intersection_over_union,
    propagate,
    region_similarity,
)
from ssl_lessons.evaluation.fine_tuning import FineTuned, fine_tune, fine_tune_efficiency, layer_groups
from ssl_lessons.evaluation.heads import AttentivePool, HeadResult, attentive_probe, mlp_probe
from ssl_lessons.evaluation.probes import (
    PROBE_CS,
    ProbeResult,
    edges,
    extract_features,
    factor_probe,
    fit_probe,
    knn_accuracy,
    label_efficiency,
    labels_needed,
    linear_probe,
    pixels,
    precision_at_k,
    purity,
)
from ssl_lessons.evaluation.retrieval import mean_average_precision, recall_at_k

__all__ = [
    "AttentivePool", "DenseResult", "FineTuned", "HeadResult", "PROBE_CS", "ProbeResult", "attentive_probe",
    "contour_accuracy", "dense_probe", "edges", "extract_features", "factor_probe", "fine_tune",
    "fine_tune_efficiency", "fit_probe", "intersection_over_union", "knn_accuracy", "label_efficiency",
    "labels_needed", "layer_groups", "linear_probe", "mean_average_precision", "mlp_probe", "pgd", "pixels",
    "precision_at_k", "propagate", "purity", "recall_at_k", "region_similarity",
]  # fmt: skip
