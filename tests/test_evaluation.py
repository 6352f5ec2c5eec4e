"""Frozen-feature evaluation against plain loops and plain scikit-learn."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from ssl_lessons.data import Factor
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import (
    PROBE_CS,
    extract_features,
    factor_probe,
    knn_accuracy,
    label_efficiency,
    linear_probe,
    pixels,
)  # fmt: skip
from ssl_lessons.models import build_encoder
from ssl_lessons.views import normalize


def gaussians(n, d, classes=3, gap=1.0, seed=0, means=1):
    """n points around the centres of `classes` Gaussians in d dimensions, with labels."""
    centers = gap * torch.randn(classes, d, generator=torch.Generator().manual_seed(100 + means))
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    y = y[torch.randperm(n, generator=g)]
    return centers[y] + torch.randn(n, d, generator=g) + 3, y


def uint8_images(n=10, size=16, seed=0):
    return torch.randint(
        0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


# --- features --------------------------------------------------------------------------------------


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder("convnet", width=4, dim=12)


def test_features_are_the_eval_forward_pass(encoder):
    images = uint8_images()
    features = extract_features(encoder, images, batch_size=3)
    assert features.shape == (10, 12) and features.dtype == torch.float32 and not features.requires_grad
    with torch.no_grad():
        expected = encoder.eval()(normalize(images))
    assert torch.allclose(features, expected, atol=1e-5)
    assert torch.allclose(features, extract_features(encoder, images, batch_size=512), atol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_extraction_leaves_the_encoder_as_it_was(encoder, mode):
    encoder.train(mode)
    before = copy.deepcopy(encoder.state_dict())
    extract_features(encoder, uint8_images())
    assert encoder.training == mode and all(m.training == mode for m in encoder.modules())
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in encoder.parameters())


def test_extraction_leaves_frozen_parts_frozen(encoder):
    """Layers a lesson put into eval by hand stay there."""
    encoder.train()
    encoder.layers[1].eval()
    extract_features(encoder, uint8_images())
    assert encoder.training and not encoder.layers[1].training and encoder.layers[4].training


def test_extraction_restores_the_mode_after_an_error(encoder):
    with pytest.raises(InputError):
        extract_features(encoder.train(), torch.zeros(2, 3, 16, 16, dtype=torch.int32))
    assert encoder.training


def test_pixels():
    images = uint8_images(4, 5)
    rows = pixels(images)
    assert rows.shape == (4, 75) and rows.dtype == torch.float32
    assert rows[2, 25 + 7].item() == pytest.approx(images[2, 1, 1, 2].item() / 255)


# --- kNN -------------------------------------------------------------------------------------------


def naive_knn(train_x, train_y, test_x, test_y, k, temperature):
    correct = 0
    for x, y in zip(test_x.double(), test_y.tolist(), strict=True):
        pairs = zip(train_x.double(), train_y, strict=True)
        similarity = [(float(x @ t / (x.norm() * t.norm())), int(c)) for t, c in pairs]
        votes = {}
        for s, c in sorted(similarity, reverse=True)[:k]:
            votes[c] = votes.get(c, 0.0) + math.exp(s / temperature)
        correct += max(votes, key=votes.get) == y
    return correct / len(test_y)


@pytest.mark.parametrize("k", [1, 5, 20, 1000])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_knn_equals_a_loop(k, temperature):
    train, test = gaussians(45, 6, gap=0.7), gaussians(40, 6, gap=0.7, seed=1)
    expected = naive_knn(*train, *test, k=k, temperature=temperature)
    assert knn_accuracy(*train, *test, k=k, temperature=temperature) == pytest.approx(expected)
    assert 0.3 < expected < 1


def test_knn_ignores_length_and_weighs_votes():
    train_x, train_y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 5.0]]), torch.tensor([0, 1, 1])
    near_first = torch.tensor([[10.0, 1.0]])
    assert knn_accuracy(train_x, train_y, near_first, torch.tensor([0]), k=3) == 1  # one near beats two far
    assert knn_accuracy(train_x, train_y, near_first, torch.tensor([0]), k=3, temperature=100.0) == 0


def test_knn_splits_large_test_sets():
    train, test = gaussians(30, 4), gaussians(2050, 4, seed=1)
    whole = knn_accuracy(*train, *test)
    parts = [
        knn_accuracy(*train, test[0][s], test[1][s]) * len(test[1][s]) for s in (slice(0, 7), slice(7, None))
    ]
    assert whole == pytest.approx(sum(parts) / 2050)


@pytest.mark.parametrize("bad", [{"k": 0}, {"k": -1}, {"temperature": 0.0}, {"temperature": -1.0}])
def test_knn_refuses(bad):
    with pytest.raises(InputError):
        knn_accuracy(*gaussians(9, 3), *gaussians(9, 3), **bad)


# --- linear probe ----------------------------------------------------------------------------------


def plain_probe(train_x, train_y, test_x, C):
    """scikit-learn on all dimensions: predictions, and where they are not a matter of rounding."""
    scaler = StandardScaler().fit(train_x.numpy())
    model = LogisticRegression(C=C, max_iter=5000).fit(scaler.transform(train_x.numpy()), train_y.numpy())
    p = model.predict_proba(scaler.transform(test_x.numpy()))
    margin = np.diff(np.sort(p, axis=1)[:, -2:])[:, 0]
    clear = margin > 0.1 * np.median(margin)
    return torch.from_numpy(model.predict(scaler.transform(test_x.numpy()))), torch.from_numpy(clear)


@pytest.mark.parametrize("C", [1e-3, 1.0])
@pytest.mark.parametrize("n, d", [(60, 150), (90, 10), (30, 31)])
def test_probe_equals_logistic_regression_on_all_dimensions(monkeypatch, n, d, C):
    """With more dimensions than examples the probe works in their span: the same answer, image by image."""
    monkeypatch.setattr("ssl_lessons.evaluation.probes.PROBE_CS", (C, C, C))
    train, (test_x, test_y) = gaussians(n, d, gap=0.3), gaussians(400, d, gap=0.3, seed=1)
    result = linear_probe(*train, test_x, test_y)
    answers, clear = plain_probe(*train, test_x, C)
    assert result.C == C and clear.float().mean() > 0.8
    assert linear_probe(*train, test_x[clear], answers[clear]).accuracy == 1
    assert result.accuracy == pytest.approx((answers == test_y).double().mean().item(), abs=0.02)
    assert 0.4 < result.accuracy < 1


@pytest.mark.parametrize("n, d", [(60, 150), (90, 10)])
def test_probe_chooses_c_by_cross_validation(n, d):
    train_x, train_y = gaussians(n, d, gap=0.3)
    z = StandardScaler().fit_transform(train_x.numpy())
    folds = StratifiedKFold(5, shuffle=True, random_state=4)
    search = GridSearchCV(LogisticRegression(max_iter=2000), {"C": PROBE_CS}, cv=folds).fit(
        z, train_y.numpy()
    )
    chosen = linear_probe(train_x, train_y, train_x, train_y, seed=4).C
    scores = dict(zip(PROBE_CS, search.cv_results_["mean_test_score"], strict=True))
    assert scores[chosen] == pytest.approx(
        max(scores.values()), abs=1.5 / n
    )  # one borderline image may differ


def test_probe_never_sees_the_test_labels():
    train, (test_x, test_y) = gaussians(60, 20, gap=0.4), gaussians(200, 20, gap=0.4, seed=1)
    shuffled = test_y[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    a, b = linear_probe(*train, test_x, test_y), linear_probe(*train, test_x, shuffled)
    c = linear_probe(*train, 100 * test_x, test_y)
    assert a.C == b.C == c.C and b.accuracy < a.accuracy - 0.2


def test_probe_of_random_labels_is_at_chance():
    (train_x, train_y), (test_x, _) = gaussians(90, 30), gaussians(900, 30, seed=1)
    g = torch.Generator().manual_seed(3)
    result = linear_probe(train_x, train_y[torch.randperm(90, generator=g)], test_x, torch.arange(900) % 3)
    assert abs(result.accuracy - 1 / 3) < 0.08


def test_probe_is_blind_to_scale_and_shift():
    train, test = gaussians(45, 8, gap=0.6), gaussians(300, 8, gap=0.6, seed=1)
    scale, shift = torch.logspace(-3, 3, 8), torch.linspace(-50, 50, 8) * torch.logspace(-3, 3, 8)
    moved = linear_probe(train[0] * scale + shift, train[1], test[0] * scale + shift, test[1])
    assert moved.accuracy == pytest.approx(linear_probe(*train, *test).accuracy, abs=0.01)


@pytest.mark.parametrize("per_class", [1, 2, 3])
def test_probe_with_very_few_labels(per_class):
    train, test = gaussians(3 * per_class, 40, gap=1.0), gaussians(300, 40, gap=1.0, seed=1)
    result = linear_probe(*train, *test)
    assert result.accuracy > 0.7 and result.C in PROBE_CS
    assert result == linear_probe(*train, *test)


def test_probe_with_dead_dimensions():
    train, test = gaussians(30, 50, gap=1.0), gaussians(100, 50, gap=1.0, seed=1)
    dead = torch.arange(50) >= 10
    result = linear_probe(train[0].masked_fill(dead, 2.0), train[1], test[0].masked_fill(dead, 2.0), test[1])
    assert result.accuracy > 0.6


@pytest.mark.parametrize("labels", [torch.zeros(20, dtype=torch.long), torch.full((20,), -1)])
def test_probe_refuses_labels_it_cannot_use(labels):
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError):
        linear_probe(x, labels, x, labels)


# --- label efficiency ------------------------------------------------------------------------------


def test_label_efficiency_rows():
    train, test = gaussians(90, 12, gap=0.7), gaussians(200, 12, gap=0.7, seed=1)
    rows = label_efficiency(*train, *test, per_class=(1, 5), draws=3)
    assert [(r["labels_per_class"], r["labels"], len(r["accuracies"])) for r in rows] == [
        (1, 3, 3),
        (5, 15, 3),
    ]
    for r in rows:
        assert r["mean"] == pytest.approx(np.mean(r["accuracies"]))
        assert r["std"] == pytest.approx(np.std(r["accuracies"], ddof=1))
    assert len(set(rows[0]["accuracies"])) > 1 and rows[1]["mean"] > rows[0]["mean"]
    assert label_efficiency(*train, *test, per_class=(2,), draws=1)[0]["std"] == 0


def test_every_encoder_gets_the_same_draws(monkeypatch):
    from ssl_lessons.evaluation import probes as module

    (train_x, train_y), test = gaussians(60, 6), gaussians(10, 6, seed=1)
    train_x = torch.arange(60.0)[:, None].expand(60, 6) + 0 * train_x  # feature = the image's own number
    seen = []
    monkeypatch.setattr(
        module, "linear_probe", lambda x, y, *_, **__: seen.append(x[:, 0]) or module.ProbeResult(0.0, 1.0)
    )
    for features in (train_x, train_x + 1000):
        label_efficiency(features, train_y, *test, per_class=(1, 3), draws=4)
    first, second = seen[:8], seen[8:]
    assert all(torch.equal(a, b - 1000) for a, b in zip(first, second, strict=True))
    assert len({tuple(a.tolist()) for a in first}) == 8


def test_label_efficiency_refuses_more_labels_than_there_are():
    with pytest.raises(InputError):
        label_efficiency(*gaussians(9, 3), *gaussians(9, 3), per_class=(4,))


# --- factors ---------------------------------------------------------------------------------------


def factors(n, seed):
    g = torch.Generator().manual_seed(seed)
    return {
        "continuous": Factor(torch.rand(n, generator=g), "continuous"),
        "circular": Factor(2 * math.pi * torch.rand(n, generator=g), "circular"),
        "categorical": Factor(torch.randint(0, 4, (n,), generator=g), "categorical"),
    }


def linear_features(f, seed):
    """Six dimensions from which every factor can be read linearly, mixed by one fixed rotation."""
    angle = f["circular"].values
    one_hot = torch.nn.functional.one_hot(f["categorical"].values, 4).float()
    columns = torch.cat([torch.stack([f["continuous"].values, angle.cos(), angle.sin()], 1), one_hot], 1)
    mix, _ = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(5)))
    return 10 * columns @ mix + 3


def test_linear_functions_of_the_factors_score_one():
    train, test = factors(500, 0), factors(400, 1)
    scores = factor_probe(linear_features(train, 0), train, linear_features(test, 1), test)
    assert scores == pytest.approx(dict.fromkeys(train, 1.0), abs=0.01)


def test_noise_scores_about_zero():
    train, test = factors(500, 0), factors(400, 1)
    g = torch.Generator().manual_seed(2)
    scores = factor_probe(torch.randn(500, 10, generator=g), train, torch.randn(400, 10, generator=g), test)
    assert set(scores) == set(train) and all(0 <= s < 0.08 for s in scores.values())


def test_noisy_features_score_their_share():
    """x + noise of equal variance holds half of the variance of x."""
    g = torch.Generator().manual_seed(2)
    x, noise = torch.randn(2, 6000, generator=g)
    f = [{"x": Factor(v, "continuous")} for v in (x[:3000], x[3000:])]
    seen = (x + noise)[:, None]
    assert factor_probe(seen[:3000], f[0], seen[3000:], f[1])["x"] == pytest.approx(0.5, abs=0.05)


def test_an_angle_is_read_as_a_direction():
    """The raw number jumps at 2 pi; a probe of it would do badly just where the picture does not change."""
    train, test = factors(400, 0)["circular"], factors(300, 1)["circular"]

    def features(f):
        return torch.stack([f.values.cos(), f.values.sin()], 1)

    as_circle = factor_probe(features(train), {"a": train}, features(test), {"a": test})["a"]
    line = [Factor(f.values, "continuous") for f in (train, test)]
    as_line = factor_probe(features(train), {"a": line[0]}, features(test), {"a": line[1]})["a"]
    assert as_circle > 0.99 and as_line < 0.8
    half = factor_probe(features(train)[:, :1], {"a": train}, features(test)[:, :1], {"a": test})["a"]
    assert half == pytest.approx(0.5, abs=0.05)  # cos alone: half of the circle


def test_always_guessing_the_most_frequent_scores_zero():
    values = torch.tensor([0] * 90 + [1] * 10)
    g = torch.Generator().manual_seed(0)
    f = {"rare": Factor(values[torch.randperm(100, generator=g)], "categorical")}
    x = torch.randn(100, 3, generator=g)
    assert factor_probe(1e-6 * x, f, 1e-6 * torch.randn(100, 3, generator=g), f)["rare"] < 0.15


@pytest.mark.parametrize("kind", ["categorical", "continuous"])
def test_a_factor_that_never_varies_is_refused(kind):
    """There is nothing to read, so any number would mislead."""
    f = {"fixed": Factor(torch.ones(30, dtype=torch.long if kind == "categorical" else torch.float32), kind)}
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="fixed"):
        factor_probe(x, f, x, f)
