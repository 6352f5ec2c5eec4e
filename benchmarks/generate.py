"""Does a machine that can draw a thing know what it is?  The runs of chapters 07 and 07b.

Over 400 lines: all arms of one record, so that what made a row can be read in one place.

    uv run python benchmarks/generate.py --tune        # learning rates, on held-out pictures of a world of their own
    uv run python benchmarks/generate.py               # what is missing: seeds 0, 1, 2
    uv run python benchmarks/generate.py --long        # the long runs, seed 0
    uv run python benchmarks/generate.py --seconds 600 # start no further run after ten minutes; go on by repeating it

A VQ-VAE (as it is, without restarts, and with a codebook that starts eight times too large: all of them for the same
number of steps), an autoregressive prior on its codes, a denoiser of all noise levels, and beside them who studied the
same 8,192 pictures without a network (their principal components), the same networks untrained, pixels and edges, and a
contrastive network, stage by stage.  The adversaries of chapter 07b are in _adversaries.py.  A layer or a noise level
is chosen on held-out train pictures and tested once.  A run that is in the record is not repeated.
"""

import argparse
import base64
import inspect
import io
import math
import time

import _adversaries
import torch
import torch.nn.functional as F
from _painters import CODES, RATES, TUNED_ON, VQ_STEPS, coder, looks, pictures, quality, rate
from _record import merge, recorded
from _world import WORLD, splits
from PIL import Image

from ssl_lessons import evaluation, views
from ssl_lessons.models import build_encoder, encoders
from ssl_lessons.models.generative import diffusion, painting, vq
from ssl_lessons.models.generative.autoregressive import GPT, sample_images
from ssl_lessons.models.generative.autoregressive_pixels import read_out
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain, recipes

KEY = ("world", "arm", "seed")
PRIOR_STEPS, DENOISER_STEPS = 300, 600
LONG_VQ, LONG_PRIOR, LONG_DENOISER, EVERY = 2000, 2500, 5000, 1000
TUNE_STEPS, HELD_OUT = 200, 1024
NOISE_STEPS, LEVELS = 100, (2, 10, 25, 50, 90)
SCHEDULE = diffusion.linear_schedule(NOISE_STEPS)
FACTS = ("kind", "background_hue", "object_hue")
DRAWN, SHOWN = 64, 8
SIZE, MIDDLE, SIMCLR_STEPS = (
    64,
    25,
    250,
)  # of the comparisons of layers: numbers, noise level; fixed beforehand


# ---- who needs no training ------------------------------------------------------------------------------------


def strip(x: torch.Tensor) -> str:
    """Normalised pictures [N, 3, S, S] side by side as a PNG in base64."""
    row = torch.cat(list(views.denormalize(x).clamp(0, 1)), dim=2).mul(255).round().byte()
    file = io.BytesIO()
    Image.fromarray(row.permute(1, 2, 0).numpy()).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def paintings(drawn: torch.Tensor, studied: torch.Tensor, new: torch.Tensor) -> dict:
    """Of drawn pictures: power per octave as a share of the new pictures', distance to the nearest studied one, and the
    first few to look at."""
    return {
        "drawn_power": (painting.band_power(drawn) / painting.band_power(new)).tolist(),
        "drawn_nearest": float(painting.to_nearest(drawn, studied).mean()),
        "new_nearest": float(painting.to_nearest(new[: len(drawn)], studied).mean()),
        "pictures": strip(drawn[:SHOWN]),
    }


def copies(seed, sets):
    """The first painter: it shows a studied picture again."""
    x, _, new = pictures(sets)
    chosen = torch.randint(len(x), (DRAWN,), generator=torch.Generator().manual_seed(seed))
    return {"steps": 0} | paintings(x[chosen], x, new)


def components(seed, sets):
    """The second painter: 100 principal components and a Gaussian."""
    x, train, test = pictures(sets)
    painter = painting.Components(x, 100, seed)
    row = quality(painter.numbers(train), painter.numbers(test), sets)
    row |= looks(painter.rebuild(test), test) | paintings(painter.draw(DRAWN, seed), x, test)
    facts = facts_of(painter.numbers(train), painter.numbers(test), sets[1], sets[2])
    return {"steps": 0, "facts": facts} | row


