"""The embedded world: reproducible, prefix-stable, every factor visible, none of them tied to the kind."""

import pytest
import torch
from scipy.stats import chi2_contingency, f_oneway

from ssl_lessons import data
from ssl_lessons.data.world import CLASSES, COUNTS, FACTORS, TEXTURES, as_image_set
from ssl_lessons.errors import InputError

N = 300


@pytest.fixture(scope="module")
def table():
    return data.sample_factors(N, seed=3)


@pytest.fixture(scope="module")
def pictures(table):
    return data.render(table, 32)


def upright(facing=0, size=48):
    """One plain picture of every kind, upright and centred, with its background alone: int [10, 3, S, S] twice."""
    rows = data.sample_factors(len(CLASSES), seed=0)
    for name in (
        "x",
        "y",
        "rotation",
        "proportion",
        "light_strength",
        "object_texture",
        "background_texture",
    ):
        rows[name] = torch.zeros_like(rows[name])
    for name in ("scale", "contrast", "polarity", "object_hue", "background_hue"):
        rows[name] = rows[name][:1].expand(len(CLASSES))
    rows["kind"] = torch.arange(len(CLASSES))
    rows["facing"] = torch.full_like(rows["kind"], facing)
    return data.render(rows, size).int(), data.render(rows, size, objects=False).int()


def difference(a, b, ground_a, ground_b):
    """Share of the pixels covered by either object whose colour differs visibly."""
    covered = ((a - ground_a).abs().sum(-3) > 60) | ((b - ground_b).abs().sum(-3) > 60)
    return float((((a - b).abs().sum(-3) > 60) & covered).sum() / covered.sum())


# --- reproducibility -------------------------------------------------------------------------------


@pytest.mark.parametrize("split", data.SPLITS)
def test_equal_arguments_give_equal_bits(split):
    a, b = data.shapes(split, 16, 40, seed=5), data.shapes(split, 16, 40, seed=5)
    assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert all(torch.equal(a.factors[k].values, b.factors[k].values) for k in a.factors)


def test_global_random_numbers_play_no_part():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = data.shapes("train", 16, 20)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(a.images, data.shapes("train", 16, 20).images)


def test_seeds_and_splits_differ():
    sets = [data.shapes(split, 16, 30, seed) for split in data.SPLITS for seed in (0, 1)]
    pictures = torch.cat([s.images for s in sets]).flatten(1)
    assert len(pictures.unique(dim=0)) == len(pictures)  # no image of one split or seed in another


@pytest.mark.parametrize("switches", [{}, {"oriented": False}, {"imbalance": 10.0}])
def test_row_i_depends_on_seed_and_i_alone(switches):
    longest = data.sample_factors(2300, seed=4, **switches)
    for n in (1, 7, 999, 1000, 1001, 2001):
        shorter = data.sample_factors(n, seed=4, **switches)
        assert all(torch.equal(shorter[k], longest[k][:n]) for k in FACTORS)
    blocks = torch.stack([longest["x"][:1000], longest["x"][1000:2000]])
    assert not torch.equal(blocks[0], blocks[1])


@pytest.mark.parametrize("n", [1, 3, 17, 256, 257])
def test_fewer_images_are_the_same_images(table, pictures, n):
    assert torch.equal(data.render({k: v[:n] for k, v in table.items()}, 32), pictures[:n])


def test_an_image_does_not_depend_on_its_neighbours(table, pictures):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert torch.equal(data.render({k: v[order] for k, v in table.items()}, 32), pictures[order])


@pytest.mark.parametrize("size", [8, 9, 31, 64, 128])
def test_any_size(table, pictures, size):
    some = data.render({k: v[:12] for k, v in table.items()}, size)
    assert some.shape == (12, 3, size, size) and some.dtype == torch.uint8
    if (
        size == 64
    ):  # the same scene: shrunk to 32 px it looks like the picture drawn at 32 px, and like no other
        small = torch.nn.functional.avg_pool2d(some.float(), 2)
        distance = (small[:, None] - pictures[None, :12].float()).abs().mean((2, 3, 4))
        assert torch.equal(distance.argmin(1), torch.arange(12)) and distance.diag().max() < 10


