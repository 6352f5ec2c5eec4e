"""Scenes with captions: factors are what they say, captions speak of what they should, and towers learn from them."""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import captions, encoders, exams, objectives, world
from ssl_lessons.training import fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def some() -> world.Scenes:
    return world.scenes("train", 1200)


@pytest.fixture(scope="module")
def two() -> world.Scenes:
    return world.two_things("train", 400)


def test_the_same_seed_draws_the_same_scenes_and_splits_share_none(some):
    again = world.scenes("train", 1200)
    assert torch.equal(some.pictures, again.pictures) and torch.equal(some.ids, again.ids)
    pictures = {p.numpy().tobytes() for p in some.pictures}
    for other in (
        world.scenes("test", 300),
        world.scenes("unlabeled", 300),
        world.scenes("train", 300, seed=1),
    ):
        assert not pictures & {p.numpy().tobytes() for p in other.pictures}


def test_factors_are_balanced_and_independent(some):
    for name, options in world.FACTORS.items():
        assert some.factors[name].bincount(minlength=options).min() > 0.7 * 1200 / options
    for a, b in itertools.combinations(world.FACTORS, 2):
        joint = some.factors[a] * world.FACTORS[b] + some.factors[b]
        cells = world.FACTORS[a] * world.FACTORS[b]
        counts = joint.bincount(minlength=cells).float()
        chi = ((counts - 1200 / cells).square() / (1200 / cells)).sum()
        assert chi < cells + 4 * math.sqrt(2 * cells), (a, b)


def test_pictures_show_their_factors(some):
    """By rules, not by training: the ground's brightness, and hue and place of the pixels with the most colour."""
    x = some.pictures.float() / 255
    light = x.mean(dim=1).flatten(1).median(dim=1).values > 0.5
    assert (light.long() == some.factors["ground"]).float().mean() > 0.98
    vivid = x.amax(dim=1) - x.amin(dim=1) > 0.45  # [N, S, S]
    area = vivid.flatten(1).sum(dim=1).clamp(min=1)
    mean = (x * vivid[:, None]).flatten(2).sum(dim=2) / area[:, None]
    hue = torch.atan2(3**0.5 / 2 * (mean[:, 1] - mean[:, 2]), mean[:, 0] - mean[:, 1:].mean(dim=1))
    hue = (hue / (2 * math.pi) * 6).round().long() % 6
    assert (hue == some.factors["colour"]).float().mean() > 0.95
    grid = torch.arange(24.0)
    right = (vivid.sum(dim=1) * grid).sum(dim=1) / area > 11.5
    down = (vivid.sum(dim=2) * grid).sum(dim=1) / area > 11.5
    assert (2 * down.long() + right.long() == some.factors["place"]).float().mean() > 0.97
    small, large = (area[some.factors["size"] == k].float() for k in (0, 1))
    assert small.median() * 2 < large.median()


def test_captions_say_what_is_there_and_only_what_they_may(some):
    silent = world.scenes("train", 300, say=("kind", "colour"))
    for scenes, allowed in ((some, set(captions.SAID)), (silent, {"kind", "colour"})):
        spoken = dict.fromkeys(captions.SAID, 0)
        for i, text in enumerate(scenes.texts):
            for name, words in captions.SAID.items():
                said = [k for k, word in enumerate(words) if f" {word} " in f" {text} "]
                assert said in ([], [int(scenes.factors[name][i])]), text
                spoken[name] += bool(said)
        assert {name for name, count in spoken.items() if count} == allowed
        assert spoken["kind"] == len(scenes)
        assert all(0.6 < spoken[name] / len(scenes) < 0.8 for name in allowed - {"kind"})
    assert len({text.split()[0] for text in some.texts}) >= 4  # four ways to begin


def test_words_and_numbers_go_back_and_forth():
    texts = ["a large red disc at the top left on a dark ground", "something"]
    assert captions.decode(captions.encode(texts)) == texts
    assert captions.encode(["a purple disc"])[0, 1] == captions.UNKNOWN
    assert not torch.isin(
        captions.encode([p.format("disc") for p in captions.PROMPTS]), captions.UNKNOWN
    ).any()
    full = {name: 1 for name in captions.SAID}
    for style in range(captions.STYLES):
        assert (captions.encode([captions.describe(full, style)]) != captions.UNKNOWN).all()
    assert captions.describe(full, 1) == "the square is yellow and large at the top right on a light ground"
    assert captions.describe(full, 1, ("size",)) == "the something is large"


