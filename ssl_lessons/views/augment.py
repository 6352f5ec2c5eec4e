"""Random views of images: one batched operation, with its own parameters for every image.

    policy = Policy.simclr(size=32)
    generator = torch.Generator().manual_seed(0)
    first, second = make_views(images, [policy, policy], generator)     # each [N, 3, 32, 32]

`augment` is `draw` (the random numbers, on the CPU) followed by `apply` (the pixels, on the images'
device), so one seed gives the same parameters on every device and a lesson may look at, change or predict
the parameters. The order is the one of SimCLR and BYOL: crop, flip, (rotation,) colour jitter, grayscale,
blur, solarize, normalize.

Two ideas make it fast. A crop, its resize and its flip are one sampling of the source image. Brightness,
contrast, saturation, hue and grayscale are all affine in the colour, so any sequence of them is one 3 x 3
matrix and one offset per image, whatever the number of steps.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.views.constants import constant, to_device
from ssl_lessons.views.policy import COLOR_STEPS, MEAN, STD, Policy, draw

LUMINANCE = (0.2989, 0.587, 0.114)  # ITU-R BT.601 weights, with torchvision's rounding
CHUNK = 2**20  # float values worked on at a time on a CPU (4 MB)


# ---- the whole operation -------------------------------------------------------------------------


def make_views(images: Tensor, policies: Sequence[Policy], generator: torch.Generator) -> list[Tensor]:
    """One independent view of every image for each policy: a list of [N, 3, policy.size, policy.size]."""
    if isinstance(policies, Policy) or not len(policies):
        raise InputError("policies must be a non-empty list of Policy, one per view.")
    return [augment(images, policy, generator) for policy in policies]


def augment(images: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """One random view of every image, normalized by policy.mean and policy.std.

    images: [N, 3, H, W], uint8 or float in [0, 1], on any device. generator: a CPU generator; parameters
    are drawn per image. Returns float32 [N, 3, size, size]. Raises InputError for other shapes, dtypes or
    values.
    """
    _check(images)
    return _apply(images, policy, draw(policy, len(images), images.shape[2:], generator))


def normalize(images: Tensor, size: int | None = None, mean=MEAN, std=STD) -> Tensor:
    """The evaluation path: resize to size x size with antialiasing (if given), then (x - mean) / std.

    images as in `augment`; returns float32 [N, 3, size, size], or [N, 3, H, W] without a size.
    """
    _check(images)
    images = _as_float(images)
    if size is not None and tuple(images.shape[2:]) != (size, size):
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return _scale(images, mean, std)


def denormalize(views: Tensor, mean=MEAN, std=STD) -> Tensor:
    """Back from normalized values to colours in [0, 1], to show a view."""
    mean, std = (constant(v, views).view(3, 1, 1) for v in (mean, std))
    return (views * std + mean).clamp_(0, 1)


def apply(images: Tensor, policy: Policy, parameters: dict[str, Tensor]) -> Tensor:
    """The views that `parameters` (from `draw`, or edited) describe; shapes and errors as in `augment`.

    Of the policy only size, solarize_threshold, mean and std are used. No gradient reaches the images.
    """
    _check(images)
    return _apply(images, policy, parameters)


@torch.no_grad()
def _apply(images, policy, parameters):
    n, size = len(images), policy.size
    out = torch.empty(n, 3, size, size, device=images.device)
    # on a CPU, chunks that fit its cache are faster than whole-batch temporaries; a GPU takes all at once
    chunk = max(1, CHUNK // max(images[0].numel(), 3 * size**2)) if images.device.type == "cpu" else n
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        part = {name: value[rows] for name, value in parameters.items()}
        _scale(_transform(_as_float(images[rows]), policy, part), policy.mean, policy.std, out=out[rows])
    return out


def _transform(images, policy, p):
    views = crop_resize(images, p["boxes"], p["flip"], policy.size)
    if p["angle"].any():
        views = rotate(views, p["angle"])
    factors = torch.stack([p[name] for name in COLOR_STEPS], dim=1)
    if (factors != torch.tensor([1.0, 1.0, 1.0, 0.0])).any() or p["grayscale"].any():
        factors, order, gray = (to_device(v, views.device) for v in (factors, p["order"], p["grayscale"]))
        matrix, offset = color_matrix(*factors.unbind(1), views.mean((2, 3)), order, gray)
        # torchvision clamps after every step; one clamp at the end keeps the steps affine
        views = recolor(views, matrix, offset).clamp_(0, 1)
    chosen = p["blur"].nonzero()[:, 0]
    if len(chosen):
        rows = to_device(chosen, views.device)
        views[rows] = blur(views[rows], p["blur"][chosen])
    if p["solarize"].any():
        inverted = to_device(p["solarize"], views.device)[:, None, None, None] & (
            views >= policy.solarize_threshold
        )
        views = torch.where(inverted, 1 - views, views)
    return views


# ---- single operations, with known parameters ----------------------------------------------------


def crop_resize(images: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Cut one box out of every image, resize it to size x size (antialiased), mirror it where flip is set.

    images: float [N, 3, H, W]; boxes: [N, 4] top, left, height, width in pixels; flip: bool [N].
    Equal to torchvision's resized_crop(antialias=True) up to rounding. Boxes no larger than the view
    need no antialiasing and take grid_sample, about twice as fast as the two matrix products a shrinking
    needs.
    """
    height, width = images.shape[2:]
    inside = boxes.shape == (len(images), 4) and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    if not (inside and (boxes[:, :2] + boxes[:, 2:] <= boxes.new_tensor([height, width])).all()):
        raise InputError(f"boxes must be [N, 4]: top, left, height, width, inside {height} x {width} pixels.")
    shrinks = bool((boxes[:, 2:] > size).any())
    boxes, flip = to_device(boxes.to(images.dtype), images.device), to_device(flip, images.device)
    top, left, h, w = boxes[:, :, None].unbind(1)
    steps = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) / size
    y = top + h * steps  # [N, size]: where each output row lies in the source; pixel i spans [i, i + 1]
    x = left + w * torch.where(flip[:, None], 1 - steps, steps)
    if shrinks:
        rows, columns = _resize_weights(y, top, h, height), _resize_weights(x, left, w, width)
        return _separable(images, rows, columns)
    # sampling stops at the box's outer pixel centres, so that nothing outside the box leaks in
    y = torch.minimum(torch.maximum(y, top + 0.5), top + h - 0.5) * (2 / height) - 1
    x = torch.minimum(torch.maximum(x, left + 0.5), left + w - 0.5) * (2 / width) - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _resize_weights(centers, start, length, n_in):
    """[N, size, n_in] weights of a triangle filter, as wide as the shrinking, cut off at the box's edges."""
    support = (length / centers.shape[1]).clamp(min=1)
    pixels = torch.arange(n_in, device=centers.device, dtype=centers.dtype) + 0.5
    weights = (1 - (pixels - centers[:, :, None]).abs() / support[:, :, None]).clamp_(min=0)
    weights *= ((pixels > start) & (pixels < start + length))[:, None, :]
    return weights / weights.sum(-1, keepdim=True)


