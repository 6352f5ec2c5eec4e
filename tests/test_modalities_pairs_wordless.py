"""Sounds of scenes, channels and places of one picture, programs and their descriptions."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import encoders, programs, sounds, wordless, world
from ssl_lessons.views.color import lab_to_rgb


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def some() -> world.Scenes:
    return world.scenes("train", 400)


@pytest.fixture(scope="module")
def heard(some) -> torch.Tensor:
    return sounds.sounds(some)[0]


def test_a_sound_tells_kind_and_size_and_nothing_else(some):
    """Nearest mean spectrum: far above chance for kind and size, at chance for what a sound cannot know."""
    clean, room = sounds.sounds(some, noise=0.05)
    again, _ = sounds.sounds(some, noise=0.05)
    assert torch.equal(clean, again) and clean.shape == (400, 1, sounds.BANDS, sounds.FRAMES)
    x = clean[:, 0].amax(dim=2) - clean[:, 0].amax(dim=2).mean(dim=1, keepdim=True)
    code = some.factors["kind"] * 2 + some.factors["size"]

    def found(labels, count):
        means = torch.stack([x[:200][labels[:200] == k].mean(dim=0) for k in range(count)])
        return float((torch.cdist(x[200:], means).argmin(dim=1) == labels[200:]).float().mean())

    assert found(code, 12) > 0.7
    assert found(some.factors["colour"], 6) < 0.3 and found(some.factors["ground"], 2) < 0.62
    assert found(room, sounds.ROOMS) < found(code, 12)


def test_a_known_share_of_sounds_is_of_others(some, heard):
    wrong, _ = sounds.sounds(some, wrong=0.5)
    assert int((wrong != heard).flatten(1).any(dim=1).sum()) == 200


def test_lightness_and_colour_are_two_halves_of_a_picture(some):
    light, colour = wordless.lab(some.pictures[:20])
    assert light.shape == (20, 1, 24, 24) and colour.shape == (20, 2, 24, 24)
    assert light.abs().max() <= 1.01 and colour.abs().max() < 2
    back = lab_to_rgb(torch.cat([(light + 1) * 50, colour * 60], dim=1)) * 255
    assert (back - some.pictures[:20].float()).abs().max() < 1.5


def test_splits_show_parts_of_a_picture(some):
    x = encoders.to_float(some.pictures[:20])
    first, second = wordless.rows(some.pictures[:20])
    assert torch.equal(first + second, x) and first.any() and not (first * second).any()
    left, right = wordless.thirds(some.pictures[:20])
    assert torch.equal(left[..., :8], x[..., :8]) and torch.equal(right[..., 16:], x[..., 16:])
    assert not left[..., 8:].any() and not right[..., :16].any()
    for name, (split, channels) in wordless.SPLITS.items():
        assert tuple(v.shape[1] for v in split(some.pictures[:2])) == channels
        assert wordless.TwoEyes(split=name)(some.pictures[:2]).shape == (2, 128)


def test_no_thing_reaches_into_both_thirds(some):
    x = some.pictures.float() / 255
    vivid = x.amax(dim=1) - x.amin(dim=1) > 0.45
    both = vivid[:, :, :8].flatten(1).sum(dim=1).clamp(max=3) * vivid[:, :, 16:].flatten(1).sum(dim=1).clamp(
        max=3
    )
    assert (both >= 4).float().mean() < 0.02  # a pixel of noise may be vivid


def test_silence_takes_the_thing_out_of_a_sound_and_leaves_the_room(some):
    quiet, room = sounds.sounds(some, noise=0.05, silent=True)
    loud, same = sounds.sounds(some, noise=0.05)
    assert torch.equal(room, same) and loud.mean() > quiet.mean() + 0.1
    x = quiet[:, 0].mean(dim=2)
    means = {k: [x[:200][v[:200] == c].mean(dim=0) for c in range(n)]
             for k, v, n in (("room", room, 4), ("kind", some.factors["kind"], 6))}  # fmt: skip
    found = {k: torch.cdist(x[200:], torch.stack(m)).argmin(dim=1) for k, m in means.items()}
    assert (found["room"] == room[200:]).float().mean() > 0.9
    assert (found["kind"] == some.factors["kind"][200:]).float().mean() < 0.3


def test_a_tint_is_that_of_the_room(some):
    room = torch.arange(400) % sounds.ROOMS
    change = (sounds.tinted(some, room, 0.1).pictures.float() - some.pictures).mean(dim=(2, 3))
    for k in range(3):
        assert (change[room == k].argmax(dim=1) == k).all() and (change[room == k].sum(dim=1) > 15).all()
    assert not change[room == 3].any()


def test_another_scene_is_another_one_of_the_same_group():
    groups = torch.randint(4, (50,), generator=seeded())
    other = wordless.others(groups)
    assert torch.equal(other.sort().values, torch.arange(50))
    assert torch.equal(groups[other], groups) and (other != torch.arange(50)).all()
    assert torch.equal(wordless.others(torch.zeros(5, dtype=torch.long)), torch.tensor([1, 2, 3, 4, 0]))
    assert wordless.others(torch.tensor([7, 1, 7])).tolist() == [2, 1, 0]


def test_right_counts_true_and_false_pairs_alike(some, heard):
    """A head that says yes where the room, written into the features, agrees: 7 of 8, and a coin within a room."""
    room = torch.arange(400) % 4

    class Known(torch.nn.Module):
        dim = 1

        def forward(self, x):
            return x[:, :1, 0, 0].float()

    task = wordless.Correspond(Known(), Known(), some, heard, rooms=room)
    task.head = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
    task.head[0].weight.data = torch.tensor([[1.0, 1.0]])
    marked = world.Scenes(room[:, None, None, None], some.ids, some.factors, some.right)
    sound = (
        0.5 - room[:, None, None, None].float()
    )  # their sum is 0.5 within a room, and at most -0.5 if one less
    assert task.right(marked, sound, room) == 0.5
    assert task.right(marked, sound) == pytest.approx(0.5 * (1 + 0.75))


@pytest.mark.parametrize("name", ["channels", "places", "correspond", "contrast", "ambient", "XDC"])
def test_every_task_gives_its_eye_a_gradient(name, some, heard):
    torch.manual_seed(0)
    eye, ear = (wordless.TwoEyes() if name == "channels" else encoders.PictureNet()), sounds.EarNet()
    task = {
        "channels": lambda: wordless.Channels(eye, some, batch=16),
        "places": lambda: wordless.GlobalLocal(eye, some, batch=16),
        "correspond": lambda: wordless.Correspond(eye, ear, some, heard, batch=16),
        "contrast": lambda: wordless.HeardContrast(eye, ear, some, heard, batch=16),
        "ambient": lambda: wordless.Clusters(eye, ear, some, heard, clusters=4, batch=16),
        "XDC": lambda: wordless.Clusters(eye, ear, some, heard, clusters=4, refresh=2, batch=16),
    }[name]()
    loss = task(seeded())
    loss.backward()
    assert loss.isfinite()
    moved = [p for p in eye.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(moved) == len(list(eye.parameters()))
    listened = any(p.grad is not None for p in ear.parameters())
    assert listened == (name in ("correspond", "contrast", "XDC"))


def test_xdc_renews_the_labels_and_owens_does_not(some, heard):
    for refresh in (0, 2):
        torch.manual_seed(0)
        task = wordless.Clusters(
            encoders.PictureNet(), sounds.EarNet(), some, heard, clusters=4, refresh=refresh
        )
        before = task.labels[0]
        torch.nn.init.normal_(task.ear.flat.weight)
        task.after(1)
        assert task.labels[0] is before
        task.after(2)
        assert (task.labels[0] is before) == (refresh == 0)
        assert set(before.tolist()) == {0, 1, 2, 3}


def test_own_clusters_are_those_of_the_same_sense(some, heard):
    eye, ear = encoders.PictureNet(), sounds.EarNet()
    xdc, own = (wordless.Clusters(eye, ear, some, heard, clusters=4, refresh=1, own=o) for o in (False, True))
    assert torch.equal(own.labels[0], xdc.labels[1]) and torch.equal(own.labels[1], xdc.labels[0])
    assert not torch.equal(own.labels[0], own.labels[1])


def test_programs_are_real_and_hold_no_docstring():
    test = programs.programs("test", most=150)
    assert len(test) == 150
    for text, code, name in zip(test.texts, test.codes, test.names, strict=True):
        assert (
            len(programs.words(text)) >= 4
            and text not in code
            and name.endswith(code.split("def ")[1].split("(")[0])
        )
    assert not set(programs.SPLITS["train"]) & set(programs.SPLITS["test"])


def test_words_of_code_are_cut_at_capitals_and_underscores():
    assert programs.words("readHTTPLine(self, read_header2)") == [
        "read",
        "http",
        "line",
        "self",
        "read",
        "header",
        "2",
    ]
    numbers = programs.Numbers([["a", "b"], ["a"], ["a", "c"]], least=2)
    assert numbers.ids([["a", "z"], []], 3).tolist() == [[2, 1, 0], [1, 0, 0]] and len(numbers) == 3


def test_unshared_words_are_those_that_the_own_code_lacks():
    assert programs.unshared([["read", "one", "line"], ["two"]], [["read", "line"], ["one", "two"]]) == [
        ["one"],
        [],
    ]


def test_reciprocal_rank():
    score = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert programs.reciprocal_rank(score) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert programs.reciprocal_rank(torch.zeros(3, 3)) == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: sounds.sounds(world.scenes("test", 3), wrong=2.0), "from 0 to 1"),
        (lambda: programs.programs("dev"), "split"),
        (lambda: wordless.Clusters(None, None, [], [], own=True), "refresh"),
        (lambda: wordless.TwoEyes(split="quarters"), "split must be"),
        (lambda: programs.reciprocal_rank(torch.zeros(2, 3)), "square"),
        (
            lambda: wordless.HeardContrast(
                encoders.PictureNet(), sounds.EarNet(), world.scenes("test", 3), torch.zeros(2, 1, 32, 12)
            ),
            "as many sounds",
        ),
    ],
)
def test_bad_input_gets_one_clear_error(call, says):
    with pytest.raises(InputError, match=says):
        call()