def floor(name: str):
    def run(seed, sets):
        unlabeled, train, test = sets
        if name == "mean image":
            x, _, new = pictures(sets)
            return {"steps": 0} | looks(x.mean(dim=0).expand_as(new), new)
        if name == "untrained":
            network = build_encoder("convnet", width=16, dim=256)
            network = encoders.untrained(network, seed, unlabeled.images[:2048])
            h, h_test = (evaluation.extract_features(network, s.images) for s in (train, test))
        else:
            h, h_test = (getattr(evaluation, name)(s.images) for s in (train, test))
        return {"steps": 0, "facts": facts_of(h, h_test, train, test)} | quality(h, h_test, sets)

    return run


def facts_of(h, h_new, fit, new) -> dict:
    """How well facts about the scene are read linearly from features (0 = chance, 1 = perfectly)."""
    tables = [{f: s.factors[f] for f in FACTS} for s in (fit, new)]
    return evaluation.factor_probe(h, tables[0], h_new, tables[1])


def same_size(h, h_new, size: int = SIZE):
    """Features of the train and the test pictures as their first principal components, so that no layer wins by being
    wider."""
    code = painting.Components(h, size)
    return code.numbers(h), code.numbers(h_new)


def stages(layers, layers_new, sets) -> list[float]:
    """100-label probes of several layers, all of one size."""
    return [quality(*same_size(h, n), sets)["probe"] for h, n in zip(layers, layers_new, strict=True)]


def simclr(seed, sets):
    """A contrastive network, stage by stage, averaged over quarters of the picture."""
    recipe = recipes.get_recipe("quick")
    method = recipe.build(seed)
    pretrain(
        method, sets[0].images, method.views(recipe.policy), steps=SIMCLR_STEPS, seed=seed, progress=False,
        batch_size=128, lr=3e-3,
    )  # fmt: skip
    return {"steps": SIMCLR_STEPS} | of_stages(method.encoder.eval(), sets)


def simclr_untrained(seed, sets):
    network = recipes.get_recipe("quick").build(seed).encoder
    return {"steps": 0} | of_stages(settle(network, sets[0].images[:2048]).eval(), sets)


@torch.no_grad()
def of_stages(encoder, sets) -> dict:
    found = []
    for x in pictures(sets)[1:]:
        outputs = []
        for i, layer in enumerate(encoder.layers):
            x = layer(x)
            if i % 3 == 2:  # convolution, norm, ReLU
                outputs.append(F.adaptive_avg_pool2d(x, 2).flatten(1))
        found.append(outputs)
    whole = [evaluation.extract_features(encoder, s.images) for s in sets[1:]]
    return {"stages": stages(*found, sets), "facts": facts_of(*whole, *sets[1:])} | quality(*whole, sets)


# ---- codes ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def of_codes(model, sets) -> dict:
    """What a VQ-VAE rebuilds, how many codes it uses, and probes of its codes and of its encoder's vectors."""
    _, train, test = pictures(sets)
    codes, codes_test = model.codes(train), model.codes(test)
    bags = [painting.bag_of_codes(c, CODES) for c in (codes, codes_test)]
    vectors = [F.adaptive_avg_pool2d(model.encoder(x), 2).flatten(1) for x in (train, test)]
    row = {"perplexity": vq.perplexity(codes_test, CODES)} | looks(model.draw(codes_test), test)
    row["codebook_norm"] = float(model.vq.codebook.norm(dim=1).mean())
    row["vector_norm"] = float(model.encoder(test[:500]).norm(dim=1).mean())
    row |= {f"vectors_{k}": v for k, v in quality(*vectors, sets).items()}
    return row | quality(*bags, sets) | {"facts": facts_of(*bags, sets[1], sets[2])}