# --- factors ---------------------------------------------------------------------------------------


def changed(name, rows):
    kind, low, high = FACTORS[name]
    if kind == "categorical":
        return (rows[name] + 1) % high
    return low + (rows[name] - low + (high - low) / 2) % (high - low)


@pytest.mark.parametrize("name", FACTORS)
def test_every_factor_changes_the_picture(table, pictures, name):
    moved = (
        (data.render(table | {name: changed(name, table)}, 32).int() - pictures.int()).abs().amax((1, 2, 3))
    )
    counted = torch.ones(N, dtype=torch.bool)
    if name in ("texture_scale", "texture_angle"):
        counted = (table["object_texture"] > 0) | (table["background_texture"] > 0)
        assert (moved[~counted] == 0).all() and (~counted).any()  # nothing to see without a texture
    if name == "texture_angle":  # half a turn maps checks and dots onto themselves: judge the others
        turned = table["background_texture"]
        counted = (turned == TEXTURES.index("waves")) | (turned == TEXTURES.index("clouds"))
    if name in ("light_angle", "facing"):  # facing has its own test, kind by kind
        counted = (
            table["light_strength"] > 0.02 if name == "light_angle" else table["kind"] == CLASSES.index("cat")
        )
    assert (moved[counted] > 5).all() and counted.sum() > 10


@pytest.mark.parametrize("kind", CLASSES)
def test_facing_can_be_seen_in_every_kind(table, pictures, kind):
    """Captions and the factor probe speak of it for all of them."""
    flipped = data.render(table | {"facing": 1 - table["facing"]}, 32).int()
    rows = table["kind"] == CLASSES.index(kind)
    assert ((flipped - pictures.int())[rows].abs().amax((1, 2, 3)) > 20).all()


@pytest.mark.parametrize("switches", [{}, {"oriented": False}, {"imbalance": 5.0}])
def test_factors_are_independent_of_the_kind(switches):
    rows = data.sample_factors(5000, seed=1, **switches)
    kinds = rows["kind"]
    for name, (type_, _, high) in FACTORS.items():
        if name == "kind":
            continue
        if type_ == "categorical":
            counts = torch.bincount(kinds * high + rows[name], minlength=len(CLASSES) * high).view(-1, high)
            p = chi2_contingency(counts.numpy()).pvalue
        else:
            p = f_oneway(*(rows[name][kinds == k].numpy() for k in range(len(CLASSES)))).pvalue
        assert p > 1e-4, name


def test_factors_fill_their_ranges():
    rows = data.sample_factors(5000, seed=2)
    for name, (type_, low, high) in FACTORS.items():
        values = rows[name]
        assert values.dtype == (torch.int64 if type_ == "categorical" else torch.float32)
        if type_ == "categorical":
            counts = torch.bincount(values, minlength=high)
            assert len(counts) == high and counts.min() > 0.8 * 5000 / high
        else:
            assert low <= values.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < values.max() <= high


def test_unoriented_objects_lie_at_every_angle():
    angles = data.sample_factors(4000, oriented=False)["rotation"]
    turns = torch.histc(angles % (2 * torch.pi), bins=12, min=0, max=2 * torch.pi)
    assert turns.min() > 0.7 * 4000 / 12
    upright_only = data.sample_factors(4000)["rotation"]
    assert upright_only.abs().max() < torch.pi / 4  # or the pretext of predicting rotations has no answer


def test_imbalance_is_the_ratio_of_the_extremes():
    counts = torch.bincount(
        data.sample_factors(20_000, imbalance=8.0)["kind"], minlength=len(CLASSES)
    ).float()
    assert 6 < counts.max() / counts.min() < 11
    steps = counts[:-1] / counts[1:]
    assert (steps > 1).all() and steps.max() / steps.min() < 1.5  # an exponential fall
    even = torch.bincount(data.sample_factors(20_000)["kind"]).float()
    assert even.max() / even.min() < 1.2


