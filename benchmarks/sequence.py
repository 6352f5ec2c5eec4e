"""Chapter 03: autoregressive models of digits beside a table of counts; and a long run of image GPT and of NEPA.

    uv run python benchmarks/sequence.py                                  # the digits, seeds 0, 1, 2: minutes
    uv run python benchmarks/sequence.py --arms gpt nepa --seeds 0        # the long runs: half an hour each and seed
    uv run python benchmarks/sequence.py --arms gpt --seeds 0 --seconds 200    # in pieces: repeat until it is done

Digits: every network is fitted to the same pictures with the same steps and stopped where 200 held-out train pictures
cost the fewest bits; the count table chooses its smoothing on the same 200.  All networks are read in one way (the last
layer by quarters of the picture).  Rows of the digits have the world "digits", those of the drawn world 2.
Long runs write a checkpoint into data/cache every few minutes and go on from there; a row that is in the record is not
repeated.  The layer in the middle is chosen on held-out train pictures among all but the first and the last block.
"""

import argparse
import inspect
import math
import time
from pathlib import Path

import torch
from _record import RESULTS, merge, recorded
from _world import WORLD

from ssl_lessons import data, diagnostics, evaluation
from ssl_lessons.models.devices import pick_device
from ssl_lessons.models.generative import autoregressive as ar
from ssl_lessons.models.generative import autoregressive_pixels as pixels

KEY = ("world", "arm", "seed")
HELD_OUT, STEPS, AT = 200, 300, (25, 50, 100, 200, 300)
SMOOTHINGS = (0.5, 1, 2, 4, 8, 16, 32, 64)
DIGITS = {  # arm -> network, learning rate
    "NADE": (lambda: pixels.NADEPictures(64, 64), 1e-2),
    "PixelCNN": (lambda: ar.PixelCNN(width=32, depth=4), 4e-3),
    "gated PixelCNN": (lambda: ar.GatedPixelCNN(width=24, depth=4), 4e-3),
    "row LSTM": (lambda: ar.RowLSTM(width=24, depth=2), 4e-3),
    "GPT": (lambda: ar.GPT(2, 64, dim=48, depth=2), 4e-3),
}
SIDE, LEVELS, DIM, DEPTH = 16, 4, 64, 6
LONG = {"gpt": 3000, "nepa": 4000}  # arm -> steps
SAVE_EVERY = 180  # seconds


def built(build, seed: int):
    torch.manual_seed(seed)
    return build()


def text(values) -> str:
    """Numbers, one per measurement, in one line."""
    return " ".join(f"{v:.4g}" for v in values)


# ---- digits ------------------------------------------------------------------------------------------------


def ink(images):
    """uint8 [N, 3, 8, 8] -> int64 [N, 8, 8] of zeros and ones."""
    return (images[:, 0] > 127).long()


def probe(a, b, train, test, seed: int, draws: int = 5) -> float:
    """Mean accuracy of linear probes on 10 labels per class."""
    rows = evaluation.label_efficiency(
        a, train.labels, b, test.labels, per_class=(10,), draws=draws, seed=100 * seed
    )
    return rows[0]["mean"]


def judged(a, b, train, test, seed: int) -> dict:
    return {
        "probe": probe(a, b, train, test, seed),
        "knn": evaluation.knn_accuracy(a, train.labels, b, test.labels),
        "rank": float(diagnostics.rank_me(b)),
    }


