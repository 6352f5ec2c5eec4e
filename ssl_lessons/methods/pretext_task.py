"""What the tasks share whose label costs nothing: one gentle view, a question about it, and the right answer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ssl_lessons.methods.base import Method
from ssl_lessons.views import Policy, normalize


def gentle(policy: Policy, **changes) -> tuple[Policy]:
    """One view for a task that is itself the challenge: a crop of at least half the image, a flip, true colours."""
    plain = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "solarize_p": 0.0, "crop_scale": (0.5, 1.0)}
    return (policy.replace(**plain | changes),)


class PretextTask(Method):
    """A method that asks about one view what was done to it; subclasses define `quiz`.

    zoom: the view's side over the recipe's.
    """

    zoom = 1.0

    def quiz(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Questions about views x [N, 3, S, S]: logits [Q, answers], and which answer is right, int64 [Q]."""
        raise NotImplementedError

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy, size=round(self.zoom * policy.size))

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return cross_entropy(*self.quiz(views[0]))

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    @torch.no_grad()
    def accuracy(self, images: Tensor, seed: int = 0) -> float:
        """Share of right answers about uint8 images [N, 3, H, W], whole and not augmented, in evaluation mode.

        seed: of the places and orders asked about; the global random state stays as it was.
        """
        was, device, right = self.training, next(self.parameters()).device, []
        self.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for batch in images.split(250):
                x = normalize(batch.to(device), round(self.zoom * images.shape[-1]))
                logits, answers = self.quiz(x)
                right.append(logits.argmax(dim=1) == answers)
        self.train(was)
        return float(torch.cat(right).float().mean())