def test_a_known_share_of_captions_is_wrong():
    clean, spoiled = world.scenes("train", 1000), world.scenes("train", 1000, wrong=0.3)
    assert clean.right.all() and int((~spoiled.right).sum()) == 300
    assert torch.equal(spoiled.ids[spoiled.right], clean.ids[spoiled.right])
    moved = (spoiled.ids != clean.ids).any(dim=1)
    assert not moved[spoiled.right].any() and moved[~spoiled.right].float().mean() > 0.9
    key = [tuple(sorted(map(tuple, s.ids.tolist()))) for s in (clean, spoiled)]
    assert key[0] == key[1]  # the same captions, at other pictures


def test_unseen_combinations_are_never_seen_and_their_parts_are():
    pairs = world.unseen_pairs()
    assert sorted(p // 6 for p in pairs) == sorted(p % 6 for p in pairs) == list(range(6))
    for unseen in (True, False):
        drawn = world.scenes("train", 600, unseen=unseen)
        code = drawn.factors["kind"] * 6 + drawn.factors["colour"]
        assert bool(torch.isin(code, torch.tensor(pairs)).all()) == unseen
        assert torch.isin(code, torch.tensor(pairs)).any() == unseen
        assert len(drawn.factors["kind"].unique()) == len(drawn.factors["colour"].unique()) == 6


def test_swapping_colours_keeps_the_words_and_changes_the_scene(two):
    other = captions.swapped(two.ids)
    assert torch.equal(two.ids.sort(dim=1).values, other.sort(dim=1).values)
    assert (two.ids != other).any(dim=1).all() and torch.equal(captions.swapped(other), two.ids)
    i = next(i for i, text in enumerate(two.texts) if "left" in text)
    left, right = (
        (int(two.factors[f"{s} kind"][i]), int(two.factors[f"{s} colour"][i])) for s in ("left", "right")
    )
    assert two.texts[i] == captions.describe_two(left, right)
    assert captions.decode(other)[i] == captions.describe_two((left[0], right[1]), (right[0], left[1]))


def test_half_of_the_scenes_never_has_a_scene_and_its_swap():
    def signs(half):
        drawn = world.two_things("train", 2000, half=half, placed=False)
        kinds, colours = (
            torch.stack([drawn.factors[f"{s} {name}"] for s in ("left", "right")], dim=1)
            for name in ("kind", "colour")
        )
        order = kinds.argsort(dim=1)  # who stands where does not matter
        return set(map(tuple, torch.cat([kinds.gather(1, order), colours.gather(1, order)], dim=1).tolist()))

    some, others = signs(True), signs(False)
    assert not some & others and len(some) > 200 and len(others) > 200
    assert {(a, b, d, c) for a, b, c, d in some} & others
    drawn = world.two_things("train", 50, placed=False)
    assert all(" and " in text and "left" not in text and "right" not in text for text in drawn.texts)


def test_a_bag_of_words_cannot_tell_a_caption_from_its_swap(two):
    towers = encoders.towers(0, encoders.BagOfWords)
    assert exams.prefers_own(towers, two) == 0.5
    towers = encoders.towers(0)
    assert not torch.allclose(
        exams.read(towers, two.ids), exams.read(towers, captions.swapped(two.ids)), atol=1e-4
    )


def test_padding_changes_nothing():
    texts = ["a red disc", "the ring is large"]
    for reader in (encoders.Sentence, encoders.BagOfWords):
        net = encoders.towers(0, reader)
        short, long = (net.text(captions.encode(texts, length)) for length in (6, 16))
        assert torch.allclose(short, long, atol=1e-5)


def test_towers_are_drawn_from_the_seed_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    first, again, other = (encoders.towers(s).from_eye.weight for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    assert encoders.towers(0).scale.item() == pytest.approx(10)
    assert encoders.Towers(
        encoders.PictureNet(), encoders.BagOfWords(), scale=500
    ).scale.item() == pytest.approx(100)


def test_clip_learns_kinds_and_colours_in_a_moment(some):
    towers = encoders.towers(0, encoders.BagOfWords)
    test = world.scenes("test", 400)
    before = exams.zero_shot(towers, test, "colour")
    task = objectives.Captioned(towers, some, batch=64)
    history = fit(task, task, 80, lr=4e-3)
    assert sum(history[-10:]) < 0.8 * sum(history[:10])
    after = exams.zero_shot(towers, test, "colour")
    assert after > before + 0.3 and after > 0.6  # chance: 1 / 6


@pytest.mark.parametrize("loss", objectives.ASKED)
def test_every_way_to_ask_gives_a_gradient_to_both_towers(loss, two):
    towers = encoders.towers(0)
    task = objectives.Captioned(towers, two, loss, batch=8, augmented=True, swapped=loss != "siglip")
    task(seeded()).backward()
    moved = {name for name, p in towers.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    wanted = {
        "eye.convs.0.weight",
        "reader.words.weight",
        "from_eye.weight",
        "from_reader.weight",
        "log_scale",
    }
    assert wanted <= moved and ("bias" in moved) == (loss == "siglip")


def test_a_bag_holds_the_own_caption_among_others(some):
    task = objectives.Bags(encoders.towers(0), some, size=4)
    assert torch.equal(task.candidates[:, 0], torch.arange(1200)) and task.candidates.shape == (1200, 4)
    assert not (task.candidates[:, 1:] == task.candidates[:, :1]).any()
    for loss in objectives.BAGS:
        value = objectives.Bags(encoders.towers(0), some, loss, batch=8)(seeded())
        assert value.isfinite() and value > 0


def test_slip_adds_two_losses(some):
    towers = encoders.towers(0)
    task = objectives.Slip(towers, some, batch=16)
    g = seeded()
    parts = task.captioned(g) + task.views(g)
    assert task(seeded()).item() == pytest.approx(parts.item(), rel=1e-5)
    assert task.views.eye is towers.eye


def test_the_gap_is_the_distance_of_the_means_and_can_be_closed():
    u, v = torch.randn(500, 8, generator=seeded()), torch.randn(500, 8, generator=seeded(1))
    u[:, 0], v[:, 0] = u[:, 0] + 3, v[:, 0] - 3
    assert exams.gap(u, v) > 1.2
    assert exams.gap(*exams.closed(u, v)) < 0.2 * exams.gap(u, v)
    assert exams.gap(u, u) == 0


def test_zero_shot_with_perfect_vectors_is_perfect(some):
    """An eye that reads the factor from the first pixel, and words that are its values."""
    vectors = torch.eye(6)
    marked = some.pictures[:, :1, :1, :1].clone()
    marked[:, 0, 0, 0] = some.factors["colour"].byte()

    class Known(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = torch.nn.Parameter(torch.zeros(()))

        def picture(self, pictures):
            return vectors[pictures[:, 0, 0, 0].long()]

        def text(self, ids):
            return vectors[ids[:, 1] - captions.encode(["red"])[0, 0]]

    known, shown = Known(), world.Scenes(marked, some.ids, some.factors, some.right)
    assert captions.encode(captions.SAID["colour"])[:, 0].diff().eq(1).all()
    assert exams.zero_shot(known, shown, "colour") == 1
    assert (
        exams.class_vectors(encoders.towers(0), "colour", captions.PROMPTS[:2])
        .norm(dim=1)
        .allclose(torch.ones(6))
    )


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: world.scenes("dev", 3), "split"),
        (lambda: world.scenes("train", 3, wrong=2.0), "from 0 to 1"),
        (lambda: captions.describe({n: 0 for n in captions.SAID}, 9), "style"),
        (lambda: captions.describe({n: 0 for n in captions.SAID}, 0, ("weight",)), "say takes"),
        (lambda: captions.describe_two((0, 0), (1, 1), 4), "style 0 to 3"),
        (lambda: captions.encode([""]), "1 to 16 words"),
        (lambda: captions.swapped(captions.encode(["a red disc"])), "two colours"),
        (lambda: captions.prompts("weight"), "factor"),
        (lambda: captions.prompts("kind", "no braces"), "template"),
        (lambda: objectives.Captioned(encoders.towers(0), None, "blip"), "one of"),
        (lambda: objectives.Bags(encoders.towers(0), [0], "mil"), "one of"),
        (lambda: exams.class_vectors(encoders.towers(0), "kind", ()), "at least one template"),
        (lambda: encoders.towers(0).text(captions.encode(["a"], 20)), "positions"),
    ],
)
def test_bad_input_gets_one_clear_error(call, says):
    with pytest.raises(InputError, match=says):
        call()