def fit_digits(build, lr: float, seed: int, fitted, held, steps: int):
    """The network at its best step by held-out bits, what it cost there, and the course of the run."""
    model, generator = built(build, seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    best, course = None, []
    for step in range(1, steps + 1):
        x = fitted[torch.randint(len(fitted), (48,), generator=generator)]
        optimizer.zero_grad()
        (-ar.log_prob(model, x).mean() / x[0].numel()).backward()
        optimizer.step()
        if step in AT or step == steps:
            cost = ar.bits_per_symbol(model, held)
            kept = {k: v.clone() for k, v in model.state_dict().items()}
            course.append((step, cost, kept))
            best = min(best or (cost, step, kept), (cost, step, kept), key=lambda b: b[0])
    model.load_state_dict(best[2])
    return model, best[1], course


def digit_rows(arm: str, seed: int, steps: int) -> list[dict]:
    train, test = data.digits("train"), data.digits("test")
    x, y = ink(train.images), ink(test.images)
    fitted, held = x[:-HELD_OUT], x[-HELD_OUT:]
    row = {"world": "digits", "arm": arm, "seed": seed}
    if arm == "pixels":
        p = (fitted.float().sum(dim=0) + 0.5) / (len(fitted) + 1)
        bits = float(-(y * p.log2() + (1 - y) * (1 - p).log2()).mean())
        return [row | {"bits": bits} | judged(x.flatten(1).float(), y.flatten(1).float(), train, test, seed)]
    if arm == "count table":
        tables = {m: pixels.CountTable(fitted, 2, m) for m in SMOOTHINGS}
        m = min(tables, key=lambda m: ar.bits_per_symbol(tables[m], held))
        return [row | {"bits": ar.bits_per_symbol(tables[m], y), "smoothing": m}]
    build, lr = DIGITS[arm]
    fresh = built(build, seed)
    model, step, course = fit_digits(build, lr, seed, fitted, held, steps)
    rows = [
        row | {"arm": name, "steps": at, "bits": ar.bits_per_symbol(network, y)}
        | judged(pixels.read_out(network, x), pixels.read_out(network, y), train, test, seed)
        for name, network, at in ((arm, model, step), (f"{arm}, untrained", fresh, 0))
    ]  # fmt: skip
    rows[0] |= {"steps_run": steps} | trace(fresh, course, x, y, train, test)
    return rows


def trace(network, course, x, y, train, test) -> dict:
    """Steps, held-out bits, test bits and kNN accuracy along the run."""
    bits, votes = [], []
    for _, _, state in course:
        network.load_state_dict(state)
        bits.append(ar.bits_per_symbol(network, y))
        a, b = pixels.read_out(network, x), pixels.read_out(network, y)
        votes.append(evaluation.knn_accuracy(a, train.labels, b, test.labels))
    return {
        "trace_step": " ".join(str(c[0]) for c in course), "trace_held_out": text(c[1] for c in course),
        "trace_bits": text(bits), "trace_knn": text(votes),
    }  # fmt: skip


# ---- long runs ---------------------------------------------------------------------------------------------


def world_sets(seed: int):
    counts = {"unlabeled": 10_000, "train": 2_000, "test": 2_000}
    return [data.shapes(split, 32, n, seed, world=WORLD) for split, n in counts.items()]


def gpt() -> ar.GPT:
    """Image GPT with positions that start as the sum of a row's and a column's vector."""
    model = ar.GPT(LEVELS, SIDE * SIDE, DIM, DEPTH)
    rows, columns = 0.2 * torch.randn(2, SIDE, DIM)
    model.positions.data = (rows[:, None] + columns[None]).flatten(0, 1)
    return model


def nepa() -> pixels.NEPA:
    return pixels.NEPA(3, 32, 4, DIM, DEPTH)


BUILD = {"gpt": gpt, "nepa": nepa}


def prepared(arm: str, sets) -> list[torch.Tensor]:
    """The pictures of the splits as the network of an arm takes them."""
    if arm == "nepa":
        return [s.images.float() / 127.5 - 1 for s in sets]
    edges = pixels.palette(pixels.grey(sets[0].images, SIDE), LEVELS)
    return [torch.bucketize(pixels.grey(s.images, SIDE), edges) for s in sets]


def train_long(arm: str, seed: int, pictures, steps: int, deadline: float, device):
    """The trained network, or None where time is up (a checkpoint says where to go on)."""
    batch, lr = (16, 2e-3) if arm == "gpt" else (64, 1e-3)
    model = built(BUILD[arm], seed).to(device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.01)
    schedule, done, losses = pixels.warm_cosine(optimizer, steps), 0, []
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    path = RESULTS.parent / "cache" / f"sequence_{arm}_{seed}_{steps}.pt"
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        done, losses = saved["done"], saved["losses"]
        generator.set_state(saved["generator"].cpu())
    last = time.perf_counter()
    for step in range(done, steps):
        x = pictures[torch.randint(len(pictures), (batch,), generator=generator)].to(device)
        loss = model(x) if arm == "nepa" else -ar.log_prob(model, x).mean() / x[0].numel() / math.log(2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), schedule.step()
        losses.append(loss.item())
        if (now := time.perf_counter()) - last > SAVE_EVERY or now > deadline:
            save(path, parts, step + 1, losses, generator)
            print(arm, seed, f"step {step + 1}, loss {sum(losses[-50:]) / len(losses[-50:]):.3f}", flush=True)
            last = now
        if now > deadline and step + 1 < steps:
            return None
    return model.cpu().eval(), losses


def save(path: Path, parts: dict, done: int, losses: list, generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save(states | {"done": done, "losses": losses, "generator": generator.get_state()}, path)


def layers(model, pictures) -> list[torch.Tensor]:
    """Every layer by quarters of the picture: [depth + 1] of [N, 4 D]."""
    found = []
    with torch.no_grad():
        for x in pictures.split(100):
            hidden = model.hidden(x)
            side = math.isqrt(hidden[0].shape[1])
            found.append([pixels.quarters(h.mT.unflatten(2, (side, side))) for h in hidden])
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def long_row(arm: str, model, pictures, sets, seed: int) -> dict:
    """Probes after every block; the inner block to use is chosen on the second half of train."""
    _, train, test = sets
    a, b = layers(model, pictures[1]), layers(model, pictures[2])
    half = len(train) // 2
    held = [probe(h[:half], h[half:], train[:half], train[half:], seed) for h in a]
    curve = [probe(h, g, train, test, seed) for h, g in zip(a, b, strict=True)]
    middle = max(range(2, DEPTH), key=held.__getitem__)
    knn = evaluation.knn_accuracy(a[middle], train.labels, b[middle], test.labels)
    return {
        "world": WORLD, "arm": arm, "seed": seed, "layers": text(curve), "held_out": text(held), "middle": middle,
        "probe_first": curve[1], "probe_middle": curve[middle], "probe_last": curve[-1], "knn_middle": knn,
    }  # fmt: skip


@torch.no_grad()
def test_loss(arm: str, model, pictures) -> dict:
    """What the loss of an arm is on test pictures; for image GPT beside a uniform guess and the count table."""
    x = pictures[2][:500]
    if arm == "nepa":
        e = model.embedded(x)
        return {"loss": float(model(x)), "spread": float(diagnostics.spread(e.flatten(0, 1)))}
    bits = sum(ar.bits_per_symbol(model, part) * len(part) for part in x.split(50)) / len(x)
    return {"bits": bits, "uniform": math.log2(LEVELS)} | count_bits(pictures, x)


def count_bits(pictures, x) -> dict:
    held = pictures[0][-1000:]
    tables = {m: pixels.CountTable(pictures[0][:-1000], LEVELS, m) for m in (10, 30, 100, 300)}
    m = min(tables, key=lambda m: ar.bits_per_symbol(tables[m], held))
    return {"count_bits": ar.bits_per_symbol(tables[m], x)}


def long_rows(arm: str, seed: int, steps: int, deadline: float, device) -> list[dict]:
    sets = world_sets(seed)
    pictures = prepared(arm, sets)
    begun = time.perf_counter()
    found = train_long(arm, seed, pictures[0], steps, deadline, device)
    if found is None:
        return []
    print(arm, seed, f"{time.perf_counter() - begun:.0f} s of training in this piece", flush=True)
    rows, fresh = [], built(BUILD[arm], seed)
    for name, model, at in ((arm, found[0], steps), (f"{arm}, untrained", fresh, 0)):
        row = long_row(name, model.eval(), pictures, sets, seed)
        rows.append(row | {"steps": at} | test_loss(arm, model, pictures))
    raw = [p.flatten(1).float() for p in pictures[1:]]
    shared = {"world": WORLD, "arm": f"{arm}, pixels", "seed": seed}
    found = judged(raw[0] - raw[0].mean(), raw[1] - raw[0].mean(), *sets[1:], seed)
    return [*rows, shared | found]


def main(arms: list[str], seeds: list[int], steps: int | None, seconds: float, device: str) -> None:
    done, start = {tuple(r.get(k) for k in KEY) for r in recorded("sequence")}, time.perf_counter()
    for seed in seeds:
        for arm in arms:
            if time.perf_counter() - start > seconds:
                return
            if (WORLD if arm in LONG else "digits", arm, seed) in done:
                continue
            if arm in LONG:
                deadline, count = start + seconds, steps or LONG[arm]
                rows = long_rows(arm, seed, count, deadline, pick_device(device))
            else:
                rows = digit_rows(arm, seed, steps or STEPS)
            if rows:
                merge("sequence", rows, KEY)
            for row in rows:
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    digits = ["pixels", "count table", *DIGITS]
    parser.add_argument("--arms", nargs="*", default=digits, choices=[*digits, *LONG])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="other than the recorded number: for trials")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="stop after that many; the next call goes on"
    )
    parser.add_argument("--device", default="cpu", help="of the long runs: cpu, cuda")
    main(**vars(parser.parse_args()))
