"""Arms of benchmarks/generate.py for chapter 07b: what an adversary teaches an encoder.

Over 400 lines: the networks of several adversaries and their arms, which share their beginnings.

ARMS: name -> (function(seed, sets) -> row, seconds on one slow thread).
LONG_ARMS: the same, for the group of long runs.
Arms that continue one another (the VQ-VAEs, the mirrors of SimCLR) share their beginning within a process.
"""

import base64
import io
import math
import time
from functools import cache, partial

import torch
import torch.nn.functional as F
from _world import probe
from PIL import Image
from torch import nn

from ssl_lessons import data, evaluation
from ssl_lessons.models.generative import bigan, diffusion, vq
from ssl_lessons.models.generative.autoencoders import ConvDecoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain, recipes
from ssl_lessons.views import denormalize, normalize

BETAS = (0.5, 0.99)

# ---- small things ---------------------------------------------------------------------------------------------


def strip(x: torch.Tensor, columns: int) -> str:
    """Images [N, 1 or 3, S, S] in [0, 1] as one picture of that many columns: a PNG in base64."""
    x = (x.clamp(0, 1) * 255).round().byte()
    rows = [torch.cat(list(row), dim=-1) for row in x.split(columns)]
    grid = torch.cat(rows, dim=1).expand(3, -1, -1).movedim(0, -1)
    file = io.BytesIO()
    Image.fromarray(grid.contiguous().numpy()).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def mlp(*widths: int, last=()) -> nn.Sequential:
    layers = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1], *last)


def unexplained(rebuilt, x) -> float:
    """Share of the variance over pictures that is missed: 0 = a copy, 1 = as bad as the mean picture."""
    return ((rebuilt - x).square().mean() / (x - x.mean(dim=0)).square().mean()).item()


def play(game, players, critic, steps: int, lr: float, at=None, gamma: float = 0.1, every: int = 1):
    """Alternate one step of the critic and one of the players.

    game() -> (real inputs of the critic, generated ones), both tuples with the data-like part first.
    R1 on the first of the real inputs, on every `every`-th step, weighed by that number.
    at(step): called before a step.
    """
    opt_d = torch.optim.Adam(critic.parameters(), lr=lr, betas=BETAS)
    opt_p = torch.optim.Adam([p for net in players for p in net.parameters()], lr=lr, betas=BETAS)
    for step in range(steps):
        if at is not None:
            at(step)
        real, fake = game()
        first = real[0].detach().clone().requires_grad_()
        on_real = critic(first, *(r.detach() for r in real[1:]))
        loss = bigan.critic_loss(on_real, critic(*(f.detach() for f in fake)))
        if step % every == 0:
            loss = loss + every * gamma / 2 * bigan.gradient_penalty(on_real, first)
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        loss = bigan.generator_loss(critic(*fake))
        if any(r.requires_grad for r in real):
            loss = bigan.bigan_player_loss(critic(*real), critic(*fake))
        opt_p.zero_grad()
        loss.backward()
        opt_p.step()
    for net in (*players, critic):
        net.requires_grad_(False)


# ---- digits: 64 pixels, a code of 16 numbers --------------------------------------------------------------------

Z, GAME, LONG_GAME = 16, 8000, 24000
DIGIT_STOPS = (0, 500, 1000, 2000, 4000, 8000, 16000, LONG_GAME)


@cache
def digit_sets():
    """x [N, 64] in [-1, 1] and labels of train and test, and a judge of digits that was trained on the real ones."""
    from sklearn.linear_model import LogisticRegression

    sets = [data.digits(s) for s in ("train", "test")]
    x, x_test = (s.images[:, 0].flatten(1).float() / 127.5 - 1 for s in sets)
    y, y_test = (s.labels for s in sets)
    judge = LogisticRegression(C=0.1, max_iter=2000).fit(x.numpy(), y.numpy())
    return x, y, x_test, y_test, lambda t: torch.from_numpy(judge.predict(t.numpy()))


def digit_probe(features) -> float:
    x, y, x_test, y_test, _ = digit_sets()
    rows = evaluation.label_efficiency(features(x), y, features(x_test), y_test, per_class=(10,), draws=5)
    return rows[0]["mean"]