def vq_arm(start: float = 1.0, restarts: bool = True, steps: int = VQ_STEPS):
    def run(seed, sets):
        x = pictures(sets)
        if start == 1 and restarts and steps == VQ_STEPS:
            model = coder(seed)
        else:
            torch.manual_seed(seed)
            model = painting.VQVAE(CODES)
            model.vq.codebook.data.mul_(start)
            if steps:
                painting.train_codes(model, x[0], steps, rate("vq"), restarts=restarts, seed=seed)
            else:
                with torch.no_grad():
                    z = model.encoder(x[0][:64])
                model.vq.restart_unused(z, torch.Generator().manual_seed(seed))
        row = {"steps": steps, "lr": rate("vq"), "pictures": strip(model.rebuild(x[2][:SHOWN]))}
        return row | of_codes(model, sets)

    return run


def prior_of(model, steps: int, seed: int, sets) -> dict:
    """An autoregressive prior on a VQ-VAE's codes: how surprised it is, what it draws, what its states know."""
    x, train, test = pictures(sets)
    seen, codes, new = (model.codes(b) for b in (x, train, test))
    torch.manual_seed(seed)
    prior = GPT(CODES, seen[0].numel())
    if steps:
        painting.train_prior(prior, seen, steps, rate("prior"), seed=seed)
    prior.requires_grad_(False).eval()
    halves, depth, row = (slice(0, 1000), slice(1000, 2000)), len(prior.blocks) + 1, {}
    states = [torch.cat([read_out(prior, c, i) for c in codes.split(250)]) for i in range(depth)]
    by_layer = [facts_of(s[halves[0]], s[halves[1]], *(sets[1][h] for h in halves))["kind"] for s in states]
    best = max(range(depth), key=lambda i: by_layer[i])
    states_new = torch.cat([read_out(prior, c, best) for c in new.split(250)])
    row |= {"layer": best, "kind_by_layer": by_layer} | quality(states[best], states_new, sets)
    row["facts"] = facts_of(states[best], states_new, sets[1], sets[2])
    row["nats"] = painting.code_surprise(seen, new, CODES)
    row["nats"]["prior"] = float(torch.stack([F.cross_entropy(prior(c), c) for c in new.split(250)]).mean())
    generator = torch.Generator().manual_seed(seed)
    confetti = torch.randint(CODES, (DRAWN, *new[0].shape), generator=generator)
    if not steps:
        return row
    drawn = model.draw(sample_images(prior, DRAWN, new.shape[-1], generator))
    row["confetti"] = strip(model.draw(confetti)[:SHOWN])
    return row | paintings(drawn, x, test)


def prior_arm(steps: int = PRIOR_STEPS):
    def run(seed, sets):
        return {"steps": steps, "lr": rate("prior")} | prior_of(coder(seed), steps, seed, sets)

    return run


# ---- noise ----------------------------------------------------------------------------------------------------


def new_denoiser(seed: int) -> painting.Denoiser:
    torch.manual_seed(seed)
    return painting.Denoiser(SCHEDULE)


def map_of(denoiser, train, x, levels=LEVELS, layers=None) -> dict[str, list[list[float]]]:
    """Facts read from every layer (rows) at every noise level (columns), from one half of the train pictures to the
    other."""
    half = len(train) // 2
    table = {f: [[0.0] * len(levels) for _ in diffusion.UNet.LAYERS] for f in FACTS}
    for column, level in enumerate(levels):
        for place, h in enumerate(denoiser.layers(x, level)):
            for f, v in facts_of(h[:half], h[half:], train[:half], train[half:]).items():
                table[f][place][column] = v
    return table


def best_cell(table: list[list[float]]) -> tuple[int, int]:
    return max(
        ((i, j) for i in range(len(table)) for j in range(len(table[0]))), key=lambda c: table[c[0]][c[1]]
    )


