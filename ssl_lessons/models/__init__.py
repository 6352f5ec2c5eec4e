"""Networks: encoders and heads, generative models (`generative`), coordinates without a network (`embedding`)."""

from ssl_lessons.models.blocks import ScaledBlock, sincos_positions, transformer_blocks
from ssl_lessons.models.devices import pick_device
from ssl_lessons.models.encoders import (
    ENCODERS,
    ConvNet,
    LabChannels,
    ResNet18,
    SplitChannels,
    ViT,
    build_encoder,
    count_parameters,
    fresh_copy,
    lab_of_views,
    patchify,
    projection_head,
    take,
    unpatchify,
    untrained,
)
from ssl_lessons.models.saving import load_encoder, save_encoder
from ssl_lessons.models.settle import settle

__all__ = [
    "ENCODERS", "ConvNet", "LabChannels", "ResNet18", "ScaledBlock", "SplitChannels", "ViT", "build_encoder",
    "count_parameters", "fresh_copy", "lab_of_views", "load_encoder", "patchify", "pick_device", "projection_head",
    "save_encoder", "settle", "sincos_positions", "take", "transformer_blocks", "unpatchify", "untrained",
]  # fmt: skip