@torch.no_grad()
def drawn_digits(generator) -> dict:
    """How wide the drawings are: variance as a share of the real, and kinds drawn, exp(entropy) by a judge: 1 to 10."""
    x, _, _, _, judge = digit_sets()
    fake = generator(torch.randn(2000, Z, generator=torch.Generator().manual_seed(7)))
    share = torch.bincount(judge(fake), minlength=10) / len(fake)
    variance = (fake.var(dim=0).mean() / x.var(dim=0).mean()).item()
    return {"variance": variance, "kinds": float(torch.special.entr(share).sum().exp())}


@torch.no_grad()
def both_ways(generator, encode) -> dict:
    """Error of G(E(x)) and of E(G(z)), whether the kind survives, and how far the codes spread (a draw: 1)."""
    _, _, x_test, y_test, judge = digit_sets()
    z = torch.randn(2000, Z, generator=torch.Generator().manual_seed(8))
    code = encode(x_test)
    rebuilt = generator(code)
    return {
        "error": unexplained(rebuilt, x_test),
        "error_code": unexplained(encode(generator(z)), z),
        "same_kind": (judge(rebuilt) == y_test).float().mean().item(),
        "code_std": code.std(dim=0).mean().item(),
    }


def batches(seed: int, size: int = 128):
    draw = torch.Generator().manual_seed(seed)
    x = digit_sets()[0]
    return lambda: x[torch.randint(len(x), (size,), generator=draw)]


