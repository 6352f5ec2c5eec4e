"""The methods that learn from negatives: each loss is the published one, and queues, banks and teachers do as told.

Over 400 lines: each method of the family beside what its paper says.
"""

import copy
import math

import pytest
import torch
from torch.nn.functional import normalize

from ssl_lessons import training
from ssl_lessons.errors import InputError
from ssl_lessons.methods.dcl import DCL
from ssl_lessons.methods.directclr import DirectCLR
from ssl_lessons.methods.instdisc import InstDisc, MemoryBank
from ssl_lessons.methods.mochi import MoCHi
from ssl_lessons.methods.moco import MoCoV1, MoCoV2, Queue
from ssl_lessons.methods.moco_v3 import MoCoV3
from ssl_lessons.methods.nnclr import NNCLR
from ssl_lessons.methods.pirl import PIRL, shuffled_tiles
from ssl_lessons.methods.simclr_v2 import SimCLRv2
from ssl_lessons.methods.spectral import Spectral
from ssl_lessons.methods.supcon import SupCon
from ssl_lessons.models import build_encoder
from ssl_lessons.views import Policy

N, IMAGES, QUEUE = 8, 24, 16
BANK = {"n_images": IMAGES}
SHORT = {"queue_size": QUEUE}
METHODS = {
    SimCLRv2: {},
    DCL: {},
    SupCon: {},
    Spectral: {},
    DirectCLR: {"channels": 6},
    NNCLR: SHORT,
    MoCoV1: SHORT,
    MoCoV2: SHORT,
    MoCoV3: {},
    MoCHi: SHORT | {"hardest": 5, "mixed": 4, "with_query": 3},
    InstDisc: BANK | {"proximal": 1.0},
    PIRL: BANK,
}
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
INDEX = torch.tensor([3, 0, 23, 11, 7, 8, 20, 5])


def build(cls, **options):
    torch.manual_seed(0)
    return cls(build_encoder("convnet", width=4, dim=16), **METHODS[cls] | options)


def views(count=2, size=16, seed=1):
    return list(torch.randn(count, N, 3, size, size, generator=torch.Generator().manual_seed(seed)))


def batch(method, **options):
    pair = views(len(method.views(Policy(16))), **options)
    return (pair, LABELS, INDEX) if method.needs_index else (pair, LABELS)


def settled(method):
    """In evaluation mode, with BatchNorm statistics that fit: every row then depends on its own image alone."""
    with torch.no_grad():
        for module in [method, *(teacher for _, teacher in method.momentum_pairs())]:
            module.train()
        for _ in range(30):
            method(*batch(method))
    return method.eval()


def step(method, lr=0.1, progress=0.5, **options):
    loss = method(*batch(method, **options))
    method.zero_grad(set_to_none=True)
    loss.backward()
    with torch.no_grad():
        for p in method.parameters():
            if p.grad is not None:
                p -= lr * p.grad
    method.after_step(progress)
    return loss.item()


# ---- every method --------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", METHODS)
def test_gradients_reach_what_learns_and_nothing_else(cls):
    method = build(cls)
    loss = method(*batch(method))
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    teachers = {id(p) for _, teacher in method.momentum_pairs() for p in teacher.parameters()}
    for name, p in method.named_parameters():
        if id(p) in teachers:
            assert p.grad is None and not p.requires_grad, name
        else:
            assert p.grad is not None and p.grad.abs().max() > 0, name
    assert method.needs_labels == (cls is SupCon)
    assert method.needs_index == (cls in (InstDisc, PIRL))


@pytest.mark.parametrize("cls", METHODS)
def test_a_few_steps_lower_the_loss(cls):
    method = build(cls)
    if hasattr(
        method, "queue"
    ):  # other images instead of random directions, which are too easy to tell apart
        others = [*views(seed=2), *views(seed=3)]
        method.queue.push(torch.cat([method.embed(x) for x in others])[:QUEUE])
    opt = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(20):
        torch.manual_seed(0)  # the same tiles and mixtures every time
        losses.append(method(*batch(method)))
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
    assert losses[-1] < losses[0] - 0.2 * abs(losses[0])


