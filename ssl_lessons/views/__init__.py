"""Random views of images; beside them colour spaces (`color`), masks of patches (`masks`) and pretext tasks (`pretext`)."""

from ssl_lessons.views.augment import (
    CHUNK,
    COLOR_STEPS,
    LUMINANCE,
    MEAN,
    STD,
    Policy,
    apply,
    augment,
    blur,
    color_matrix,
    crop_resize,
    denormalize,
    draw,
    make_views,
    normalize,
    recolor,
    rotate,
)

__all__ = [
    "CHUNK", "COLOR_STEPS", "LUMINANCE", "MEAN", "STD", "Policy", "apply", "augment", "blur", "color_matrix",
    "crop_resize", "denormalize", "draw", "make_views", "normalize", "recolor", "rotate",
]  # fmt: skip
