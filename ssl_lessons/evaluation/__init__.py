"""How good is a representation?  Frozen features, kNN, linear probe, label efficiency, factor probe."""

from ssl_lessons.evaluation.probes import (
    PROBE_CS,
    ProbeResult,
    extract_features,
    factor_probe,
    fit_probe,
    knn_accuracy,
    label_efficiency,
    linear_probe,
    pixels,
    precision_at_k,
)

__all__ = [
    "PROBE_CS", "ProbeResult", "extract_features", "factor_probe", "fit_probe", "knn_accuracy", "label_efficiency",
    "linear_probe", "pixels", "precision_at_k",
]  # fmt: skip
