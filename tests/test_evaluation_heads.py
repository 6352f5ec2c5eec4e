"""Richer probes, dense probes, retrieval, and the masks of the drawn world."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, jaccard_score
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import interpolate, normalize

from ssl_lessons import data, evaluation
from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.evaluation import dense
from ssl_lessons.evaluation.heads import MLP_PENALTIES
from ssl_lessons.evaluation.probes import folds_of
from ssl_lessons.models import build_encoder


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes_of(n, classes, seed=0):
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def test_features_whose_squares_overflow_are_refused():
    x, y = draw(6, 3), torch.arange(6) % 2
    with pytest.raises(NotFiniteError, match="reach .*e.30, whose square is no float32"):
        evaluation.knn_accuracy(1e30 * x / x.abs().max(), y, x, y)
    assert evaluation.knn_accuracy(1e17 * x, y, x, y, k=1) == 1


# --- a hidden layer ----------------------------------------------------------------------------------------


def exclusive_or(n, seed):
    x = draw(n, 6, seed=seed)
    return x, ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()


def test_a_hidden_layer_reads_what_no_line_separates():
    train, test = exclusive_or(400, 0), exclusive_or(400, 1)
    assert evaluation.linear_probe(*train, *test).accuracy < 0.6
    assert evaluation.mlp_probe(*train, *test, hidden=32).accuracy > 0.85


def test_the_mlp_probe_is_scikit_learns_with_a_validated_penalty():
    (x, y), (test_x, test_y) = exclusive_or(120, 0), exclusive_or(80, 1)
    scaler = StandardScaler().fit(x)
    model = MLPClassifier((8,), solver="lbfgs", max_iter=200, random_state=3)
    search = GridSearchCV(model, {"alpha": MLP_PENALTIES}, cv=folds_of(y.numpy(), 3)).fit(scaler.transform(x), y)
    found = evaluation.mlp_probe(x, y, test_x, test_y, hidden=8, seed=3)
    assert found.penalty == search.best_params_["alpha"]
    assert found.accuracy == pytest.approx(search.score(scaler.transform(test_x), test_y))


@pytest.mark.parametrize("change, words", [({"hidden": 0}, "at least 1 unit"), ({}, "at least two labels")])
def test_the_mlp_probe_refuses(change, words):
    x, y = draw(3, 4), torch.arange(3)
    with pytest.raises(InputError, match=words):
        evaluation.mlp_probe(x, y, x, y, **change)


# --- attention over tokens ---------------------------------------------------------------------------------


def test_attentive_pooling_equals_loops():
    pool = evaluation.AttentivePool(6, queries=3)
    torch.nn.init.normal_(pool.queries)
    x = draw(2, 5, 6)
    expected = torch.zeros(2, 6)
    for n in range(2):
        for j, query in enumerate(pool.queries):
            scores = torch.tensor([float(token @ query) / 6**0.5 for token in x[n]])
            weights = scores.exp() / scores.exp().sum()
            for t, token in enumerate(x[n]):
                expected[n, 2 * j : 2 * j + 2] += weights[t] * (pool.values.weight @ token)[2 * j : 2 * j + 2]
    assert torch.allclose(pool(x), expected, atol=1e-5)


def test_attentive_pooling_starts_as_the_mean_and_knows_no_order():
    pool, x = evaluation.AttentivePool(8), draw(3, 5, 8)
    assert torch.allclose(pool(x), pool.values(x.mean(dim=1)), atol=1e-6)
    torch.nn.init.normal_(pool.queries)
    assert torch.allclose(pool(x), pool(x.flip(1)), atol=1e-5)
    assert torch.allclose(pool.attention(x).sum(dim=2), torch.ones(3, 4), atol=1e-6)


def hidden_among(n, seed):
    """One token of 12 is marked in dimension 0; its dimension 1 tells the class, that of the others is noise."""
    x, y = 3 * draw(n, 12, 8, seed=seed), classes_of(n, 2, seed)
    place = classes_of(n, 12, seed + 1)
    x[..., 0] = 0
    x[range(n), place, 0] = 6
    x[range(n), place, 1] = 2.0 * y - 1
    return x, y


def test_attention_finds_the_token_that_the_mean_drowns():
    (x, y), (test_x, test_y) = hidden_among(400, 0), hidden_among(400, 5)
    assert evaluation.linear_probe(x.mean(dim=1), y, test_x.mean(dim=1), test_y).accuracy < 0.65
    assert evaluation.attentive_probe(x, y, test_x, test_y).accuracy > 0.85


def test_the_attentive_probe_leaves_the_random_state_alone():
    x, y = draw(20, 3, 4), torch.arange(20) % 2
    before = torch.get_rng_state()
    first = evaluation.attentive_probe(x, y, x, y, steps=2)
    assert torch.equal(torch.get_rng_state(), before) and first == evaluation.attentive_probe(x, y, x, y, steps=2)


@pytest.mark.parametrize(
    "x, y, options, words",
    [
        (draw(6, 4), torch.arange(6) % 2, {}, "reads tokens"),
        (draw(6, 3, 4), torch.arange(6) % 2, {"queries": 3}, "shared equally"),
        (draw(2, 3, 4), torch.arange(2), {}, "at least two labels"),
    ],
)
def test_the_attentive_probe_refuses(x, y, options, words):
    with pytest.raises(InputError, match=words):
        evaluation.attentive_probe(x, y, x, y, **options)


# --- retrieval ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_average_precision_is_scikit_learns(own):
    x, y = draw(60, 5), classes_of(60, 4)
    gallery, gallery_y = (x, y) if own else (draw(90, 5, seed=1), classes_of(90, 4, 1))
    similarity = normalize(x, dim=1) @ normalize(gallery, dim=1).T
    expected = []
    for i in range(60):
        keep = torch.arange(len(gallery)) != i if own else torch.ones(len(gallery), dtype=torch.bool)
        expected.append(average_precision_score(gallery_y[keep] == y[i], similarity[i, keep]))
    rest = {} if own else {"gallery": gallery, "gallery_labels": gallery_y}
    assert evaluation.mean_average_precision(x, y, **rest) == pytest.approx(np.mean(expected), abs=1e-6)


def test_retrieval_at_its_ends():
    y = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    assert evaluation.mean_average_precision(apart, y) == 1 and evaluation.recall_at_k(apart, y) == 1
    crossed = y[[0, 2, 1, 3]]  # the nearest is always of the other kind
    assert evaluation.recall_at_k(apart, crossed) == 0 and evaluation.recall_at_k(apart, crossed, k=3) == 1


def test_a_large_set_of_queries_is_searched_in_parts():
    x, y = draw(1500, 3), classes_of(1500, 30)
    nearest = (normalize(x, dim=1) @ normalize(x, dim=1).T).fill_diagonal_(-2).argmax(dim=1)
    assert evaluation.recall_at_k(x, y) == pytest.approx(float((y[nearest] == y).float().mean()))


def test_a_query_without_its_like_does_not_count():
    x, y = torch.eye(3), torch.tensor([0, 0, 1])
    assert evaluation.recall_at_k(x, y, k=2) == 1
    with pytest.raises(InputError, match="no query has"):
        evaluation.mean_average_precision(x, torch.arange(3))


@pytest.mark.parametrize("options, words", [({"k": 3}, "from 1 to 2"), ({"gallery": torch.eye(3)}, "together")])
def test_retrieval_refuses(options, words):
    with pytest.raises(InputError, match=words):
        evaluation.recall_at_k(torch.eye(3), torch.tensor([0, 0, 1]), **options)


# --- what features know at a place ---------------------------------------------------------------------------


def test_intersection_over_union_is_the_jaccard_score():
    truth, predicted = classes_of(500, 4).view(5, 10, 10), classes_of(500, 4, 1).view(5, 10, 10)
    expected = jaccard_score(truth.flatten(), predicted.flatten(), average=None)
    assert torch.allclose(dense.intersection_over_union(predicted, truth, 4), torch.tensor(expected))
    assert dense.intersection_over_union(predicted, truth, 5)[4].isnan()


@pytest.mark.parametrize("predicted", [torch.zeros(2, 2), torch.full((2, 2), 3), torch.zeros(3, 2).long()])
def test_intersection_over_union_refuses(predicted):
    with pytest.raises(InputError, match="prediction and truth"):
        dense.intersection_over_union(predicted, torch.zeros(2, 2).long(), 2)


def contour_by_hand(mask):
    """Pixels (row, column) of a list of lists of 0 and 1 that differ from a neighbour to the right or below."""
    h, w = len(mask), len(mask[0])
    steps = ((0, 1), (1, 0), (1, 1))
    return [
        (i, j) for i in range(h) for j in range(w)
        if any(i + a < h and j + b < w and mask[i][j] != mask[i + a][j + b] for a, b in steps)
        or (i == h - 1 and j + 1 < w and mask[i][j] != mask[i][j + 1])
        or (j == w - 1 and i + 1 < h and mask[i][j] != mask[i + 1][j])
    ]  # fmt: skip


def j_and_f_by_hand(predicted, truth, radius):
    """J and F of two masks, pixel by pixel in whole numbers until the last divisions."""
    pairs = [(p, t) for rows in zip(predicted, truth, strict=True) for p, t in zip(*rows, strict=True)]
    shared, either = (sum(f(p, t) for p, t in pairs) for f in (min, max))
    lines = [contour_by_hand(predicted), contour_by_hand(truth)]
    shares = []
    for line, other in (lines, lines[::-1]):
        near = sum(any((i - k) ** 2 + (j - m) ** 2 <= radius**2 for k, m in other) for i, j in line)
        shares.append(near / len(line) if line else 1.0)
    f = 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0
    return shared / either if either else 1.0, f


@pytest.mark.parametrize(
    "size, tolerance, radius", [((9, 11), 0.008, 1), ((14, 19), 0.08, 2), ((21, 18), 0.1, 3)]
)
def test_region_and_contour_equal_loops_over_pixels(size, tolerance, radius):
    coarse = draw(2, 12, 1, 4, 4)
    rough, smooth = draw(2, 12, *size) > 2, interpolate(coarse.flatten(0, 1), size, mode="bilinear") > 0.2
    masks = torch.cat([rough, smooth.view(2, 12, *size), torch.zeros(2, 3, *size).bool()], dim=1)
    masks[0, -3], masks[:, -2] = True, True  # all of it; both all of it; the last pair is empty
    predicted, truth = masks
    expected = [j_and_f_by_hand(*pair.int().tolist(), radius) for pair in masks.movedim(1, 0)]
    j = evaluation.region_similarity(predicted, truth)
    f = evaluation.contour_accuracy(predicted, truth, tolerance)
    assert j.dtype == f.dtype == torch.float64
    assert torch.allclose(torch.stack([j, f], dim=1), torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert torch.equal(f, evaluation.contour_accuracy(truth, predicted, tolerance))
    assert ((f > 0.1) & (f < 0.9)).sum() >= 8  # equality at the ends alone would say little


def disc(centre, side=32, radius=7.0):
    """bool [1, side, side]"""
    x = torch.arange(side) - centre[1], torch.arange(side) - centre[0]
    return (x[0] ** 2 + x[1][:, None] ** 2 < radius**2)[None]


def test_a_contour_is_forgiven_one_pixel_of_32_and_no_more():
    here = disc((13, 13))
    for shift in ((0, 0), (0, 1), (1, 0)):
        assert evaluation.contour_accuracy(disc((13 + shift[0], 13 + shift[1])), here) == 1
    moved = [float(evaluation.contour_accuracy(disc((13, 13 + k)), here)) for k in range(1, 5)]
    assert moved == sorted(moved, reverse=True) and moved[1] < 0.9 and moved[3] > 0
    assert evaluation.contour_accuracy(disc((13, 15)), here, tolerance=2 / 46) == 1


def test_contours_see_what_regions_do_not():
    far, small = disc((24, 24), radius=3), disc((6, 6), radius=3)
    assert evaluation.contour_accuracy(far, small) == evaluation.region_similarity(far, small) == 0
    holed = disc((13, 13)) & ~disc((13, 13), radius=2)
    whole = disc((13, 13))
    assert evaluation.region_similarity(holed, whole) > 0.9 > evaluation.contour_accuracy(holed, whole)


def test_empty_masks_agree_with_each_other_alone():
    empty, full, some = torch.zeros(1, 8, 8).bool(), torch.ones(1, 8, 8).bool(), disc((4, 4), 8, 2)
    for measure in (evaluation.region_similarity, evaluation.contour_accuracy):
        assert measure(empty, empty) == measure(full, full) == 1
        assert measure(empty, some) == measure(some, empty) == 0
    assert evaluation.region_similarity(full, empty) == 0
    # neither has a contour, since the edge of the picture is none
    assert evaluation.contour_accuracy(full, empty) == 1


@pytest.mark.parametrize(
    "predicted, truth, words",
    [
        (torch.zeros(8, 8).bool(), torch.zeros(8, 8).bool(), "of one shape"),
        (torch.zeros(2, 8, 8).bool(), torch.zeros(2, 8, 7).bool(), "of one shape"),
        (torch.zeros(0, 8, 8).bool(), torch.zeros(0, 8, 8).bool(), "of one shape"),
        (torch.zeros(2, 8, 8), torch.zeros(2, 8, 8).bool(), "must be bool"),
    ],
)
def test_region_and_contour_refuse(predicted, truth, words):
    for measure in (evaluation.region_similarity, evaluation.contour_accuracy):
        with pytest.raises(InputError, match=words):
            measure(predicted, truth)
    with pytest.raises(InputError, match="share of the diagonal"):
        evaluation.contour_accuracy(disc((4, 4), 8), disc((4, 4), 8), tolerance=1)


def test_without_enlarging_the_dense_probe_is_logistic_regression_on_pixels():
    x, y = draw(20, 5, 4, 4), classes_of(20 * 16, 3).view(20, 4, 4)
    x[:, 0] += y
    penalty, rows = 1e-2, x.permute(0, 2, 3, 1).reshape(-1, 5)
    weight, bias = dense._fit(x, y, 3, penalty, 200)
    theirs = LogisticRegression(C=1 / (2 * penalty * len(rows)), tol=1e-6, max_iter=500).fit(rows, y.flatten())
    ours = (rows @ weight.T + bias).softmax(dim=1)
    assert torch.allclose(ours, torch.tensor(theirs.predict_proba(rows)).float(), atol=1e-3)


def test_reading_and_enlarging_may_change_places():
    x, readout = draw(2, 5, 3, 3), (draw(2, 5), draw(2))
    first = dense._logits(readout, x, (8, 8))
    large = interpolate(x, (8, 8), mode="bilinear")
    then = torch.einsum("cd,ndhw->nchw", readout[0], large) + readout[1][:, None, None]
    assert torch.allclose(first, then, atol=1e-5)


def test_maps_that_hold_the_mask_are_read_without_fault_and_noise_is_not():
    masks = data.object_masks(data.shapes("train", 16, 40))
    known = torch.cat([masks[:, None].float(), draw(40, 3, 16, 16)], dim=1)
    perfect = evaluation.dense_probe(known[:30], masks[:30], known[30:], masks[30:])
    assert perfect.mean_iou > 0.99 and perfect.accuracy > 0.99 and len(perfect.iou) == 2
    noise = evaluation.dense_probe(known[:30, 1:], masks[:30], known[30:, 1:], masks[30:])
    assert noise.mean_iou < 0.6


@pytest.mark.parametrize(
    "maps, masks, words",
    [
        (draw(8, 4), torch.zeros(8, 6, 6).long(), "reads maps"),
        (draw(8, 4, 2, 2), torch.zeros(8, 6, 6), "a class 0, 1"),
        (draw(8, 4, 2, 2), torch.zeros(8, 6, 6).long(), "two classes"),
        (draw(3, 4, 2, 2), classes_of(108, 2).view(3, 6, 6), "five training pictures"),
    ],
)
def test_the_dense_probe_refuses(maps, masks, words):
    with pytest.raises(InputError, match=words):
        evaluation.dense_probe(maps, masks, maps, masks)


@pytest.mark.parametrize("name", ["convnet", "vit", "resnet18", "resnet18_3x3"])
def test_the_mean_of_an_encoders_maps_is_its_feature(name):
    images = data.shapes("train", 32, 3).images
    encoder = build_encoder(name)
    maps = evaluation.extract_features(encoder, images, maps=True)
    assert maps.ndim == 4 and maps.shape[1] == encoder.dim
    assert torch.allclose(maps.mean(dim=(2, 3)), evaluation.extract_features(encoder, images), atol=1e-5)


def test_object_masks_are_where_the_object_was_painted():
    pictures = data.shapes("test", 32, 300)
    table = {name: factor.values for name, factor in pictures.factors.items()}
    painted = (pictures.images != data.render(table, 32, objects=False)).any(dim=1)
    masks = data.object_masks(pictures)
    assert not (masks & ~painted).any()
    assert 0.8 < masks.sum() / painted.sum() < 1  # what is left are edges, covered by less than half
    with pytest.raises(InputError, match="known masks"):
        data.object_masks(data.shapes("test", 32, 3, objects=False))


def test_carried_labels_follow_their_features():
    """Every place of the second frame is a place of the first, shuffled: its label must come along."""
    g = torch.Generator().manual_seed(0)
    source, labels = torch.randn(3, 16, 4, 4, generator=g), torch.rand(3, 2, 4, 4, generator=g)
    order = torch.randperm(16, generator=g)
    target = 3 * source.flatten(2)[..., order].unflatten(2, (4, 4))
    wanted = labels.flatten(2)[..., order].unflatten(2, (4, 4))
    assert torch.allclose(evaluation.propagate(source, target, labels, k=1), wanted, atol=1e-6)
    assert torch.allclose(evaluation.propagate(source, target, labels, k=5, temperature=1e-3), wanted, atol=1e-4)
    mean = labels.mean(dim=(2, 3), keepdim=True).expand_as(labels)
    flat = evaluation.propagate(source, target, labels, k=16, temperature=1e6)
    assert torch.allclose(flat, mean, atol=1e-4)


@pytest.mark.parametrize(
    "options, words",
    [({"k": 17}, "k must be"), ({"temperature": 0.0}, "temperature above 0"), ({"k": 0}, "k must be")],
)
def test_carrying_refuses(options, words):
    maps, labels = torch.randn(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    with pytest.raises(InputError, match=words):
        evaluation.propagate(maps, maps, labels, **options)
    with pytest.raises(InputError, match="one shape"):
        evaluation.propagate(maps, maps[:1], labels)
    with pytest.raises(InputError, match="labels must be"):
        evaluation.propagate(maps, maps, labels[..., :2])