def of_denoiser(denoiser, seed: int, sets, draw: bool = True) -> dict:
    """The map, the cell where the kind is best read (held-out train pictures), that cell on the test pictures, once,
    the error per noise level, and drawings."""
    denoiser.requires_grad_(False).eval()
    x, train, test = pictures(sets)
    row = {"map": map_of(denoiser, sets[1], train)}
    place, column = best_cell(row["map"]["kind"])
    h, h_test = (denoiser.layers(b, LEVELS[column], 1)[place] for b in (train, test))
    row |= {"layer": diffusion.UNet.LAYERS[place], "level": LEVELS[column]} | quality(h, h_test, sets)
    row["facts"] = facts_of(h, h_test, sets[1], sets[2])
    row["layers"] = stages(*(denoiser.layers(b, MIDDLE, 2) for b in (train, test)), sets)
    middle = diffusion.UNet.LAYERS.index("middle S/8")
    by_level = [[denoiser.layers(b, level, 2)[middle] for level in LEVELS] for b in (train, test)]
    row["levels"] = stages(*by_level, sets)
    row["error_by_level"] = []
    for level in LEVELS:
        t = torch.full((500,), level)
        noise = torch.randn((500, *test.shape[1:]), generator=torch.Generator().manual_seed(level))
        guess = denoiser.net(diffusion.add_noise(test[:500], t, noise, SCHEDULE), t)
        row["error_by_level"].append(float((guess - test[:500]).square().mean() / test.var(dim=0).mean()))
    if draw:
        shape, generator = (DRAWN, *test.shape[1:]), torch.Generator().manual_seed(seed)
        row |= paintings(diffusion.sample(denoiser, shape, SCHEDULE, generator, clip=2.5), x, test)
    return row


def awake(denoiser: painting.Denoiser) -> painting.Denoiser:
    """With random last convolutions in its blocks, which start at zero and leave an untrained network linear."""
    for name, part in denoiser.named_modules():
        if name.endswith(".second"):
            part.reset_parameters()
    return denoiser


def diffusion_arm(steps: int = DENOISER_STEPS):
    def run(seed, sets):
        denoiser, row = new_denoiser(seed), {"steps": steps}
        if steps:
            losses = painting.train_denoiser(denoiser, pictures(sets)[0], steps, rate("diffusion"), seed=seed)
            row |= {"lr": rate("diffusion"), "loss": sum(losses[-50:]) / 50, "first_loss": losses[0]}
        return row | of_denoiser(denoiser if steps else awake(denoiser), seed, sets, draw=steps > 0)

    return run


# ---- long runs ------------------------------------------------------------------------------------------------


def long_codes(seed, sets):
    """A VQ-VAE and its prior, both trained for long."""
    model = coder(seed, LONG_VQ)
    found = {"steps": LONG_VQ, "prior_steps": LONG_PRIOR, "vq": of_codes(model, sets)}
    found["vq"]["pictures"] = strip(model.rebuild(pictures(sets)[2][:SHOWN]))
    return found | prior_of(model, LONG_PRIOR, seed, sets)


def long_diffusion(seed, sets):
    """A denoiser trained for long; on the way, the kind at every layer and three noise levels, held-out train pictures,
    and what it draws."""
    x, train, test = pictures(sets)
    denoiser, trace = new_denoiser(seed), []

    def look(step):
        with torch.no_grad():
            seen = map_of(denoiser, sets[1], train, LEVELS[:4])["kind"]
            place, column = best_cell(seen)
            drawn = diffusion.sample(
                denoiser, (SHOWN, *test.shape[1:]), SCHEDULE, torch.Generator().manual_seed(seed), clip=2.5
            )
        cell = {"layer": diffusion.UNet.LAYERS[place], "level": LEVELS[column]}
        trace.append({"step": step, "kind": seen[place][column], "pictures": strip(drawn)} | cell)
        print(step, {k: v for k, v in trace[-1].items() if k != "pictures"}, flush=True)

    losses = painting.train_denoiser(
        denoiser, x, LONG_DENOISER, rate("diffusion"), seed=seed, every=EVERY, look=look
    )
    row = {"steps": LONG_DENOISER, "lr": rate("diffusion"), "trace": trace, "loss": sum(losses[-50:]) / 50}
    return row | of_denoiser(denoiser, seed, sets)


# ---- learning rates -------------------------------------------------------------------------------------------


