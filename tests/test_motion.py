"""Films of two things, masks from motion, tracked patches, narrated films, and codes of clips."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.video import narrated, scenes, stills
from ssl_lessons.models.generative import clip_codes
from ssl_lessons.training import fit


@pytest.fixture(scope="module")
def films():
    return scenes.scenes("train", 300, 3)


# ---- the films ------------------------------------------------------------------------------------------------------


def test_two_things_that_differ_and_go_where_they_say(films):
    assert films.frames.shape == (300, 8, 3, 24, 24) and films.masks.max() == 2
    assert (films.kind[:, 0] != films.kind[:, 1]).all() and (films.colour[:, 0] != films.colour[:, 1]).all()
    gone = (films.centres[:, 3] - films.centres[:, 2] - films.steps + 0.5) % 1 - 0.5
    assert gone.abs().max() < 1e-5 and films.moves.all()
    again, other = scenes.scenes("train", 300, 3), scenes.scenes("test", 300, 3)
    assert torch.equal(films.frames, again.frames) and not torch.equal(films.frames, other.frames)
    assert len(films[torch.tensor([4, 1])]) == 2


def test_who_rests_and_who_moves_together():
    never, quarter = (scenes.scenes("train", 400, 1, resting=2, moving_share=m) for m in (0.0, 0.25))
    assert not never.moves[never.kind == 2].any() and never.moves[never.kind != 2].all()
    share = quarter.moves[quarter.kind == 2].float().mean()
    assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 200)
    pairs = {m: scenes.scenes("train", 200, 1, near=True, motion=m) for m in scenes.MOTIONS}
    assert torch.equal(pairs["together"].steps[:, 0], pairs["together"].steps[:, 1])
    assert not torch.equal(pairs["apart"].steps[:, 0], pairs["apart"].steps[:, 1])
    middle = [p.frames[:, 4] for p in pairs.values()]
    assert torch.equal(*middle)  # one still picture says nothing of who goes with whom
    away = (pairs["apart"].centres[:, 4, 0] - pairs["apart"].centres[:, 4, 1] + 0.5) % 1 - 0.5
    assert torch.allclose(away.norm(dim=1), torch.tensor(scenes.NEAR), atol=1e-5)


def test_a_frame_difference_is_left_and_taken_places():
    quiet = scenes.scenes("train", 60, 2, noise=0.0)
    marked = scenes.differs(quiet.frames, 0, 6)
    both = (quiet.masks[:, 0] > 0) | (quiet.masks[:, 6] > 0)
    assert not (marked & ~both).any()
    assert stills.overlap(marked, quiet.masks[:, 0] > 0) < 0.5
    sides = scenes.differs(quiet.frames, 4, 3, both_sides=True)
    assert (sides & ~scenes.differs(quiet.frames, 4, 3)).sum() == 0
    with pytest.raises(InputError, match="no frame 6 away from frame 4"):
        scenes.differs(quiet.frames, 4, 6)


def test_flow_masks_and_what_moves_with_a_point(films):
    resting = scenes.scenes("train", 100, 1, resting=2)
    marked = scenes.flow_masks(resting, 4)
    kind = torch.cat([torch.full((100, 1), 9), resting.kind], 1).gather(
        1, resting.masks[:, 4].flatten(1).long()
    )
    assert torch.equal(marked.flatten(1), (kind < 9) & (kind != 2))
    thing = torch.arange(100) % 2
    point, alike, seen = scenes.ask(resting, 4, thing, torch.Generator().manual_seed(0))
    assert (point.flatten(1).sum(1) == 1).all()
    pixel = (resting.masks[:, 4] == 1 + thing[:, None, None]) & (point > 0)
    assert pixel.flatten(1).any(1)[seen].all() and alike[point > 0][seen].all()
    apart = scenes.scenes("train", 100, 1, near=True, motion="together")
    _, alike, seen = scenes.ask(apart, 4, thing, torch.Generator().manual_seed(0))
    assert torch.equal(alike[seen], (apart.masks[:, 4] > 0)[seen])


def test_patches_show_the_first_thing(films):
    t = torch.full((300,), 7)
    x = scenes.patches(films, t, torch.Generator().manual_seed(0), jitter=0)
    assert x.shape == (300, 3, 12, 12) and x.dtype == torch.uint8
    wanted = films.frames[torch.arange(300), 7]
    at = (films.centres[:, 7, 0] * 24).long()
    centre = wanted[torch.arange(300), :, at[:, 1], at[:, 0]]
    assert torch.equal(x[:, :, 6, 6], centre)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"split": "val"}, "splits"), ({"motion": "round"}, "motions"), ({"resting": 7}, "kind from 0 to 3"),
        ({"moving_share": 2.0}, "moving_share"), ({"n": 0}, "n >= 1"),
    ],
)  # fmt: skip
def test_films_that_cannot_be(options, words):
    with pytest.raises(InputError, match=words):
        scenes.scenes(**{"split": "train", "n": 4} | options)


# ---- what learns ----------------------------------------------------------------------------------------------------


def test_the_network_follows_its_glued_world(films):
    torch.manual_seed(0)
    net = stills.ThingNet()
    x = films.frames[:4, 0]
    assert torch.allclose(net(x.roll(4, 3)), net(x).roll(4, 2), atol=1e-5)
    assert net.features(x).shape == (4, net.dim) and net(x).shape == (4, 24, 24)
    point = torch.zeros(4, 24, 24)
    point[:, 5, 5] = 1
    assert not torch.allclose(net(x, point), net(x))


def test_masks_of_what_moves_are_learned_from_one_frame(films):
    torch.manual_seed(0)
    masks = torch.stack([scenes.flow_masks(films, t) for t in range(8)], dim=1)
    task = stills.WhatMoves(stills.ThingNet(), films.frames, masks, tuple(range(8)), batch=16)
    fit(task, task, steps=120, lr=8e-3)
    test = scenes.scenes("test", 60, 3)
    found, truth = stills.answers(task.net, test.frames[:, 4]), test.masks[:, 4] > 0
    best = max(stills.overlap(found > cut, truth) for cut in (0.2, 0.3, 0.4, 0.5))
    assert best > 0.17 and found[truth].mean() > 1.2 * found[~truth].mean()  # all pixels: 0.14
    with pytest.raises(InputError, match="need masks"):
        stills.WhatMoves(stills.ThingNet(), films.frames, masks, (0, 1))


def test_the_tasks_train(films):
    g = torch.Generator().manual_seed(0)
    near = scenes.scenes("train", 40, 0, near=True)
    tasks = [stills.WhatMovesWith(stills.ThingNet(), near)]
    tasks += [
        stills.Tracks(stills.ThingNet(), films, n, t) for n in ("random", "hard") for t in (True, False)
    ]
    for task in tasks:
        loss = task(g)
        loss.backward()
        assert loss.isfinite() and task.net.first.weight.grad.abs().sum() > 0
    with pytest.raises(InputError, match="random or hard"):
        stills.Tracks(stills.ThingNet(), films, "far")


def test_tracks_are_the_ranking_loss_of_the_paper(films):
    torch.manual_seed(0)
    task = stills.Tracks(stills.ThingNet(), films, "hard", batch=8)
    value = task(torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(5)
    some = films[torch.randint(len(films), (8,), generator=g)]
    z = []
    for moment in (0, 7):
        x = scenes.patches(some, torch.full((8,), moment), g)
        z.append(task.projector(task.net.features(x)))
    d = 1 - F.normalize(z[0], dim=1) @ F.normalize(z[1], dim=1).T
    terms = []
    for i in range(8):
        for near in sorted(float(d[i, j]) for j in range(8) if j != i)[:4]:
            terms.append(max(0.0, float(d[i, i]) - near + 0.5))
    assert abs(float(value) - sum(terms) / len(terms)) < 1e-5


def test_the_hardest_are_the_nearest():
    z = F.normalize(torch.tensor([[1.0, 0.1], [0.9, 0.3], [0.0, 1.0], [-1.0, 0.0]]), dim=1)
    assert stills.hardest(z, z, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    with pytest.raises(InputError, match="negatives, not 4"):
        stills.hardest(z, z, 4)


# ---- narrated films -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told():
    return narrated.films("train", 40, 1)


def test_captions_say_what_is_seen_and_come_late(told):
    assert told.frames.shape == (40, 24, 3, 24, 24) and told.captions.shape == (40, 4, 4)
    assert (told.captions[:, :, 0] == told.captions[:, :1, 0]).all()  # one colour in a film
    words = [narrated.WORDS[i] for i in told.captions[0, 0]]
    assert all(
        w in narrated.SAID[name]
        for w, name in zip(words, ("colour", "kind", "direction", "speed"), strict=True)
    )
    late = told.begins - 6 * torch.arange(4)
    assert late.abs().max() <= narrated.LATE and late.unique().numel() > 4
    clips, captions = narrated.events(told)
    assert torch.equal(clips[5], told.frames[1, 6:12]) and torch.equal(captions[5], told.captions[1, 1])
    part = narrated.cut(told.frames, torch.full((40,), 22), 6)
    assert torch.equal(part, told.frames[:, 18:24])
    with pytest.raises(InputError, match="late from 0"):
        narrated.films("train", 4, late=7)


def test_retrieved_films_are_neighbours(told):
    torch.manual_seed(0)
    net = narrated.Matcher()
    task = narrated.VideoText(net, told, "exact", retrieved=True, alike=4)
    task(torch.Generator().manual_seed(0)).backward()
    assert task.near.shape == (40, 12) and torch.equal(task.near[:, 0], torch.arange(40))
    for pairs in ("exact", "overlapped", "true"):
        assert narrated.VideoText(net, told, pairs)(torch.Generator().manual_seed(0)).isfinite()
    with pytest.raises(InputError, match="exact, overlapped or true"):
        narrated.VideoText(net, told, "late")


def test_what_is_ranked(told):
    class Knows(torch.nn.Module):
        """Sees the caption that belongs to a clip: every score must be perfect, with one word wrong one must fall."""

        def __init__(self, wrong=None):
            super().__init__()
            self.p, self.wrong = torch.nn.Parameter(torch.zeros(1)), wrong

        def see(self, clips):
            captions = clips[:, 0, 0, 0, :4].long()
            return self.read(captions)

        def read(self, captions):
            return F.one_hot(captions, len(narrated.WORDS)).sum(1).float()

    clips, captions = narrated.events(told)
    clips = clips.clone()
    clips[:, 0, 0, 0, :4] = captions.byte()
    assert set(narrated.ranked(Knows(), clips, captions).values()) == {1.0}
    clips[:, 0, 0, 0, 1] = 6 + (captions[:, 1] - 6 + 1).byte() % 4
    found = narrated.ranked(Knows(), clips, captions)
    assert found["kind"] == 0 and found["colour"] == found["speed"] == 1


# ---- codes ----------------------------------------------------------------------------------------------------------


def test_masked_convolutions_look_back_only():
    torch.manual_seed(0)
    net = clip_codes.CausalConvs(5, width=6, depth=3)
    x = torch.randint(5, (1, 3, 4, 4))
    changed = x.clone()
    changed[0, 1, 2, 1] = (x[0, 1, 2, 1] + 1) % 5
    differ = (net(x) - net(changed)).abs().sum(1)[0].flatten() > 1e-7
    place = 16 + 2 * 4 + 1
    assert not differ[: place + 1].any() and differ[place + 1 :].any()
    with pytest.raises(InputError, match="odd kernel"):
        clip_codes.MaskedConv3d(2, 2, 2, "A")


def test_a_table_counts():
    g = torch.Generator().manual_seed(0)
    codes = (
        torch.randint(4, (200, 1, 3, 3), generator=g).expand(-1, 3, -1, -1).contiguous()
    )  # nothing changes
    train, test = codes[:150], codes[150:]
    bits = {
        look: clip_codes.CountTable(train, 4, look, 1.0).bits(test) for look in clip_codes.CountTable.LOOKS
    }
    assert abs(float(bits["nothing"].mean()) - 2) < 0.02
    assert bits["before"][:, 1:].mean() < 0.05 < 1.9 < bits["before"][:, 0].mean()
    assert bits["left"].mean() > 1.9 and bits["both"][:, 1:].mean() < 0.1
    p = 2 ** -clip_codes.CountTable(train, 4, "both", 1.0).bits(torch.arange(4).view(4, 1, 1, 1))
    assert abs(float(p.sum()) - 1) < 1e-9  # over all codes of one context
    with pytest.raises(InputError, match="looks at"):
        clip_codes.CountTable(train, 4, "ahead")


def test_clips_to_codes_and_back():
    torch.manual_seed(0)
    net = clip_codes.ClipVQ(codes=8)
    x = torch.rand(2, 3, 8, 24, 24)
    back, loss, codes = net(x)
    assert back.shape == x.shape and codes.shape == (2, 4, 6, 6) and loss.ndim == 0
    assert torch.equal(net.encode(x), codes) and int(codes.max()) < 8
    (loss + back.square().mean()).backward()
    assert net.encoder[0].weight.grad.abs().sum() > 0
    uniform = clip_codes.bits_of(lambda c: torch.zeros(len(c), 8, *c.shape[1:]), codes)
    assert torch.allclose(uniform, torch.full(codes.shape, 3.0))


def test_mixed_moments_are_the_same_moments():
    codes = torch.arange(3)[None, :, None, None].expand(50, 3, 2, 2).contiguous()
    found = clip_codes.mixed(codes, torch.Generator().manual_seed(0))
    assert torch.equal(found.sort(dim=1).values, codes) and not torch.equal(found, codes)
    assert (found == found[:, :, :1, :1]).all()


def test_rules_that_need_no_learning():
    picture = torch.full((1, 3, 8, 8), 90, dtype=torch.uint8)
    picture[0, 0, 2:4, 2:4] = 250
    for rule in ("saturation", "far from the median colour"):
        score = stills.salience(rule, picture)[0]
        assert (score[2:4, 2:4] > score.max() / 2).all() and score.sum() == score[2:4, 2:4].sum()
    assert stills.salience("edges", picture)[0, 2, 3] == 0.5 * stills.salience("edges", picture).max()
    with pytest.raises(InputError, match="rules are"):
        stills.salience("taste", picture)