def test_only_the_unlabeled_split_is_imbalanced():
    train = data.shapes("train", 8, 500, imbalance=50.0)
    assert torch.equal(train.labels, data.shapes("train", 8, 500).labels)
    crowd = data.shapes("unlabeled", 8, 500, imbalance=50.0).factors["kind"].values
    assert torch.bincount(crowd, minlength=len(CLASSES)).min() < 15


# --- pictures --------------------------------------------------------------------------------------


def test_a_kind_looks_different_when_turned():
    a, ground = upright()
    for quarter in (1, 2, 3):
        turned, turned_ground = (t.rot90(quarter, (2, 3)) for t in (a, ground))
        for kind, name in enumerate(CLASSES):
            assert difference(a[kind], turned[kind], ground[kind], turned_ground[kind]) > 0.3, (name, quarter)


def test_kinds_look_different_from_each_other():
    a, ground = upright()
    for facing in (0, 1):
        b, _ = upright(facing)
        for i in range(len(CLASSES)):
            for j in set(range(len(CLASSES))) - {i}:
                assert difference(a[i], b[j], ground[i], ground[j]) > 0.3, (CLASSES[i], CLASSES[j])


def test_objects_stand_out_and_polarity_is_true(table, pictures):
    alone = data.render(table, 32, objects=False)
    body = (pictures.int() - alone.int()).abs().amax(1) > 40
    gray_object, gray_ground = pictures.float().mean(1), alone.float().mean(1)
    gap = torch.stack(
        [(o[m].mean() - g[m].mean()) / 255 for o, g, m in zip(gray_object, gray_ground, body, strict=True)]
    )
    assert body.flatten(1).float().mean(1).min() > 0.05  # something is there
    assert gap.abs().min() > 0.15
    assert torch.equal(gap > 0, table["polarity"] == 1)


def test_color_does_not_give_the_kind_away():
    rows = data.sample_factors(2000, seed=7)
    colors = data.render(rows, 16).float().mean((2, 3))
    for channel in colors.T:
        groups = [channel[rows["kind"] == k].numpy() for k in range(len(CLASSES))]
        explained = f_oneway(*groups).statistic * 9 / (f_oneway(*groups).statistic * 9 + 1990)
        assert explained < 0.03


# --- the data sets ---------------------------------------------------------------------------------


def test_layout_and_labels():
    for split in data.SPLITS:
        images = data.shapes(split, 8)
        assert len(images) == COUNTS[split] and images.size == 8 and images.split == split
        assert images.classes == CLASSES and set(images.factors) == set(FACTORS)
        if split == "unlabeled":
            assert (images.labels == -1).all()
        else:
            assert torch.equal(images.labels, images.factors["kind"].values)


