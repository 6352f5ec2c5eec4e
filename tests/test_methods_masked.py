"""The masked methods: who sees what, what the target is, and that every weight learns."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, layer_norm

from ssl_lessons import data
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import extract_features
from ssl_lessons.losses.masked import mae
from ssl_lessons.methods.beit import BEiT
from ssl_lessons.methods.crossmae import CrossMAE
from ssl_lessons.methods.data2vec import Data2Vec
from ssl_lessons.methods.ijepa import IJEPA
from ssl_lessons.methods.mae import MAE
from ssl_lessons.methods.salt import SALT
from ssl_lessons.methods.simmim import SimMIM
from ssl_lessons.models import build_encoder, patchify, take, unpatchify
from ssl_lessons.training import pretrain
from ssl_lessons.views import Policy, normalize
from ssl_lessons.views.masks import context_and_targets, random_mask, visible

METHODS = {
    "mae": MAE, "simmim": SimMIM, "beit": BEiT, "data2vec": Data2Vec, "ijepa": IJEPA,
    "crossmae": CrossMAE, "salt": SALT,
}  # fmt: skip
OPTIONS = {
    "mae": {"decoder_dim": 16},
    "simmim": {},
    "beit": {"codes": 8},
    "data2vec": {"top_k": 2},
    "ijepa": {"predictor_dim": 16, "predictor_depth": 1, "targets": 2},
    "crossmae": {"decoder_dim": 16, "decoder_depth": 2},
    "salt": {"predictor_dim": 16, "predictor_depth": 1, "teacher": 0},  # 0: a small one, drawn in build
}
IMAGES = avg_pool2d(data.shapes("unlabeled", 32, 40, 0).images.float(), 2).byte()  # 16 px


def build(name, **options):
    torch.manual_seed(0)
    encoder = build_encoder("vit", size=16, patch=2, dim=24, depth=2, heads=2)
    options = OPTIONS[name] | options
    if options.get("teacher") == 0:
        options["teacher"] = build_encoder("vit", size=16, patch=2, dim=12, depth=1, heads=2)
    method = METHODS[name](encoder, **options)
    if name == "beit":
        method.refresh(lambda module: extract_features(module, IMAGES, device="cpu"))
    return method


def batch(n=8):
    return normalize(IMAGES[:n])


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_every_parameter(name):
    method = build(name)
    loss = method([batch()])
    assert loss.shape == () and loss > 0
    loss.backward()
    for parameter_name, p in method.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.abs().max() > 0, parameter_name
        else:
            assert parameter_name.startswith(("teacher.", "frozen."))
    assert method.embed(batch()).shape == (8, 24) and method.chance_loss(8) is None


@pytest.mark.parametrize("name", METHODS)
def test_a_few_steps_lower_the_loss(name):
    method, x = build(name), batch(16)
    opt = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(40):
        losses.append(method([x]))
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
        method.after_step(0.5)
    assert sum(losses[-5:]) / 5 < 0.9 * sum(losses[:5]) / 5


@pytest.mark.parametrize("name", METHODS)
def test_one_gentle_view(name):
    policy = Policy.simclr(16)
    (view,) = build(name).views(policy)
    assert view.crop_scale == (0.5, 1.0) and view.jitter_p == view.grayscale_p == view.blur_p == 0
    assert view.flip_p == policy.flip_p and view.size == 16


@pytest.mark.parametrize("name", METHODS)
def test_conv_nets_are_refused(name):
    with pytest.raises(InputError, match="vit"):
        METHODS[name](build_encoder("convnet", width=4, dim=16))


@pytest.mark.parametrize("name", METHODS)
def test_a_run_cut_in_two_ends_with_the_same_weights(name, tmp_path):
    def run(steps_done, **options):
        method = build_fresh(name)
        pretrain(
            method, IMAGES, method.views(Policy(16)), steps=4, batch_size=8, checkpoint_every=2, progress=False,
            device=torch.device("cpu"), **options,
        )  # fmt: skip
        return method

    whole = run(4)
    first = build_fresh(name)
    calls = []

    class Stop(Exception):
        pass

    original = first.after_step

    def stop(progress):
        original(progress)
        calls.append(progress)
        if len(calls) == 3:
            raise Stop

    first.after_step = stop
    with pytest.raises(Stop):
        pretrain(
            first, IMAGES, first.views(Policy(16)), steps=4, batch_size=8, checkpoint_every=2, progress=False,
            device=torch.device("cpu"), out=tmp_path,
        )  # fmt: skip
    resumed = run(2, out=tmp_path, resume=True)
    for (key, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def build_fresh(name):
    torch.manual_seed(0)
    options = OPTIONS[name] | ({"teacher": None} if name == "salt" else {})  # the teacher is made on the way
    return METHODS[name](build_encoder("vit", size=16, patch=2, dim=24, depth=2, heads=2), **options)


# --- who sees what ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mae", "simmim", "crossmae"])
def test_hidden_pixels_do_not_leak_into_the_reconstruction(name):
    method, x = build(name).eval(), batch()
    mask = random_mask(8, 64, 0.6, generator=torch.Generator().manual_seed(0))
    other = patchify(x, 2)
    other[mask] = 9.0
    with torch.no_grad():
        a, b = method.reconstruct(x, mask), method.reconstruct(unpatchify(other, 2), mask)
        assert a.shape == (8, 64, 12) and torch.equal(a, b)
        other[~mask] = 9.0  # the visible ones do matter
        assert not torch.allclose(a, method.reconstruct(unpatchify(other, 2), mask))


def test_mae_puts_every_token_back_in_its_place():
    """With a decoder of no blocks, the output of a visible patch depends on that patch's token alone."""
    method, x = build("mae", decoder_depth=0).eval(), batch(2)
    mask = random_mask(2, 64, 0.75, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = method.reconstruct(x, mask)
        for i in range(2):
            places = (~mask[i]).nonzero()[:, 0]
            seen = method.encoder.patches(x[i : i + 1], places[None])[0]
            expected = method.paint(method.narrow(seen) + method.positions[places])
            assert torch.allclose(out[i, places], expected, atol=1e-5)
            blank = method.paint(method.mask_token + method.positions[mask[i]])
            assert torch.allclose(out[i, mask[i]], blank, atol=1e-5)


@pytest.mark.parametrize("masked_only", [True, False])
def test_mae_loss_counts_the_hidden_patches(masked_only):
    method, x = build("mae", masked_only=masked_only).eval(), batch()
    torch.manual_seed(5)
    loss = method([x])
    torch.manual_seed(5)
    mask = random_mask(8, 64, 0.75)
    counted = mask if masked_only else torch.ones_like(mask)
    expected = mae(method.reconstruct(x, mask), patchify(x, 2), counted, norm_targets=False)
    assert torch.allclose(loss, expected)


def test_beit_codes_are_the_nearest_centers_and_all_in_use():
    method = build("beit")
    x = normalize(IMAGES)
    codes = method.tokenize(x)
    patches = method.describe(x)
    for i, t in ((0, 0), (3, 7), (39, 63)):
        distances = [(patches[i, t] - c).square().sum() for c in method.codebook]
        assert codes[i, t] == torch.stack(distances).argmin()
    assert len(codes.unique()) == 8
    assert (patches - method.codebook[codes]).square().mean() < 0.3 * patches.var()


def test_data2vec_targets_come_from_the_whole_image_and_carry_no_gradient():
    method, x = build("data2vec"), batch()
    target = method.targets(x)
    assert target.shape == (8, 64, 24) and not target.requires_grad
    _, layers = method.teacher.encode(method.teacher.tokens(x), layers=True)
    expected = sum(layer_norm(layer, (24,)) for layer in layers) / 2
    assert torch.allclose(target, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["data2vec", "ijepa"])
def test_the_teacher_follows_the_student(name):
    method = build(name, momentum=0.9)
    student, teacher = method.momentum_pairs()[0]
    before = teacher.norm.bias.clone()
    with torch.no_grad():
        student.norm.bias.add_(1.0)
    method.after_step(0.0)
    assert torch.allclose(teacher.norm.bias, before + 0.1)
    assert not any(p.requires_grad for p in teacher.parameters())


def test_ijepa_predicts_each_block_from_the_context_alone():
    method, x = build("ijepa").eval(), batch(2)
    places = torch.tensor([[0, 1, 9, 20], [5, 6, 7, 30]])
    blocks = torch.tensor([[[40, 41], [50, 51]], [[42, 43], [60, 61]]])
    with torch.no_grad():
        context = method.encoder.patches(x, places)
        both = method.predict(context, places, blocks)
        alone = method.predict(context, places, blocks[:, 1:])
        assert both.shape == (2, 2, 2, 24) and torch.allclose(both[:, 1:], alone, atol=1e-5)
        moved = method.predict(context, places, blocks + 1)
        assert not torch.allclose(both, moved)  # the position says what is asked


@pytest.mark.parametrize("stop", [True, False])
def test_ijepa_stop_gradient(stop):
    """The target's gradient reaches the encoder only when it is let through."""
    method, x = build("ijepa", stop_gradient=stop), batch()
    torch.manual_seed(2)
    method([x]).backward()
    learned = method.encoder.norm.weight.grad.clone()
    twin = build("ijepa")
    torch.manual_seed(2)
    twin([x]).backward()  # teacher = encoder at the start: the loss is the same, the gradient need not be
    same = torch.allclose(learned, twin.encoder.norm.weight.grad)
    assert same == stop
    assert all(p.grad is None for p in method.teacher.parameters())


def test_ijepa_target_is_normalised():
    method, x = build("ijepa").eval(), batch()
    index = torch.arange(5).expand(8, -1)
    target = take(layer_norm(method.teacher.patches(x), (24,)), index)
    assert target.mean(-1).abs().max() < 1e-5 and (target.var(-1, unbiased=False) - 1).abs().max() < 1e-2


@pytest.mark.parametrize("name", ["data2vec", "ijepa"])
def test_the_target_is_the_teachers(name):
    method, x = build(name).eval(), batch()
    torch.manual_seed(2)
    before = method([x])
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    torch.manual_seed(2)
    assert not torch.allclose(before, method([x]), atol=1e-3)


# --- CrossMAE ----------------------------------------------------------------------------------------


def test_crossmae_answers_do_not_know_of_each_other():
    """A hidden patch gets the same answer alone and among others; in MAE the mask tokens talk to each other."""
    method, x = build("crossmae").eval(), batch(2)
    mask = random_mask(2, 64, 0.75, generator=torch.Generator().manual_seed(0))
    keep, places = visible(mask), visible(~mask)
    with torch.no_grad():
        together = method.answer(x, keep, places)
        alone = torch.cat(
            [method.answer(x, keep, places[:, i : i + 1]) for i in range(places.shape[1])], dim=1
        )
        assert together.shape == (2, 48, 12) and torch.allclose(together, alone, atol=1e-5)
        assert torch.allclose(method.reconstruct(x, mask)[mask].view(2, 48, 12), together, atol=1e-5)
        assert not torch.allclose(together[:, 0], together[:, 1], atol=1e-3)  # but each knows its place


@pytest.mark.parametrize("every_layer", [True, False])
def test_crossmae_is_the_formula(every_layer):
    """softmax(q k / sqrt(d)) v by loops over images, questions and heads, with keys from the visible tokens only."""
    method, x = build("crossmae", decoder_depth=1, every_layer=every_layer).double().eval(), batch(2).double()
    keep, places = torch.tensor([[0, 9, 20], [5, 6, 63]]), torch.tensor([[40, 41], [3, 50]])
    block, attend = method.decoder[0], method.decoder[0].attend
    bq, bk, bv = attend.in_proj_bias.chunk(3)
    with torch.no_grad():
        out = method.answer(x, keep, places)
        for n in range(2):
            tokens = method.encoder.tokens(x[n : n + 1])[:, keep[n]]
            first = method.encoder.blocks[0](tokens)
            last = method.encoder.norm(method.encoder.blocks[1](first))
            seen = last[0]
            if every_layer:
                w = method.mix[0]
                seen = method.norms[0](w[0] * tokens + w[1] * first + w[2] * last)[0]
            for p in range(2):
                asked = method.mask_token + method.positions[places[n, p]]
                q = attend.q_proj_weight @ block.norm1(asked) + bq
                heads = []
                for h in range(4):
                    part = slice(4 * h, 4 * h + 4)
                    k = (seen @ attend.k_proj_weight.T + bk)[:, part]
                    v = (seen @ attend.v_proj_weight.T + bv)[:, part]
                    heads.append((k @ q[part] / 4**0.5).softmax(0) @ v)
                asked = asked + attend.out_proj(torch.cat(heads))
                asked = asked + block.mlp(block.norm2(asked))
                assert torch.allclose(out[n, p], method.paint(asked), atol=1e-10)


def test_crossmae_predicts_a_share_of_the_hidden_patches():
    method, x = build("crossmae", predict_ratio=0.25).eval(), batch()
    asked = []
    answer = method.answer
    method.answer = lambda x, keep, places: asked.append((keep, places)) or answer(x, keep, places)
    torch.manual_seed(3)
    loss = method([x])
    ((keep, places),) = asked
    assert keep.shape == places.shape == (8, 16)
    assert all(
        not set(k.tolist()) & set(p.tolist()) and len(set(p.tolist())) == 16 for k, p in zip(keep, places, strict=True)
    )
    expected = (answer(x, keep, places) - take(patchify(x, 2), places)).square().mean()
    assert torch.allclose(loss, expected)
    for ratio in (0.0, 0.8, -1):
        with pytest.raises(InputError, match="predict_ratio"):
            build("crossmae", predict_ratio=ratio)


# --- SALT --------------------------------------------------------------------------------------------


def test_salt_makes_a_teacher_then_freezes_it():
    method, x = build("salt", teacher=None, teacher_share=0.5), batch()
    students = [p for n, p in method.named_parameters() if not n.startswith("painter.")]
    method([x]).backward()
    assert all(p.grad is None for p in students)
    assert all(p.grad.abs().max() > 0 for p in method.painter.parameters())
    method.zero_grad()
    method.after_step(0.4)
    assert not method.teacher_is_ready
    method.after_step(0.5)
    assert method.teacher_is_ready and method.momentum_pairs() == []
    method([x]).backward()
    assert all(p.grad.abs().max() > 0 for p in students)
    assert all(p.grad is None for p in method.painter.parameters())
    assert not torch.equal(
        method.painter.encoder.blocks[0].linear1.weight, method.encoder.blocks[0].linear1.weight
    )


def test_salt_is_the_mean_absolute_difference_from_the_frozen_teacher():
    teacher = build_encoder("vit", size=16, patch=2, dim=12, depth=1, heads=2)
    method, x = build("salt", teacher=teacher).eval(), batch()
    torch.manual_seed(4)
    loss = method([x])
    torch.manual_seed(4)
    context, blocks = context_and_targets(8, 64, 2)
    features = layer_norm(teacher.patches(x), (12,))
    prediction = method.predict(method.encoder.patches(x, context), context, blocks)
    total = sum(
        (prediction[n, m, b] - features[n, blocks[n, m, b]]).abs().sum()
        for n in range(8) for m in range(2) for b in range(blocks.shape[2])
    )  # fmt: skip
    assert torch.allclose(loss, total / prediction.numel(), atol=1e-5)
    with torch.no_grad():  # the method keeps a copy: the caller's teacher may go on learning
        teacher.norm.weight.mul_(-1)
    torch.manual_seed(4)
    assert torch.equal(loss, method([x]))


def test_salt_refuses_teachers_that_do_not_fit():
    for teacher in (build_encoder("convnet", width=4, dim=16), build_encoder("vit", size=16, patch=4)):
        with pytest.raises(InputError, match="8 x 8 patches"):
            build("salt", teacher=teacher)
    for share in (0.0, 1.0):
        with pytest.raises(InputError, match="teacher_share"):
            build("salt", teacher=None, teacher_share=share)