def tune(end: float) -> None:
    """Held-out loss of each of RATES after a short run, on unlabelled pictures of seed 9's world kept aside."""
    seed, done = TUNED_ON, {r["arm"] for r in recorded("generate")}
    x = pictures(splits(seed)[:1])[0]
    studied, kept = x[:-HELD_OUT], x[-HELD_OUT:]
    model = None

    def codes(lr):
        nonlocal model
        torch.manual_seed(seed)
        model = painting.VQVAE(CODES)
        painting.train_codes(model, studied, TUNE_STEPS, lr, seed=seed)
        return float(F.mse_loss(model.rebuild(kept), kept))

    def prior(lr):
        if model is None:
            codes(RATES["vq"][1])
        torch.manual_seed(seed)
        network = GPT(CODES, 64)
        painting.train_prior(network, model.codes(studied), TUNE_STEPS, lr, seed=seed)
        with torch.no_grad():
            return float(F.cross_entropy(network(model.codes(kept)), model.codes(kept)))

    def noise(lr):
        denoiser = new_denoiser(seed)
        painting.train_denoiser(denoiser, studied, TUNE_STEPS, lr, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        t = torch.randint(NOISE_STEPS, (len(kept),), generator=generator)
        noisy = diffusion.add_noise(kept, t, torch.randn(kept.shape, generator=generator), SCHEDULE)
        with torch.no_grad():
            return float(F.mse_loss(denoiser.net(noisy, t), kept))

    for name, run in (("vq", codes), ("prior", prior), ("diffusion", noise)):
        for lr in RATES[name]:
            arm = f"tune: {name}, {lr:g}"
            if arm in done or time.perf_counter() > end:
                continue
            row = {"world": WORLD, "arm": arm, "seed": seed, "lr": lr, "steps": TUNE_STEPS}
            row["held_out"] = run(lr)
            merge("generate", [row], KEY)
            print(row, flush=True)


# ---- all ------------------------------------------------------------------------------------------------------

SHORT = {
    "pixels": floor("pixels"),
    "edges": floor("edges"),
    "untrained": floor("untrained"),
    "mean image": floor("mean image"),
    "copies": copies,
    "components": components,
    "vq": vq_arm(),
    "vq, no restarts": vq_arm(restarts=False),
    "vq, codebook x 8": vq_arm(start=8),
    "vq, codebook x 8, no restarts": vq_arm(start=8, restarts=False),
    "vq, untrained": vq_arm(steps=0),
    "prior": prior_arm(),
    "prior, untrained": prior_arm(0),
    "simclr": simclr,
    "simclr, untrained": simclr_untrained,
    "diffusion": diffusion_arm(),
    "diffusion, untrained": diffusion_arm(0),
} | {name: run for name, (run, _) in _adversaries.ARMS.items()}
LONG = {"long diffusion": long_diffusion, "long codes": long_codes}
LONG |= {name: run for name, (run, _) in _adversaries.LONG_ARMS.items()}


def main(arms: list[str], seeds: list[int] | None, long: bool, tuning: bool, seconds: float) -> None:
    end = time.perf_counter() + seconds
    if tuning:
        tune(end)
        return
    jobs, seeds = LONG if long else SHORT, seeds or ([0] if long else [0, 1, 2])
    done = {tuple(row.get(k) for k in KEY) for row in recorded("generate")}
    for seed in seeds:
        todo = [a for a in jobs if (WORLD, a, seed) not in done and (not arms or a.startswith(tuple(arms)))]
        sets = splits(seed) if todo else None
        for arm in todo:
            if time.perf_counter() > end:
                return
            start = time.perf_counter()
            row = {"world": WORLD, "arm": arm, "seed": seed} | jobs[arm](seed, sets)
            row["seconds"] = time.perf_counter() - start
            merge("generate", [row], KEY)
            shown = {k: v for k, v in row.items() if isinstance(v, float | int) or k == "facts"}
            print(arm, {k: round(v, 3) if isinstance(v, float) else v for k, v in shown.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=[], help="how their names begin, as in: vq digits")
    parser.add_argument("--seeds", nargs="+", type=int, help="0 1 2, and 0 of the long runs, unless given")
    parser.add_argument("--long", action="store_true", help="the long runs instead of the short ones")
    parser.add_argument(
        "--tune", action="store_true", dest="tuning", help="choose learning rates, first of all"
    )
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no further run after that")
    main(**vars(parser.parse_args()))
