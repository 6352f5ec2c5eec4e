"""How good is a representation?  Frozen features, kNN, linear probe, label efficiency, factor probe, fine-tuning."""

from ssl_lessons.evaluation.fine_tuning import FineTuned, fine_tune, fine_tune_efficiency
from ssl_lessons.evaluation.probes import (
    PROBE_CS,
    ProbeResult,
    edges,
    extract_features,
    factor_probe,
    fit_probe,
    knn_accuracy,
    label_efficiency,
    linear_probe,
    pixels,
    precision_at_k,
    purity,
)

__all__ = [
    "FineTuned", "PROBE_CS", "ProbeResult", "edges", "extract_features", "factor_probe", "fine_tune",
    "fine_tune_efficiency", "fit_probe", "knn_accuracy", "label_efficiency", "linear_probe", "pixels",
    "precision_at_k", "purity",
]  # fmt: skip