def painter(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return mlp(Z, 128, 128, 64, last=(nn.Tanh(),))


def digit_floor(seed: int, sets=None) -> dict:
    """Baselines: pixels, 16 principal components, the untrained encoder, the mean digit and somebody else's."""
    x, _, x_test, y_test, judge = digit_sets()
    torch.manual_seed(seed)
    fresh = mlp(64, 128, 128, Z).requires_grad_(False)
    mean = x.mean(dim=0)
    _, _, axes = torch.linalg.svd(x - mean, full_matrices=False)
    pca = lambda t: (t - mean) @ axes[:Z].T  # noqa: E731
    other = x_test[torch.randperm(len(x_test), generator=torch.Generator().manual_seed(seed))]
    return {
        "probe_pixels": digit_probe(lambda t: t),
        "probe_untrained": digit_probe(fresh),
        "probe_pca": digit_probe(pca),
        "error_mean": unexplained(mean.expand_as(x_test), x_test),
        "error_other": unexplained(other, x_test),
        "error_pca": unexplained(pca(x_test) @ axes[:Z] + mean, x_test),
        "judge": (judge(x_test) == y_test).float().mean().item(),
    }


def digit_game(seed: int, sets=None, *, stochastic: bool = False, steps: int = GAME) -> dict:
    """BiGAN on digits, or ALI with an encoder that draws its code; followed over the game."""
    start, x_test = time.perf_counter(), digit_sets()[2]
    G = painter(seed)
    E, D = mlp(64, 128, 128, 2 * Z if stochastic else Z), bigan.PairCritic(64, Z, hidden=128)
    batch, trace = batches(seed), []
    encode = lambda x: E(x)[:, :Z]  # noqa: E731

    def game():
        x, z = batch(), torch.randn(128, Z)
        code = E(x)
        if stochastic:
            mu, log_var = code.chunk(2, dim=1)
            code = mu + (log_var / 2).exp() * torch.randn_like(mu)
        return (x, code), (G(z), z)

    @torch.no_grad()
    def look(step):
        if step in DIGIT_STOPS:
            trace.append(
                {"step": step, "probe": digit_probe(encode)} | both_ways(G, encode) | drawn_digits(G)
            )

    play(game, (G, E), D, steps, lr=1e-3, at=look)
    look(steps)
    z = torch.randn(12, Z, generator=torch.Generator().manual_seed(1))
    shown = torch.cat([x_test[:12], G(z), G(encode(x_test[:12]))]).view(-1, 1, 8, 8)
    row = {"steps": steps, "seconds": time.perf_counter() - start, "trace": trace}
    row |= {"probe": digit_probe(encode)} | both_ways(G, encode) | drawn_digits(G)
    return row | {"picture": strip((shown + 1) / 2, 12), "inversion": inversion(G, encode, seed)}


def digit_gan(seed: int, sets=None, steps: int = GAME) -> dict:
    """A GAN on digits; then an encoder that learns its inverse from drawings alone (the latent regressor)."""
    start, x_test = time.perf_counter(), digit_sets()[2]
    G = painter(seed)
    D, batch = mlp(64, 128, 128, 1), batches(seed)
    critic = lambda x: D(x).squeeze(1)  # noqa: E731
    critic = _Called(D, critic)
    play(lambda: ((batch(),), (G(torch.randn(128, Z)),)), (G,), critic, steps, lr=1e-3, gamma=0.1)
    E = mlp(64, 128, 128, Z)
    optimizer = torch.optim.Adam(E.parameters(), lr=1e-3)
    for _ in range(steps // 2):
        z = torch.randn(128, Z)
        loss = F.mse_loss(E(G(z)), z)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    E.requires_grad_(False)
    z = torch.randn(12, Z, generator=torch.Generator().manual_seed(1))
    shown = torch.cat([x_test[:12], G(z), G(E(x_test[:12]))]).view(-1, 1, 8, 8)
    torch.manual_seed(seed)
    painter(seed)
    fresh = mlp(64, 128, 128, 1).requires_grad_(False)
    row = {"steps": steps, "seconds": time.perf_counter() - start, "probe": digit_probe(E)}
    row |= {"probe_critic": digit_probe(D[:4]), "probe_critic_untrained": digit_probe(fresh[:4])}
    row |= both_ways(G, E) | drawn_digits(G) | {"picture": strip((shown + 1) / 2, 12)}
    row["probe_search"] = digit_probe(lambda x: bigan.invert(G, x, torch.zeros(len(x), Z), steps=200)[0])
    return row | {"inversion": inversion(G, E, seed)}


class _Called(nn.Module):
    """A network with another way to be called."""

    def __init__(self, network, call):
        super().__init__()
        self.network, self.call = network, call

    def forward(self, *inputs):
        return self.call(*inputs)


def inversion(G, encode, seed: int) -> list[dict]:
    """Errors of the search for a code from three starts, after 0, 20, 100 and 500 steps, and the codes' lengths."""
    x = digit_sets()[2][:200]
    draw = torch.Generator().manual_seed(100 + seed)
    starts = {"random": torch.randn(200, Z, generator=draw), "zero": torch.zeros(200, Z)}
    starts["encoder"] = encode(x)
    rows = []
    for name, z in starts.items():
        for before, steps in ((0, 0), (0, 20), (20, 100), (100, 500)):
            z = bigan.invert(G, x, z, steps=steps - before)[0] if steps else z.detach()
            length = z.norm(dim=1).mean().item()
            rows.append({"start": name, "steps": steps, "error": unexplained(G(z), x), "length": length})
    return rows


def digit_autoencoder(seed: int, sets=None, steps: int = GAME) -> dict:
    """The same two networks with squared error and no adversary: what the game is compared with."""
    start = time.perf_counter()
    G = painter(seed)
    E, batch, trace = mlp(64, 128, 128, Z), batches(seed), []
    optimizer = torch.optim.Adam([*G.parameters(), *E.parameters()], lr=1e-3)
    for step in range(steps + 1):
        if step in (*DIGIT_STOPS, steps):
            with torch.no_grad():
                trace.append({"step": step, "probe": digit_probe(E)} | both_ways(G, E))
        x = batch()
        loss = F.mse_loss(G(E(x)), x)
        optimizer.zero_grad()
        loss.backward()
        if step < steps:
            optimizer.step()
    row = {"steps": steps, "seconds": time.perf_counter() - start, "trace": trace}
    return row | trace[-1] | {"step": steps}


# ---- VQ-VAE, its critic, and the same steps without one ---------------------------------------------------------

CODES, DIM, WIDTH = 64, 16, 16
VQ_START, VQ_MORE, SHARE = 500, 300, 0.5
BANDS = ((0.5, 2.5), (2.5, 5.5), (5.5, 10.5), (10.5, 16.5))  # cycles per picture of 32 px


class VQVAE(nn.Module):
    """[N, 3, 32, 32] -> 8 x 8 codes out of CODES -> [N, 3, 32, 32]; enlarged by repetition, so no checkerboard."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, WIDTH, 4, 2, 1), nn.ReLU(), nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, 1, 1), nn.ReLU(), nn.Conv2d(2 * WIDTH, DIM, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(DIM, 2 * WIDTH, 3, 1, 1), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * WIDTH, WIDTH, 3, 1, 1), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(WIDTH, 3, 3, 1, 1),
        )  # fmt: skip
        self.vq = vq.VectorQuantizer(CODES, DIM)

    def forward(self, x):
        z, loss, _ = self.vq(self.encoder(x))
        return self.decoder(z), loss

    @torch.no_grad()
    def codes(self, x):
        """[N, 3, 32, 32] -> [N, 8, 8]"""
        return torch.cat(
            [vq.nearest_code(self.encoder(b).movedim(1, -1), self.vq.codebook) for b in x.split(500)]
        )

    @torch.no_grad()
    def rebuilt(self, x):
        return torch.cat([self.decoder(self.vq.look_up(self.codes(b))) for b in x.split(500)])


def bands(rebuilt, x) -> tuple[list[float], list[float]]:
    """Per band of BANDS: power of `rebuilt` as a share of x's, and the correlation of the two (1: the same
    detail in the same place; 0: detail that is not x's).  Images [N, 3, S, S]."""
    a, b = (torch.fft.fft2(t - t.mean(dim=(2, 3), keepdim=True)) for t in (rebuilt, x))
    f = torch.fft.fftfreq(x.shape[-1]) * x.shape[-1]
    radius = (f[:, None].square() + f[None].square()).sqrt()
    power, same = [], []
    for low, high in BANDS:
        inside = (radius > low) & (radius <= high)
        p_a, p_b = (t[..., inside].abs().square().sum().item() for t in (a, b))
        cross = (a[..., inside] * b[..., inside].conj()).real.sum().item()
        power.append(p_a / p_b)
        same.append(cross / math.sqrt(p_a * p_b) if p_a else 0.0)
    return power, same


def bag_of_codes(codes) -> torch.Tensor:
    """[N, 8, 8] -> how often each code occurs in each quarter [N, 4 CODES]"""
    return F.one_hot(codes.view(-1, 2, 4, 2, 4), CODES).float().mean(dim=(2, 4)).flatten(1)


def before_codes(model, x) -> torch.Tensor:
    """The encoder's vectors, averaged over quarters [N, 4 DIM]"""
    with torch.no_grad():
        return torch.cat([F.adaptive_avg_pool2d(model.encoder(b), 2).flatten(1) for b in x.split(500)])


def of_vq(model, sets) -> dict:
    _, train, test = sets
    x, x_test = normalize(train.images), normalize(test.images)
    rebuilt = model.rebuilt(x_test)
    power, same = bands(rebuilt, x_test)
    return {
        "error": unexplained(rebuilt, x_test),
        "perplexity": vq.perplexity(model.codes(x_test), CODES),
        "power": power,
        "same": same,
        "probe": probe(before_codes(model, x), before_codes(model, x_test), train, test),
        "probe_codes": probe(bag_of_codes(model.codes(x)), bag_of_codes(model.codes(x_test)), train, test),
        "picture": strip(denormalize(rebuilt[:10]), 10),
    }


def vq_train(
    model, x, seed: int, steps: int, critic=None, share: float = SHARE, lr: float = 1e-3, restart=False
):
    """Squared error and codes; with a critic also its opinion, weighed as in VQGAN (eq. 7) times `share`."""
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    if critic is not None:
        opt_d = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=BETAS)
    for step in range(steps):
        batch = normalize(x[torch.randint(len(x), (64,), generator=draw)])
        if restart and step % 10 == 0 and step < steps // 2:
            model.vq.restart_unused(model.encoder(batch), draw)
        rebuilt, extra = model(batch)
        rec = F.mse_loss(rebuilt, batch)
        loss = rec + extra
        if critic is not None:
            adv = -critic(rebuilt).mean()
            loss = loss + share * vq.adaptive_weight(rec, adv, model.decoder[-1].weight) * adv
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if critic is not None:
            loss = vq.hinge_critic_loss(critic(batch), critic(rebuilt.detach()))
            opt_d.zero_grad()
            loss.backward()
            opt_d.step()
    return model


_started: dict = {}


def vq_state(seed: int, sets):
    """The weights after VQ_START steps without a critic; computed once per seed."""
    if ("vq", seed) not in _started:
        torch.manual_seed(seed)
        model = vq_train(VQVAE(), sets[0].images, seed, VQ_START, lr=3e-3, restart=True)
        _started["vq", seed] = model.state_dict()
    model = VQVAE()
    model.load_state_dict(_started["vq", seed])
    return model


def vq_start(seed: int, sets) -> dict:
    row = {"steps": VQ_START} | of_vq(vq_state(seed, sets), sets)
    torch.manual_seed(seed)
    x, x_test = (normalize(s.images) for s in sets[1:])
    fresh = VQVAE()
    row["probe_untrained"] = probe(before_codes(fresh, x), before_codes(fresh, x_test), *sets[1:])
    row["probe_codes_untrained"] = probe(
        bag_of_codes(fresh.codes(x)), bag_of_codes(fresh.codes(x_test)), *sets[1:]
    )
    return row | {"truth": strip(denormalize(x_test[:10]), 10)}


def vq_more(seed: int, sets, *, share: float = 0.0) -> dict:
    """VQ_MORE further steps from the same weights, on the same batches, with (share > 0) or without a critic."""
    start, model = time.perf_counter(), vq_state(seed, sets)
    torch.manual_seed(seed + 1)
    critic = vq.PatchCritic(16) if share else None
    vq_train(model, sets[0].images, seed + 1000, VQ_MORE, critic, share)
    row = {"steps": VQ_START + VQ_MORE, "seconds": time.perf_counter() - start, "share": share}
    return row | of_vq(model, sets)


# ---- the looking glass: what a frozen encoder kept --------------------------------------------------------------

SIMCLR_STEPS, MIRROR_STEPS, RCDM_STEPS, T = 400, 800, 1500, 100
ASKED, DRAWINGS = 100, 6


def codes_of(seed: int, sets) -> dict:
    """place -> standardised codes of unlabeled, train and test; SimCLR is trained once per seed."""
    if ("simclr", seed) not in _started:
        recipe = recipes.get_recipe("quick")
        method = recipe.build(seed=seed)
        fresh = settle(recipe.build(seed=seed).encoder, sets[0].images[:2048]).eval()
        pretrain(
            method, sets[0].images, method.views(recipe.policy), steps=SIMCLR_STEPS, seed=seed, progress=False,
            **recipe.training(),
        )  # fmt: skip
        method.eval()
        found = {}
        for s in sets:
            h = evaluation.extract_features(method.encoder, s.images)
            with torch.no_grad():
                z = method.projector(h)
            small = F.avg_pool2d(normalize(s.images), 4).flatten(1)
            row = {"h": h, "z": z, "pixels": small}
            row["untrained h"] = evaluation.extract_features(fresh, s.images)
            for place, code in (row | {"nothing": torch.zeros(len(h), 8)}).items():
                found.setdefault(place, []).append(code)
        for place, (first, *others) in found.items():
            mean, std = first.mean(dim=0), first.std(dim=0) + 1e-3
            found[place] = [(code - mean) / std for code in (first, *others)]
        _started["simclr", seed] = found
    return _started["simclr", seed]


def corner_colour(x):
    """Mean colour of the four corners [N, 3]: ground"""
    n = x.shape[-1] // 6
    rows = torch.cat([x[..., :n, :], x[..., -n:, :]], dim=-2)
    return torch.cat([rows[..., :n], rows[..., -n:]], dim=-1).mean(dim=(2, 3))


def layout(x):
    """Grey picture at 8x8 without its mean [N, 64]: what is light, what is dark, and where"""
    grey = F.adaptive_avg_pool2d(x.mean(dim=1, keepdim=True), 8).flatten(1)
    return grey - grey.mean(dim=1, keepdim=True)


QUANTITIES = {"colour": corner_colour, "layout": layout, "pixels": lambda x: x.flatten(1)}


def mirror(seed: int, sets, *, place: str, steps: int = MIRROR_STEPS) -> dict:
    """A decoder with squared error from one place; its errors, and what a linear probe reads from the same code."""
    start, (code, code_train, code_test) = time.perf_counter(), codes_of(seed, sets)[place]
    unlabeled, train, test = sets
    x_test = normalize(test.images)
    torch.manual_seed(seed)
    decoder, draw = ConvDecoder(code.shape[1]), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    cooldown = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=max(steps, 2))
    for _ in range(steps):
        i = torch.randint(len(code), (64,), generator=draw)
        loss = F.mse_loss(decoder(code[i]), normalize(unlabeled.images[i]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cooldown.step()
    decoder.eval()
    with torch.no_grad():
        drawn = torch.cat([decoder(c) for c in code_test.split(500)])
    facts = ("kind", "x", "background_hue", "object_hue")
    tables = [{f: s.factors[f] for f in facts if f in s.factors} for s in (train, test)]
    row = {"steps": steps, "seconds": time.perf_counter() - start, "numbers": code.shape[1]}
    row |= {f"error_{key}": unexplained(q(drawn), q(x_test)) for key, q in QUANTITIES.items()}
    if place != "nothing":
        row |= {"read": evaluation.factor_probe(code_train, tables[0], code_test, tables[1])}
        row["probe"] = probe(code_train, code_test, train, test)
    return row | {"picture": strip(denormalize(drawn[:10]), 10)}


class Painter(nn.Module):
    """A U-Net that guesses the clean picture from a noisy one and a code; forward: the noise that this implies."""

    def __init__(self, alpha_bar, **options):
        super().__init__()
        self.net, self.alpha_bar = diffusion.UNet(T, width=16, **options), alpha_bar

    def forward(self, xt, t, told):
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return (xt - a.sqrt() * self.net(xt, t, told)) / (1 - a).sqrt()


def glass(seed: int, sets, *, place: str, steps: int = RCDM_STEPS) -> dict:
    """RCDM in miniature at 16 px: several drawings from one code.  made_up: variance among them, as a share of the real
    variance; error: of one drawing, same unit; error_mean: of their mean.  A painter that draws from the true
    distribution given the code has error = 2 made_up.
    """
    start, (code, _, code_test) = time.perf_counter(), codes_of(seed, sets)[place]
    s = diffusion.linear_schedule(T)
    x, x_test = (F.avg_pool2d(normalize(part.images), 2) for part in (sets[0], sets[2]))
    torch.manual_seed(seed)
    painter = Painter(s.alpha_bar, condition=code.shape[1], size=16)
    optimizer = torch.optim.AdamW(painter.parameters(), lr=3e-3)
    cooldown = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=max(steps, 2))
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        i, t = torch.randint(len(x), (64,), generator=draw), torch.randint(T, (64,), generator=draw)
        noisy = diffusion.add_noise(x[i], t, torch.randn(x[i].shape, generator=draw), s)
        loss = F.mse_loss(painter.net(noisy, t, code[i]), x[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cooldown.step()
    painter.requires_grad_(False)
    told = code_test[:ASKED].repeat_interleave(DRAWINGS, dim=0)
    shape = (len(told), 3, 16, 16)
    drawn = diffusion.sample(painter, shape, s, torch.Generator().manual_seed(seed), told, clip=2.5)
    drawn, truth = drawn.unflatten(0, (ASKED, DRAWINGS)), x_test[:ASKED]
    row = {"steps": steps, "seconds": time.perf_counter() - start}
    for key, quantity in QUANTITIES.items():
        q = quantity(drawn.flatten(0, 1)).unflatten(0, (ASKED, DRAWINGS))  # [ASKED, DRAWINGS, D]
        real = quantity(truth)
        unit = real.var(dim=0).mean()
        row[f"made_up_{key}"] = (q.var(dim=1).mean() / unit).item()
        row[f"error_{key}"] = ((q - real[:, None]).square().mean() / unit).item()
        row[f"error_mean_{key}"] = ((q.mean(dim=1) - real).square().mean() / unit).item()
    shown = torch.cat([torch.cat([truth[i : i + 1], drawn[i, :5]]) for i in range(min(5, ASKED))])
    return row | {"picture": strip(denormalize(shown), 6)}


# ---- all ------------------------------------------------------------------------------------------------------

ARMS = {
    "digits: floors": (digit_floor, 5),
    "digits: bigan": (digit_game, 100),
    "digits: ali": (partial(digit_game, stochastic=True), 110),
    "digits: gan": (digit_gan, 90),
    "digits: autoencoder": (digit_autoencoder, 50),
    "adversary: vq start": (vq_start, 50),
    "adversary: vq, no critic": (vq_more, 30),
    "adversary: vq, critic": (partial(vq_more, share=SHARE), 50),
    "glass: decoder from nothing": (partial(mirror, place="nothing"), 100),  # trains SimCLR first
    "glass: decoder from untrained h": (partial(mirror, place="untrained h"), 30),
    "glass: decoder from h": (partial(mirror, place="h"), 30),
    "glass: decoder from z": (partial(mirror, place="z"), 30),
    "glass: rcdm from nothing": (partial(glass, place="nothing"), 60),
    "glass: rcdm from untrained h": (partial(glass, place="untrained h"), 60),
    "glass: rcdm from h": (partial(glass, place="h"), 60),
    "glass: rcdm from pixels": (partial(glass, place="pixels"), 60),
}
LONG_ARMS = {
    "digits: long bigan": (partial(digit_game, steps=LONG_GAME), 360),
}
