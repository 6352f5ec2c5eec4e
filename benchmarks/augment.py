"""How many augmented views per second: this package, torchvision and kornia, same operations, same images.

    uv run --group bench python benchmarks/augment.py --size 96 --batch 256 --threads 2 --repeats 7

Every contestant turns a uint8 batch [N, 3, S, S] into one normalized float32 view per image, with SimCLR's
policy (crop, flip, colour jitter, grayscale), without and with its Gaussian blur. They take turns inside
each repeat, so that other work on the machine slows all of them alike; the table holds medians.
"torchvision, whole batch" is not a fair rival: one crop, one colour and one order serve all images of the
batch. It is listed to show what that saves. The PIL and per-image rows run in one process; data-loader
workers would multiply them by the number of cores.
"""

import argparse
import statistics
import time
import warnings

import torch
from _record import record
from torchvision.transforms import v2

from ssl_lessons.views import Policy, augment

SLOW = 32  # images per call of the contestants that go one image at a time


def torchvision_steps(policy, kernel):
    jitter = v2.ColorJitter(policy.brightness, policy.contrast, policy.saturation, policy.hue)
    steps = [
        v2.RandomResizedCrop(policy.size, policy.crop_scale, policy.crop_ratio, antialias=True),
        v2.RandomHorizontalFlip(policy.flip_p),
        v2.RandomApply([jitter], policy.jitter_p),
        v2.RandomGrayscale(policy.grayscale_p),
    ]
    if policy.blur_p:
        steps.append(v2.RandomApply([v2.GaussianBlur(kernel, policy.blur_sigma)], policy.blur_p))
    return steps


def kornia_pipeline(policy, kernel, cropping_mode):
    import kornia.augmentation as K

    size, mean, std = (policy.size,) * 2, torch.tensor(policy.mean), torch.tensor(policy.std)
    colors = (policy.brightness, policy.contrast, policy.saturation, policy.hue)
    steps = [
        K.RandomResizedCrop(size, policy.crop_scale, policy.crop_ratio, cropping_mode=cropping_mode),
        K.RandomHorizontalFlip(p=policy.flip_p),
        K.ColorJitter(*colors, p=policy.jitter_p),
        K.RandomGrayscale(p=policy.grayscale_p),
    ]
    if policy.blur_p:
        steps.append(K.RandomGaussianBlur((kernel, kernel), policy.blur_sigma, p=policy.blur_p))
    return K.AugmentationSequential(*steps, K.Normalize(mean, std), data_keys=["input"])


def contestants(images, policy):
    """name -> (function without arguments that makes the views, how many it makes)."""
    n = len(images)
    kernel = 2 * max(1, policy.size // 20) + 1  # the one of ssl_lessons.views.blur
    generator = torch.Generator().manual_seed(0)
    normalized = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(policy.mean, policy.std)]
    on_tensor = v2.Compose(torchvision_steps(policy, kernel) + normalized)
    on_pil = v2.Compose(torchvision_steps(policy, kernel) + [v2.ToImage()] + normalized)
    pictures = [v2.functional.to_pil_image(image) for image in images[:SLOW]]
    slice_, resample = (kornia_pipeline(policy, kernel, mode) for mode in ("slice", "resample"))
    return {
        "ssl_lessons": (lambda: augment(images, policy, generator), n),
        "kornia (slice crop)": (lambda: slice_(images.float() / 255), n),
        "kornia (resample crop)": (lambda: resample(images.float() / 255), n),
        "torchvision, image by image": (
            lambda: torch.stack([on_tensor(i) for i in images[:SLOW]]),
            min(n, SLOW),
        ),
        "torchvision on PIL, image by image": (
            lambda: torch.stack([on_pil(p) for p in pictures]),
            len(pictures),
        ),
        "torchvision, whole batch (one draw for all)": (lambda: on_tensor(images), n),
    }


def measure(runners, repeats):
    """name -> views per second, one value per repeat; a first, untimed round warms up and checks shapes."""
    rates = {name: [] for name in runners}
    for repeat in range(repeats + 1):
        for name, (run, n) in runners.items():
            start = time.perf_counter()
            out = run()
            seconds = time.perf_counter() - start
            if repeat == 0:
                assert len(out) == n and out.dtype == torch.float32, name
            else:
                rates[name].append(n / seconds)
    return rates


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=96, help="side of images and views, in pixels")
    parser.add_argument("--batch", type=int, default=256, help="images per call")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds")
    options = parser.parse_args()
    if min(options.size, options.batch, options.threads, options.repeats) < 1:
        parser.error("size, batch, threads and repeats must be at least 1")

    warnings.filterwarnings("ignore", module="kornia")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (options.batch, 3, options.size, options.size), dtype=torch.uint8)
    full = Policy.simclr(options.size)
    results = []
    for label, policy in {"without blur": full.replace(blur_p=0), "with blur": full}.items():
        rates = measure(contestants(images, policy), options.repeats)
        median = {name: statistics.median(values) for name, values in rates.items()}
        kornia = max(value for name, value in median.items() if name.startswith("kornia"))
        side = f"{options.size} x {options.size}"
        print(f"\nSimCLR {label}, {options.batch} images of {side}, threads: {options.threads}")
        print(f"{'':46}{'views/s':>10}{'lowest':>10}{'highest':>10}{'x kornia':>10}")
        for name, value in median.items():
            row = {
                "policy": label,
                "contestant": name,
                "views_per_second": round(value, 1),
                "lowest": round(min(rates[name]), 1),
                "highest": round(max(rates[name]), 1),
                "ratio_to_best_kornia": round(value / kornia, 2),
            }
            results.append(row)
            rate = "".join(f"{v:10,.1f}" for v in (value, min(rates[name]), max(rates[name])))
            print(f"{name:46}{rate}{value / kornia:10.2f}")

    print("saved", record("augment", results, ("torch", "torchvision", "kornia", "pillow")).name)


if __name__ == "__main__":
    main()
