"""Frozen-feature evaluation against plain loops and plain scikit-learn.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from ssl_lessons import data
from ssl_lessons.data import Factor
from ssl_lessons.data.stored import StoredPictures
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import (
    PROBE_CS,
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


class Elsewhere(torch.nn.Module):
    """An encoder that takes note of where it is sent, and stays where it is."""

    def __init__(self, fails=False):
        super().__init__()
        self.weight, self.fails, self.sent = torch.nn.Parameter(torch.ones(1)), fails, []

    def to(self, device):
        self.sent.append(str(device))
        return self

    def forward(self, x):
        if self.fails:
            raise RuntimeError("out of memory")
        return self.weight * x.flatten(1)


@pytest.mark.parametrize("fails", [False, True])
def test_the_gpu_is_used_for_the_time_of_the_call(monkeypatch, fails):
    monkeypatch.setattr("ssl_lessons.evaluation.probes.pick_device", lambda name=None: torch.device("cpu", 0))
    encoder = Elsewhere(fails)
    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            extract_features(encoder, uint8_images())
    else:
        assert torch.equal(extract_features(encoder, uint8_images()), normalize(uint8_images()).flatten(1))
    assert encoder.sent == ["cpu:0", "cpu"] and encoder.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_the_features_are_the_same(encoder):
    images = uint8_images()
    expected = extract_features(encoder, images, device="cpu")
    for asked in ({}, {"device": "cuda"}):
        for there in (images, images.cuda()):
            features = extract_features(encoder, there, **asked)
            assert features.device.type == "cpu" and torch.allclose(features, expected, atol=1e-3)
            assert next(encoder.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    "images, options, words",
    [
        (uint8_images(0), {}, "no images"),
        (uint8_images(2), {"batch_size": 0}, "batch_size"),
        (uint8_images(2), {"device": "gpu"}, "cpu, cuda or mps"),
    ],
)
def test_extraction_refuses(encoder, images, options, words):
    with pytest.raises(InputError, match=words):
        extract_features(encoder, images, **options)


def test_features_of_an_encoder_with_broken_statistics_name_the_cause(encoder):
    encoder.layers[1].running_var.fill_(math.nan)
    h = extract_features(encoder, uint8_images())
    assert h.isnan().all()
    with pytest.raises(InputError, match="10 of 10 training features.*BatchNorm's running statistics"):
        fit_probe(h, torch.arange(10) % 2)


def test_pixels():
    images = uint8_images(4, 5)
    rows = pixels(images)
    assert rows.shape == (4, 75) and rows.dtype == torch.float32
    assert rows[2, 25 + 7].item() == pytest.approx(images[2, 1, 1, 2].item() / 255)


def test_edges_are_the_mean_slope_of_the_brightness():
    images = torch.zeros(2, 3, 9, 9, dtype=torch.uint8)
    images[0] = 51 * torch.arange(9).div(4, rounding_mode="floor").view(1, 1, 9)  # steps of 0.2 at columns 4 and 8
    images[1, 2] = torch.arange(9).view(9, 1) * 30  # blue alone, a ramp downwards: 30 / 3 / 255 everywhere
    found = edges(images, side=2)  # cells of 4 x 4 slopes
    assert found[0].tolist() == pytest.approx([0.05, 0.05, 0.05, 0.05])
    assert found[1].tolist() == pytest.approx([10 / 255] * 4)
    assert edges(uint8_images(3, 32)).shape == (3, 256)
    with pytest.raises(InputError, match="side must be 1 to 8"):
        edges(images, side=9)


def test_purity_counts_the_commonest_label_of_every_cluster():
    clusters, labels = torch.tensor([0, 0, 0, 5, 5, 2]), torch.tensor([1, 1, 3, 0, 3, 3])
    assert purity(clusters, labels) == pytest.approx((2 + 1 + 1) / 6)
    assert purity(torch.arange(6), labels) == 1 and purity(torch.zeros(6, dtype=torch.long), labels) == 0.5


@pytest.mark.parametrize(
    ("clusters", "labels", "words"),
    [
        ([0, 1], [0, 1, 2], "one length"),
        ([], [], "one length"),
        ([0, 1], [0, -1], "leave out pictures without a label"),
        ([0.5, 1.0], [0, 1], "whole numbers"),
    ],
)
def test_purity_refuses(clusters, labels, words):
    with pytest.raises(InputError, match=words):
        purity(torch.tensor(clusters), torch.tensor(labels))


def test_pictures_that_are_read_from_disk_have_the_same_features(encoder, tmp_path):
    images = uint8_images(7)
    stored = np.lib.format.open_memmap(tmp_path / "pixels.npy", "w+", np.uint8, images.shape)
    stored[:] = images.numpy()
    pictures = StoredPictures(stored)
    assert torch.equal(
        extract_features(encoder, pictures, batch_size=3), extract_features(encoder, images, batch_size=3)
    )
    assert torch.equal(pixels(pictures), pixels(images))


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


@pytest.mark.parametrize("k", [1, 5])
def test_low_temperatures_come_down_to_the_nearest(k):
    """At k = 1 the temperature changes nothing; as it falls, no vote vanishes altogether."""
    bank, labels = torch.eye(3), torch.tensor([0, 1, 2])
    query = torch.tensor([[-1.0, 0.5, -1.0], [-1.0, -1.0, 0.5]])  # similarities of 1/3 and less
    for temperature in (1.0, 0.07, 1e-3, 1e-6):
        assert knn_accuracy(bank, labels, query, torch.tensor([1, 2]), k=k, temperature=temperature) == 1


def neighbours(n=60):
    """Three tight groups, 40 rows to vote and 20 to classify: every measure should give 1."""
    y = torch.arange(n) % 3
    x = torch.eye(3)[y] + 0.1 * torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return x[:40], y[:40], x[40:], y[40:]


def precision(train_x, train_y, test_x, test_y):
    return precision_at_k(train_x, train_y, k=5)


def probed(*split):
    return linear_probe(*split).accuracy


def efficiency(*split):
    return label_efficiency(*split, per_class=(5,), draws=2)[0]["mean"]


MEASURES = {"kNN": knn_accuracy, "precision": precision, "probe": probed, "label efficiency": efficiency}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("label_dtype", [torch.uint8, torch.int32, torch.int64])
def test_every_precision_is_good_enough(measure, dtype, label_dtype):
    a, b, c, d = neighbours()
    assert MEASURES[measure](a.to(dtype), b.to(label_dtype), c.to(dtype), d.to(label_dtype)) == 1


def broken(position, change):
    """The four arguments with one changed."""
    split = list(neighbours())
    split[position] = change(split[position].clone())
    return split


def first(value):
    def change(x):
        x[0] = value
        return x

    return change


SPLITS = {
    "NaN to learn from": (0, first(math.nan), "training features hold NaN.*BatchNorm"),
    "NaN to classify": (2, first(math.nan), "test features hold NaN"),
    "infinite": (0, first(-math.inf), "1 of 40 training features hold NaN or infinity"),
    "unlabelled to learn from": (1, first(-1), r"training labels.*unlabelled ones \(-1\)"),
    "unlabelled to classify": (3, first(-1), r"test labels.*unlabelled ones \(-1\)"),
    "a label too few": (1, lambda y: y[1:], "training labels must be a tensor of 40 whole numbers"),
    "a test label too few": (3, lambda y: y[1:], "test labels must be a tensor of 20 whole numbers"),
    "labels that are floats": (1, lambda y: y.float(), "40 whole numbers, one per image, not torch.float32"),
    "labels as rows": (3, lambda y: y[:, None], "20 whole numbers"),
    "images": (0, lambda x: x.view(40, 3, 1, 1), "flatten"),
    "nothing to classify": (2, lambda x: x[:0], "test features are empty"),
    "nothing to learn from": (0, lambda x: x[:0], "training features are empty"),
    "another encoder": (2, lambda x: x[:, :2], "3 and 2 dimensions"),
    "an array": (0, lambda x: x.numpy(), "must be a tensor of numbers"),
}


LABELS_TO_LEARN_FROM = ("unlabelled to learn from", "a label too few", "labels that are floats")


@pytest.mark.parametrize("measure", [knn_accuracy, linear_probe])
@pytest.mark.parametrize("what", SPLITS)
def test_what_cannot_be_measured_is_refused(measure, what):
    position, change, words = SPLITS[what]
    with pytest.raises(InputError, match=words):
        measure(*broken(position, change))


@pytest.mark.parametrize("what", [w for w in SPLITS if w not in LABELS_TO_LEARN_FROM])
def test_label_efficiency_refuses_it_too(what):
    position, change, words = SPLITS[what]
    with pytest.raises(InputError, match=words):
        label_efficiency(*broken(position, change), per_class=(5,), draws=1)


def test_label_efficiency_draws_no_unlabelled_image():
    train_x, train_y, test_x, test_y = neighbours()
    train_x[::2], train_y[::2] = 100.0, -1
    assert label_efficiency(train_x, train_y, test_x, test_y, per_class=(3,), draws=3)[0]["mean"] == 1


@pytest.mark.parametrize("change", [{"draws": 0}, {"train_y": torch.zeros(3, dtype=torch.long)}])
def test_label_efficiency_refuses(change):
    split = dict(zip(("train_x", "train_y", "test_x", "test_y"), neighbours(), strict=True))
    with pytest.raises(InputError, match="at least one draw"):
        label_efficiency(**split | change, per_class=(2,))


def test_precision_counts_the_right_neighbours():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    assert precision_at_k(x, torch.tensor([0, 0, 1, 1]), k=1) == 0.5  # of 0, 1; the others' nearest is 2 or 1
    assert precision_at_k(x, torch.tensor([0, 0, 1, 1]), k=3) == pytest.approx(1 / 3)


@pytest.mark.parametrize("k", [0, 40, 41])
def test_precision_refuses_as_many_neighbours_as_there_are_images(k):
    x, y, *_ = neighbours()
    with pytest.raises(InputError, match="from 1 to 39"):
        precision_at_k(x, y, k=k)


@pytest.mark.parametrize("position, change", [(0, first(math.nan)), (1, first(-1)), (1, lambda y: y[1:])])
def test_precision_refuses(position, change):
    with pytest.raises(InputError):
        precision_at_k(*broken(position, change)[:2])


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


def digits(counts):
    """The first counts[c] pictures of each digit c to learn from, and the test split: pixels and labels."""
    train, test = data.digits("train"), data.digits("test")
    rows = torch.cat([(train.labels == c).nonzero().flatten()[:n] for c, n in enumerate(counts)])
    return pixels(train.images)[rows], train.labels[rows], pixels(test.images), test.labels


def test_one_rare_class_does_not_undo_the_validation():
    """241 labels, two of them nines: leaving out one nine cost 18 points when it set C to 0.01 for everybody."""
    common = (60, 50, 40, 30, 20, 15, 10, 8, 6)
    two, one = (linear_probe(*digits((*common, nines))) for nines in (2, 1))
    assert two.accuracy > 0.78 and one.accuracy > two.accuracy - 0.05
    assert two.C > 0.01 and one.C > 0.01


def folds_of(monkeypatch, counts):
    """The classes that train and validate in each fold of the cross-validation, for labels with these counts."""
    from sklearn import model_selection

    seen = []

    class Watched(model_selection.GridSearchCV):
        def fit(self, *data):
            seen.extend(self.cv)
            return super().fit(*data)

    monkeypatch.setattr(model_selection, "GridSearchCV", Watched)
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    x = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = linear_probe(x, y, x, y).C
    assert all(sorted([*train, *test]) == list(range(len(y))) for train, test in seen)
    return [(set(y[train].tolist()), y[test].tolist()) for train, test in seen], chosen


@pytest.mark.parametrize(
    "counts, folds",
    [((3, 3), 3), ((25, 25), 5), ((40, 1), 5), ((2, 1, 1), 2), ((4, 2, 3, 1), 4), ((9, 2), 5)],
)
def test_as_many_folds_as_the_largest_class_allows_and_all_classes_in_each(monkeypatch, counts, folds):
    seen, _ = folds_of(monkeypatch, counts)
    assert len(seen) == folds and all(train == set(range(len(counts))) for train, _ in seen)
    validated = sorted(y for _, test in seen for y in test)
    assert validated == [c for c, n in enumerate(counts) if n > 1 for _ in range(n)]


def test_one_label_of_each_class_leaves_nothing_to_validate(monkeypatch):
    assert folds_of(monkeypatch, (1, 1, 1)) == ([], 0.01)


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


FACTORS_TO_REFUSE = {
    "lacking": (lambda f: {}, "lacks the factor 'a'"),
    "too short": (lambda f: {"a": Factor(f.values[1:], f.kind)}, "one finite value for each of 30"),
    "NaN": (lambda f: {"a": Factor(f.values * math.nan, f.kind)}, "one finite value for each of 30"),
    "negative": (lambda f: {"a": Factor(-f.values.long() - 1, "categorical")}, "one finite|whole numbers"),
}


@pytest.mark.parametrize("what", FACTORS_TO_REFUSE)
def test_factors_that_cannot_be_read_are_refused(what):
    change, words = FACTORS_TO_REFUSE[what]
    f = {"a": Factor(torch.arange(30.0), "continuous")}
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=words):
        factor_probe(x, f if what != "negative" else change(f["a"]), x, change(f["a"]))
    with pytest.raises(InputError, match="hold NaN"):
        factor_probe(x * math.nan, f, x, f)


def test_labels_needed_goes_along_the_logarithm():
    counts, curve = (2, 10, 50), (0.2, 0.4, 0.6)
    assert labels_needed(counts, curve, 0.3) == pytest.approx(math.sqrt(20))
    assert labels_needed(counts, curve, 0.6) == pytest.approx(50)
    assert labels_needed(counts, curve, 0.1) == 2
    assert labels_needed(counts, curve, 0.7) == math.inf
    assert labels_needed((1, 4, 16, 64), (0.1, 0.3, 0.2, 0.5), 0.2) == pytest.approx(2)


@pytest.mark.parametrize(
    ("counts", "curve"),
    [((), ()), ((2, 10), (0.2,)), ((10, 2), (0.2, 0.3)), ((0, 2), (0.2, 0.3)), ((2, 10), (0.2, math.nan))],
)
def test_labels_needed_refuses_what_is_no_curve(counts, curve):
    with pytest.raises(InputError, match="rising numbers of labels"):
        labels_needed(counts, curve, 0.3)
