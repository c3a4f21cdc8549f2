"""Train a small network to tell two spirals apart; the whole step is one plan that replays.

Run: python examples/train_tiny.py
"""

import math

import numbatorch as nt
from numbatorch import nn
from numbatorch.nn.functional import cross_entropy

POINTS, STEPS = 256, 300


def spirals(points: int) -> tuple[nt.Tensor, nt.Tensor]:
    """(2 * points, 2) places on two spirals with noise, and (2 * points,) which spiral it is."""
    angle = nt.rand(points).sqrt() * (3 * math.pi)
    arm = nt.stack([angle * angle.cos(), angle * angle.sin()], dim=1) / (3 * math.pi)
    places = nt.cat([arm, -arm]) + nt.randn(2 * points, 2) * 0.02
    return places, nt.arange(2 * points) // points


def main() -> float:
    """Train, then test on new points; returns the share that is right."""
    nt.manual_seed(0)
    hidden = [nn.Linear(2, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()]
    model = nn.Sequential(*hidden, nn.Linear(64, 2))
    optimizer = nt.optim.AdamW(model.parameters(), lr=1e-2)
    places, labels = spirals(POINTS)

    @nt.compile
    def step(places: nt.Tensor, labels: nt.Tensor) -> nt.Tensor:
        loss = cross_entropy(model(places), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for number in range(STEPS):
        loss = step(places, labels)
        if number % 50 == 0:
            print(f"step {number:>3}: loss {loss.item():.4f}")
    places, labels = spirals(POINTS)
    with nt.no_grad():
        right = (model(places).argmax(-1) == labels).float().mean().item()
    print(f"share of new points that is right: {right:.3f}")
    return float(right)


if __name__ == "__main__":
    main()
