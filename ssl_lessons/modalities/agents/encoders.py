"""Small networks: what looks at a picture, what imagines the next moment, what scores a state against a goal."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.modalities.agents import world

STRETCH = 5.0


class Eye(nn.Module):
    """Pictures to vectors: two convolutions and two linear layers.  uint8 [..., 3, 16, 16] -> [..., dim].

    What the camera always sees, the empty rooms, is subtracted and the rest stretched, as one subtracts a mean picture:
    else all pictures look alike to a network that has not learned yet, and a loss without a gradient there stays there.
    """

    def __init__(self, dim: int = 8, width: int = 128):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 4 * 4, width), nn.ReLU(), nn.Linear(width, dim),
        )  # fmt: skip
        for layer in self.net[
            :-1
        ]:  # as large behind each ReLU as before it (He et al. 2015), not a little smaller
            if hasattr(layer, "weight"):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.dim = dim
        self.register_buffer("rooms", world.empty())

    def forward(self, frames: Tensor) -> Tensor:
        x = (frames.flatten(0, -4).float() / 255 - self.rooms) * STRETCH
        return self.net(x).unflatten(0, frames.shape[:-3])


class Pixels(nn.Module):
    """No network at all: brightness, averaged over 2 x 2 pixels and flattened.  uint8 [..., 3, 16, 16] -> [..., 64]."""

    dim = 64

    def forward(self, frames: Tensor) -> Tensor:
        gray = frames.flatten(0, -4).float().mean(dim=1, keepdim=True) / 255
        return F.avg_pool2d(gray, 2).flatten(1).unflatten(0, frames.shape[:-3])


class Still(nn.Module):
    """An encoder that never learns, its vectors centred and scaled to mean variance 1 on `frames` [N, 3, 16, 16]."""

    def __init__(self, encoder: nn.Module, frames: Tensor):
        super().__init__()
        self.encoder, self.dim = encoder.requires_grad_(False), encoder.dim
        with torch.no_grad():
            z = encoder(frames)
        self.register_buffer("mean", z.mean(dim=0))
        self.register_buffer("scale", z.var(dim=0).mean().sqrt())

    def forward(self, frames: Tensor) -> Tensor:
        return (self.encoder(frames) - self.mean) / self.scale


class Dynamics(nn.Module):
    """The next vector from this one and an action, as a change: [..., dim], [..., actions] -> [..., dim]."""

    def __init__(self, dim: int = 8, actions: int = 2, width: int = 128):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim + actions, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, dim),
        )

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        return z + self.net(torch.cat([z, action], dim=-1))

    def roll(self, z: Tensor, actions: Tensor) -> Tensor:
        """All T imagined vectors after z [..., dim] under actions [..., T, 2]: [..., T, dim]."""
        imagined = []
        for action in actions.unbind(dim=-2):
            z = self(z, action)
            imagined.append(z)
        return torch.stack(imagined, dim=-2)


class Critic(nn.Module):
    """A score of "from here, with this action, towards that goal": phi(s, a) . psi(g) (Eysenbach et al. 2022)."""

    def __init__(self, dim: int = 16, width: int = 128):
        super().__init__()
        self.eye, self.goal = Eye(width), Eye(dim)
        self.joint = nn.Sequential(nn.ReLU(), nn.Linear(width + 2, width), nn.ReLU(), nn.Linear(width, dim))

    def here(self, frames: Tensor, actions: Tensor) -> Tensor:
        """phi: [..., 3, S, S] and [..., 2] -> [..., dim]."""
        return self.act(self.eye(frames), actions)

    def act(self, seen: Tensor, actions: Tensor) -> Tensor:
        """phi from what the eye made of the picture: [..., width] and [..., 2] -> [..., dim]."""
        return self.joint[1:](torch.cat([self.joint[0](seen), actions], dim=-1))


@torch.no_grad()
def features(encoder: nn.Module, frames: Tensor, batch: int = 2000) -> Tensor:
    """encoder(frames [N, 3, S, S]) in evaluation mode, batch by batch on its device; the answer on the CPU."""
    encoder.eval()
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    return torch.cat([encoder(part.to(device)).cpu() for part in frames.split(batch)])