def test_ten_stratified_folds():
    images = data.shapes("train", 8)
    assert len(images.folds) == 10
    for fold in images.folds:
        assert len(fold.unique()) == 1000
        assert (torch.bincount(images.labels[fold], minlength=len(CLASSES)) == 1000 // len(CLASSES)).all()
    assert not torch.equal(images.folds[0].sort().values, images.folds[1].sort().values)
    again = data.shapes("train", 8).folds
    assert all(torch.equal(a, b) for a, b in zip(images.folds, again, strict=True))
    assert data.shapes("train", 8, 100).folds == () == data.shapes("test", 8, 100).folds


def test_without_objects_the_texture_is_the_label():
    images = data.shapes("train", 32, 200, objects=False)
    assert images.classes == TEXTURES
    assert torch.equal(images.labels, images.factors["background_texture"].values)
    assert not {"kind", "rotation", "object_hue"} & set(images.factors)
    contrast = images.images.float().mean(1).std((1, 2))  # only the light varies on a plain ground
    textured = images.labels > 0
    assert contrast[textured].mean() > 1.3 * contrast[~textured].mean()
    assert (data.shapes("unlabeled", 8, 20, objects=False).labels == -1).all()


def test_without_objects_nothing_of_the_object_shows(table):
    alone = data.render(table, 32, objects=False)
    other = data.sample_factors(N, seed=99)
    hidden = ("kind", "x", "y", "scale", "rotation", "facing", "proportion", "object_hue", "object_texture")
    assert torch.equal(data.render(table | {k: other[k] for k in hidden}, 32, objects=False), alone)


def test_a_table_of_ones_own(table):
    made = as_image_set(table, 16, "test")
    assert len(made) == N and torch.equal(made.labels, table["kind"])


def test_video_moves_smoothly():
    clips = data.video(12, frames=8, size=24, seed=1)
    assert clips.shape == (12, 8, 3, 24, 24) and clips.dtype == torch.uint8
    assert torch.equal(clips, data.video(12, frames=8, size=24, seed=1))

    def step(c):
        return (c[:, 1:].float() - c[:, :-1].float()).abs().mean()

    across = (clips[1:].float() - clips[:-1].float()).abs().mean()
    assert 0 < step(clips) < across / 4
    assert step(data.video(12, frames=29, size=24, seed=1)) < 0.6 * step(clips)  # finer steps
    ends = (clips[:, -1].float() - clips[:, 0].float()).abs().mean((1, 2, 3))
    assert (ends > 0.5).all()  # every clip moves


def test_captions_tell_the_truth():
    images = data.shapes("test", 8, 300)
    f = {name: factor.values for name, factor in images.factors.items()}
    sentences = data.captions(images)
    assert len(sentences) == 300
    for i, sentence in enumerate(sentences):
        words = sentence.split()
        assert words[2] == CLASSES[f["kind"][i]] and [c for c in CLASSES if c in words] == [words[2]]
        assert f"{TEXTURES[f['background_texture'][i]]} background" in sentence
        assert ("light" in words) == bool(f["polarity"][i]) and ("dark" in words) != ("light" in words)
        assert ("facing left" in sentence) == bool(f["facing"][i])
        if "on the left" in sentence or "on the right" in sentence:
            assert (f["x"][i] < 0) == ("on the left" in sentence)
    assert len(set(sentences)) > 100


@pytest.mark.parametrize(
    "call",
    [
        lambda: data.shapes("valid"),
        lambda: data.shapes("train", 4, 10),
        lambda: data.shapes("train", 16, 0),
        lambda: data.shapes("train", 16, -3),
        lambda: data.shapes("unlabeled", 16, 10, imbalance=0.5),
        lambda: data.shapes("unlabeled", 16, 10, imbalance=float("nan")),
        lambda: data.shapes("unlabeled", 16, 10, imbalance=float("inf")),
        lambda: data.render({"kind": torch.zeros(3, dtype=torch.long)}),
        lambda: data.captions(data.shapes("train", 8, 4, objects=False)),
        lambda: data.video(0),
        lambda: data.video(2, frames=0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_a_missing_factor_is_named(table):
    with pytest.raises(InputError, match="light_angle"):
        data.render({k: v for k, v in table.items() if k != "light_angle"})


def test_objects_move_to_other_backgrounds_and_keep_their_contrast():
    images = data.shapes("test", 32, 60)
    partner, masks, grounds = data.same_polarity(images), data.object_masks(images), data.backgrounds(images)
    polarity = images.factors["polarity"].values
    assert torch.equal(polarity[partner], polarity) and (partner != torch.arange(60)).all()
    assert torch.equal(partner.sort().values, torch.arange(60))
    moved = data.on_backgrounds(images, partner)
    where = masks[:, None].expand_as(images.images)
    assert torch.equal(moved.images[where], images.images[where])
    assert torch.equal(moved.images[~where], grounds[partner][~where])
    assert torch.equal(moved.labels, images.labels)


@pytest.mark.parametrize(
    "call",
    [
        lambda s, b: data.backgrounds(b), lambda s, b: data.on_backgrounds(s, torch.zeros(3).long()),
        lambda s, b: data.on_backgrounds(s, torch.full((5,), 5)), lambda s, b: data.same_polarity(s[:1]),
    ],
)  # fmt: skip
def test_other_backgrounds_refuse(call):
    with pytest.raises(InputError):
        call(data.shapes("test", 32, 5), data.shapes("test", 32, 5, objects=False))
