"""Seconds an epoch of PyTorch, tensors in memory, on made-up images.

    echo "784,512,512,10 64 100" | torch_epoch.py THREADS

For each line WIDTHS BATCH STEPS one with the seconds. SGD with momentum 0.9 as in configs/mlp.ini.
STEPS in a row are timed after a warm-up and scaled to 60,000 samples; the best of many goes counts,
of 1 s and at least three."""

import sys
import time

import torch
from torch import nn

SAMPLES = 60000


def seconds(widths, batch, steps):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss_of = nn.CrossEntropyLoss()
    images = torch.rand(batch * 8, widths[0])
    labels = torch.randint(0, widths[-1], (batch * 8,))

    def go(count):
        began = time.perf_counter()
        for step in range(count):
            at = step % 8 * batch
            optimizer.zero_grad(set_to_none=True)
            loss_of(model(images[at:at + batch]), labels[at:at + batch]).backward()
            optimizer.step()
        return time.perf_counter() - began

    go(10)
    goes = [go(steps) for _ in range(3)]
    while sum(goes) < 1:
        goes.append(go(steps))
    return min(goes) / steps * SAMPLES / batch


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    for line in sys.stdin:
        of, *counts = line.split()
        print(f"{seconds([int(w) for w in of.split(',')], *map(int, counts)):.4f}", flush=True)