def _separable(images, rows, columns):
    """rows [N, S, H] @ images [N, 3, H, W] @ columns^T, columns [N, T, W] -> [N, 3, S, T]."""
    n, channels, height, width = images.shape
    rows = rows[:, None].expand(-1, channels, -1, -1).reshape(n * channels, -1, height)
    out = torch.bmm(rows, images.reshape(n * channels, height, width))
    return torch.bmm(out.view(n, -1, width), columns.transpose(1, 2)).view(n, channels, -1, columns.shape[1])


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn every image [N, 3, S, S] counter-clockwise by its angle [N]; corners are filled by reflection."""
    height, width = images.shape[2:]
    angle = torch.deg2rad(to_device(degrees.to(images.dtype), images.device))[:, None, None]
    y = torch.arange(height, device=images.device, dtype=images.dtype)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=images.device, dtype=images.dtype)[None, :] - (width - 1) / 2
    cos, sin = angle.cos(), angle.sin()
    grid = torch.stack([(cos * x - sin * y) * (2 / width), (sin * x + cos * y) * (2 / height)], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def color_matrix(
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
    mean_color: Tensor,
    order: Tensor | None = None,
    grayscale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The whole colour jitter as one affine map per image: color -> matrix @ color + offset.

    brightness, contrast, saturation: [N] factors (1 = unchanged), hue: [N] turns (0 = unchanged),
    mean_color: [N, 3] mean over the pixels. order: [N, 4], the sequence of steps as indices into
    COLOR_STEPS (default: as listed). grayscale: bool [N], applied last. Returns ([N, 3, 3], [N, 3]).

    Brightness, contrast and saturation are torchvision's (without its clamps); contrast blends with the
    mean gray, which follows from mean_color because every earlier step is affine. Hue is a rotation about
    the gray axis instead of torchvision's shift of the HSV hue, which is not linear: the same at thirds of
    a turn, close between (closer than the rotation that keeps luminance, which the HSV shift does not keep
    either).
    """
    n, like = len(mean_color), mean_color
    eye = torch.eye(3, dtype=like.dtype, device=like.device)
    luminance = constant(LUMINANCE, like)
    to_gray = luminance.expand(3, 3)

    def times(factor, matrix):
        return factor[:, None, None] * matrix

    steps = torch.stack(  # [N, 4, 3, 3]: the linear part of every step
        [
            times(brightness, eye),
            times(contrast, eye),
            times(saturation, eye) + times(1 - saturation, to_gray),
            _hue_rotation(hue, like),
        ],
        dim=1,
    )
    order = torch.arange(4, device=like.device).expand(n, 4) if order is None else order
    matrix, offset = eye.expand(n, 3, 3), like.new_zeros(n, 3, 1)
    everyone = torch.arange(n, device=like.device)
    for position in range(4):
        step = steps[everyone, order[:, position]]
        gray = luminance @ (matrix @ mean_color[:, :, None] + offset)  # [N, 1]: mean gray of the image so far
        blend = torch.where(order[:, position] == 1, 1 - contrast, 0.0)[:, None] * gray
        matrix, offset = step @ matrix, step @ offset + blend[:, :, None]
    if grayscale is not None:
        last = torch.where(grayscale[:, None, None], to_gray, eye)
        matrix, offset = last @ matrix, last @ offset
    return matrix, offset[:, :, 0]