@pytest.mark.parametrize("cls", METHODS)
def test_chance_is_the_loss_of_equal_embeddings(cls):
    method = build(cls)
    chance = method.chance_loss(N)
    for module in method.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.ones_(module.bias) if module.bias is not None else None
    if cls is DirectCLR:
        method.encoder.forward = lambda x: torch.ones(len(x), 16)
    if hasattr(method, "queue"):
        method.queue.rows.fill_(128**-0.5)
    if hasattr(method, "bank"):
        method.bank.rows.fill_(128**-0.5)
    extra = math.log((QUEUE + 1 + 7) / (QUEUE + 1)) if cls is MoCHi else 0.0  # it adds 4 + 3 candidates
    assert method(*batch(method)).item() == pytest.approx(chance + extra, abs=1e-4)


@pytest.mark.parametrize("cls", METHODS)
def test_a_run_killed_after_three_steps_goes_on_with_the_very_same_weights(cls, tmp_path):
    images = torch.randint(
        0, 256, (IMAGES, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    labels = torch.arange(IMAGES) % 3
    options = dict(
        steps=6, batch_size=N, lr=1e-3, labels=labels, out=tmp_path, checkpoint_every=3, progress=False
    )

    def run(method, **more):
        training.pretrain(method, images, method.views(Policy(16)), **options | more)
        return method

    whole = run(build(cls), out=None)

    class Killed(Exception):
        pass

    killed = build(cls)
    after_step, done = killed.after_step, []

    def die(progress):
        after_step(progress)
        done.append(progress)
        if len(done) == 5:
            raise Killed

    killed.after_step = die
    with pytest.raises(Killed):
        run(killed)
    resumed = run(build(cls), resume=True)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("cls", [c for c in METHODS if c is not InstDisc])
@pytest.mark.parametrize("count", [1, 3])
def test_two_views_are_wanted(cls, count):
    method = build(cls)
    with pytest.raises(InputError, match="two"):
        method(views(count), LABELS, *[INDEX] * method.needs_index)


def test_instdisc_wants_one_view():
    with pytest.raises(InputError, match="one view"):
        build(InstDisc)(views(), LABELS, INDEX)


@pytest.mark.parametrize("cls", [c for c in METHODS if c is not Spectral])
def test_a_bad_temperature_is_refused(cls):
    method = build(cls, temperature=0.0)
    with pytest.raises(InputError, match="temperature"):
        method(*batch(method))


# ---- the losses on the methods' own embeddings, written out --------------------------------------


def unit(x):
    return normalize(x.detach().double(), dim=1)


def cross_entropy(scores, right):
    """Mean of log sum exp - the right one; a loop over rows of scores."""
    losses = [math.log(sum(map(math.exp, row))) - row[r] for row, r in zip(scores, right, strict=True)]
    return sum(losses) / len(losses)


def close(loss, expected):
    assert loss.item() == pytest.approx(float(expected), abs=2e-4)


def test_moco_is_infonce_against_the_queue():
    for cls in (MoCoV1, MoCoV2):
        method = settled(build(cls, temperature=0.3))
        first, second = views()
        q, k = unit(method.embed(first)), unit(method.teacher(second))
        rows = [
            [(q[i] @ k[i]).item() / 0.3] + (method.queue.rows.double() @ q[i] / 0.3).tolist()
            for i in range(N)
        ]
        close(method([first, second]), cross_entropy(rows, [0] * N))


def test_moco_heads():
    def linear(cls):
        return sum(isinstance(m, torch.nn.Linear) for m in build(cls).projector)

    assert (linear(MoCoV1), linear(MoCoV2), linear(SimCLRv2)) == (1, 2, 3)


def test_moco_v3_goes_both_ways_and_undoes_the_temperature():
    method = settled(build(MoCoV3, temperature=0.3))
    first, second = views()
    total = 0
    for a, b in ((first, second), (second, first)):
        q, k = unit(method.predictor(method.embed(a))), unit(method.teacher(b))
        total += cross_entropy((q @ k.T / 0.3).tolist(), range(N))
    close(method([first, second]), 2 * 0.3 * total)


def test_moco_v3_momentum_rises_to_one():
    method = build(MoCoV3)
    with torch.no_grad():
        for p in method.encoder.parameters():
            p += 1
    before = copy.deepcopy(method.teacher)
    method.after_step(1.0)
    for a, b in zip(before.parameters(), method.teacher.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    method.after_step(0.0)
    for a, s, b in zip(
        before[0].parameters(), method.encoder.parameters(), method.teacher[0].parameters(), strict=True
    ):
        assert torch.allclose(0.99 * a + 0.01 * s, b, atol=1e-6)


def test_mochi_adds_mixtures_of_the_hardest():
    method = settled(build(MoCHi, temperature=0.3))
    first, second = views()
    torch.manual_seed(5)
    loss = method([first, second])
    q, k, queue = unit(method.embed(first)), unit(method.teacher(second)), method.queue.rows.double()
    torch.manual_seed(5)
    made_up = method.mix(q.float(), (q @ queue.T).float()).double()
    rows = []
    for i in range(N):
        candidates = [k[i], *queue, *made_up[i]]
        rows.append([float(q[i] @ c) / 0.3 for c in candidates])
    close(loss, cross_entropy(rows, [0] * N))


def test_mochi_mixes_what_the_paper_mixes():
    method = build(MoCHi, hardest=2, mixed=50, with_query=50)
    q = normalize(torch.randn(3, 128), dim=1)
    scores = q @ method.queue.rows.T
    made_up = method.mix(q, scores)
    assert made_up.shape == (3, 100, 128) and torch.allclose(
        made_up.norm(dim=2), torch.ones(3, 100), atol=1e-5
    )
    for i in range(3):
        a, b = method.queue.rows[scores[i].topk(2).indices]
        basis = torch.stack([a, b, q[i]], dim=1)
        weights = torch.linalg.lstsq(
            basis, made_up[i].T
        ).solution.T  # in terms of the two hardest and the query
        assert torch.allclose(weights @ basis.T, made_up[i], atol=1e-4)
        assert weights.min() > -1e-4
        assert weights[:50, 2].abs().max() < 1e-4  # h: no query
        share = weights[50:, 2] / weights[50:].sum(dim=1)  # h': the query, but less than the negative
        assert 0 < share.min() and 0.4 < share.max() <= 0.5
        assert (weights[50:, :2].abs().min(dim=1).values < 1e-4).all()  # and one of the two


def test_mochi_cannot_mix_more_than_the_queue_holds():
    with pytest.raises(InputError, match="hardest"):
        build(MoCHi, hardest=QUEUE + 1)


def test_nnclr_asks_for_the_neighbours_partner():
    method = settled(build(NNCLR, temperature=0.3))
    first, second = views()
    z1, z2 = method.embed(first), method.embed(second)
    p1, p2 = unit(method.predictor(z1)), unit(method.predictor(z2))
    queue, total = method.queue.rows.double(), 0
    for z, p in ((unit(z1), p2), (unit(z2), p1)):
        neighbour = [max(queue, key=lambda row, v=v: float(row @ v)) for v in z]
        total += cross_entropy([[float(n @ other) / 0.3 for other in p] for n in neighbour], range(N))
    close(method([first, second]), total / 2)


def test_nnclr_queues_first_views():
    method = build(NNCLR).eval()
    first, second = views()
    method([first, second])
    method.after_step(0.5)
    assert torch.allclose(method.queue.rows[:N], unit(method.embed(first)).float(), atol=1e-5)


def all_views(method, temperature):
    z = unit(torch.cat([method.embed(v) for v in views()]))
    return (z @ z.T / temperature).tolist()


def test_dcl_leaves_the_positive_out_of_the_denominator():
    method = settled(build(DCL, temperature=0.3))
    total = 0
    for i, row in enumerate(all_views(method, 0.3)):
        partner = (i + N) % (2 * N)
        total += math.log(sum(math.exp(s) for j, s in enumerate(row) if j not in (i, partner))) - row[partner]
    close(method(views()), total / (2 * N))


def test_supcon_averages_over_the_views_of_its_class():
    method = settled(build(SupCon, temperature=0.3))
    labels, total = LABELS.repeat(2), 0
    for i, row in enumerate(all_views(method, 0.3)):
        denominator = math.log(sum(math.exp(s) for j, s in enumerate(row) if j != i))
        mine = [j for j in range(2 * N) if j != i and labels[j] == labels[i]]
        total += sum(denominator - row[j] for j in mine) / len(mine)
    close(method(views(), LABELS), total / (2 * N))


def test_spectral_squares_the_products():
    method = settled(build(Spectral, radius=1.5))
    z1, z2 = (1.5 * unit(method.embed(v)) for v in views())
    pull = sum(float(z1[i] @ z2[i]) for i in range(N)) / N
    push = sum(float(z1[i] @ z2[j]) ** 2 for i in range(N) for j in range(N) if i != j) / (N * (N - 1))
    close(method(views()), push - 2 * pull)


def test_directclr_leaves_the_other_channels_alone():
    method = build(DirectCLR, channels=6)
    method(views()).backward()
    last = method.encoder.layers[9].weight.grad  # one row per channel of h
    assert last.shape[0] == 16 and last[:6].abs().min(dim=0).values.max() > 0 and not last[6:].any()
    assert method.embed(views()[0]).shape == (N, 6) and not list(method.projector.parameters())


def test_instdisc_is_the_softmax_over_the_bank():
    method = settled(build(InstDisc, temperature=0.3, proximal=0.7))
    (view,) = views(1)
    z, bank = unit(method.embed(view)), method.bank.rows.double()
    drift = sum(float((z[i] - bank[INDEX[i]]).square().sum()) for i in range(N)) / N
    close(
        method([view], None, INDEX), cross_entropy((z @ bank.T / 0.3).tolist(), INDEX.tolist()) + 0.7 * drift
    )


def test_pirl_weighs_jigsaw_and_image():
    method = settled(build(PIRL, temperature=0.3, weight=0.25))
    first, second = views()
    torch.manual_seed(3)
    loss = method([first, second], None, INDEX)
    torch.manual_seed(3)
    tiles = shuffled_tiles(second, 2)
    parts = [method.tile_head(method.encoder(tiles[:, t])) for t in range(4)]
    jigsaw, z = unit(method.jigsaw_head(torch.cat(parts, dim=1))), unit(method.embed(first))
    bank, right = method.bank.rows.double(), INDEX.tolist()
    lost, found = (cross_entropy((v @ bank.T / 0.3).tolist(), right) for v in (jigsaw, z))
    close(loss, 0.25 * lost + 0.75 * found)


# ---- queue, bank, tiles, teacher -----------------------------------------------------------------


def test_queue_overwrites_the_oldest_and_wraps():
    queue = Queue(5, 3)
    assert torch.allclose(queue.rows.norm(dim=1), torch.ones(5))
    rows = torch.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]] * torch.arange(1, 9)[:, None]  # lengths 1 to 8
    for start in (0, 2, 4, 6):
        queue.push(rows[start : start + 2])
    # places 0..4 hold, in order of arrival, 5 6 7 3 4
    expected = normalize(rows[[5, 6, 7, 3, 4]], dim=1)
    assert torch.equal(queue.rows, expected) and queue.oldest == 3
    assert not queue.rows.requires_grad


def test_queue_refuses_a_batch_it_cannot_hold():
    with pytest.raises(InputError, match="queue_size"):
        Queue(4, 3).push(torch.randn(5, 3))


def test_moco_enqueues_the_keys_after_the_step():
    """Not before: the positives of a batch are not its negatives."""
    method = build(MoCoV2).eval()
    before = method.queue.rows.clone()
    loss = method(views())
    assert torch.equal(method.queue.rows, before)
    keys = method.teacher(views()[1])
    loss.backward()
    method.after_step(0.5)
    assert torch.allclose(method.queue.rows[:N], normalize(keys, dim=1), atol=1e-6)
    assert torch.equal(method.queue.rows[N:], before[N:])


@pytest.mark.parametrize("cls", [MoCoV1, MoCoV2, MoCHi])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_teacher_is_the_moving_average(cls, momentum):
    method = build(cls, momentum=momentum)
    expected = [p.detach().clone().double() for p in method.teacher.parameters()]
    for i in range(3):
        step(method, seed=i)
        student = [*method.encoder.parameters(), *method.projector.parameters()]
        expected = [
            momentum * t + (1 - momentum) * s.double() for t, s in zip(expected, student, strict=True)
        ]
    for t, p in zip(expected, method.teacher.parameters(), strict=True):
        assert torch.allclose(t, p.double(), atol=1e-6)


def test_groups_imitate_devices():
    """Each group of BatchNorm sees its part of the batch; shuffled keys come back in order."""
    method = build(MoCoV2, groups=4, shuffle=False)
    first, second = views()
    parts = torch.cat([method.teacher(part) for part in second.chunk(4)])
    assert torch.allclose(method.make_keys(second), parts, atol=1e-5)
    shuffled = copy.deepcopy(method)
    shuffled.shuffle = True
    torch.manual_seed(1)
    assert not torch.allclose(shuffled.make_keys(second), parts, atol=1e-3)
    settled(method)  # BatchNorm then treats every row alone, and only the order is left to check
    shuffled.load_state_dict(method.state_dict())
    assert torch.allclose(shuffled.eval().make_keys(second), method.make_keys(second), atol=1e-5)
    query = torch.cat([method.embed(part) for part in first.chunk(4)])
    keys = method.make_keys(second)
    assert torch.allclose(method([first, second]), method.contrast(query, keys), atol=1e-5)


def test_memory_bank_moves_its_own_rows_only():
    bank = MemoryBank(6, 3)
    before, index = bank.rows.clone(), torch.tensor([4, 1])
    z = torch.tensor([[3.0, 0, 0], [0, 0, 5.0]])
    bank.update(index, z, 0.25)
    for i, row in zip(index.tolist(), torch.eye(3)[[0, 2]], strict=True):
        assert torch.allclose(bank.rows[i], normalize(0.25 * before[i] + 0.75 * row, dim=0), atol=1e-6)
    for i in (0, 2, 3, 5):
        assert torch.equal(bank.rows[i], before[i])
    bank.update(index, z, 0.0)
    assert torch.equal(bank.rows[index], torch.eye(3)[[0, 2]])


def test_instdisc_updates_the_bank_after_the_step():
    method = build(InstDisc, bank_momentum=0.0).eval()
    (view,) = views(1)
    before = method.bank.rows.clone()
    loss = method([view], None, INDEX)
    assert torch.equal(method.bank.rows, before)
    loss.backward()
    method.after_step(0.5)
    assert torch.allclose(method.bank.rows[INDEX], unit(method.embed(view)).float(), atol=1e-5)


@pytest.mark.parametrize("grid, size", [(2, 16), (3, 16), (3, 15)])
def test_shuffled_tiles_are_the_tiles_of_the_image(grid, size):
    x, s = torch.randn(4, 3, size, size), size // grid
    torch.manual_seed(0)
    tiles = shuffled_tiles(x, grid)
    assert tiles.shape == (4, grid**2, 3, s, s)
    orders = set()
    for i in range(4):
        cut = [x[i, :, r * s : r * s + s, c * s : c * s + s] for r in range(grid) for c in range(grid)]
        order = tuple(next(j for j, tile in enumerate(cut) if torch.equal(tile, t)) for t in tiles[i])
        assert sorted(order) == list(range(grid**2))
        orders.add(order)
    assert len(orders) > 1  # every image its own order