def _hue_rotation(turns, like):
    """[N, 3, 3] rotations about the gray axis (1, 1, 1), red towards green for positive turns (Rodrigues)."""
    angle = (2 * math.pi * turns)[:, None, None]
    axis = like.new_full((3, 3), 1 / 3)
    cross = constant(((0, -1, 1), (1, 0, -1), (-1, 1, 0)), like) / math.sqrt(3)
    eye = torch.eye(3, dtype=like.dtype, device=like.device)
    return axis + angle.cos() * (eye - axis) + angle.sin() * cross


def recolor(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """matrix [N, 3, 3] @ color + offset [N, 3] for every pixel of images [N, 3, H, W]; not clamped."""
    return torch.bmm(matrix, images.flatten(2)).add_(offset[:, :, None]).view(images.shape)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, one sigma [N] in pixels per image; kernel of a tenth of the side (SimCLR), at least 3.

    Edges are reflected, as in torchvision. A Gaussian is separable: one pass along the rows, one along the
    columns, each a convolution with one group per channel of every image (each has its own kernel).
    """
    n, channels, height, width = images.shape
    radius = min(max(1, width // 20), height - 1, width - 1)  # 1 at 32 pixels, 4 at 96, 11 at 224 (as BYOL)
    taps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (taps / to_device(sigma.to(images.dtype), images.device)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    out = F.pad(images, [radius] * 4, mode="reflect").flatten(0, 1)[None]  # [1, N * 3, H + 2r, W + 2r]
    out = F.conv2d(out, kernel[:, None, None, :], groups=n * channels)
    return F.conv2d(out, kernel[:, None, :, None], groups=n * channels).view(images.shape)


# ---- input and output ----------------------------------------------------------------------------


def _check(images):
    """Refuse anything but [N, 3, H, W] images, uint8 or float in [0, 1]."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
        shape = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images must be a tensor [N, 3, H, W] (channels second), not {shape}.")
    if images.numel() == 0:
        raise InputError(f"images is empty (shape {list(images.shape)}); give at least one image.")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise InputError(f"images must be uint8, or float in [0, 1], not {images.dtype}.")
    low, high = torch.stack(images.aminmax()).tolist()
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise InputError(f"float images must lie in [0, 1], not [{low:.3g}, {high:.3g}]; divide by 255?")


def _as_float(images):
    return images.float().mul_(1 / 255) if images.dtype == torch.uint8 else images.float()


def _scale(images, mean, std, out=None):
    mean, std = (constant(v, images).view(3, 1, 1) for v in (mean, std))
    return torch.sub(images, mean, out=out).div_(std)
