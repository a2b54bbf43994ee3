"""The race: seconds from the start of the process to an accuracy on the test set, ours and PyTorch's.

Both train what configs/mlp.ini and configs/cnn_fast.ini say: the same network, batches, learning rates and
decay, on the same images, scored after each epoch. race.py itself is PyTorch's side:

    race.py FOLDER mlp|cnn THREADS EPOCHS      prints `SECONDS ACCURACY` after each epoch"""

import re
import sys
import time

GOALS = {"mlp": (97, 98, 98.5), "cnn": (98, 99)}  # percent
EPOCHS = {"mlp": 10, "cnn": 1}
CONFIGS = {"mlp": "mlp.ini", "cnn": "cnn_fast.ini"}


def reached(lines, goals):
    """{goal: seconds} of [(seconds, percent)]."""
    return {goal: min(s for s, a in lines if a >= goal) for goal in goals if any(a >= goal for _, a in lines)}


# ---- ours ----

def ours(folder, data, which, threads):
    from common import TOP, TRAINER
    from parts import environment, in_time, process
    in_time()
    command = [TRAINER, TOP / "configs" / CONFIGS[which], f"data.dir={data}", "run.name=race",
               "run.overwrite=true", "run.resume=never", "train.log_every=1000000"]
    began, found = time.perf_counter(), []
    with process(command, environment(threads), cwd=folder) as child:
        for line in child.stdout:
            if score := re.search(r"test accuracy (\S+)%", line):
                found.append((time.perf_counter() - began, float(score[1])))
    in_time()
    return found


def theirs(python, data, which, threads):
    from parts import environment, in_time, process
    in_time()
    began, found = time.perf_counter(), []
    with process([python, __file__, data, which, threads, EPOCHS[which]], environment(threads)) as child:
        for line in child.stdout:
            found.append((time.perf_counter() - began, float(line)))
    in_time()
    return found


def race(folder, data, python, cores):
    from common import note, say
    say(f"\nThe race: seconds from the start of the process to a test accuracy on MNIST, {cores} threads")
    for which, goals in GOALS.items():
        times = {"trainer": reached(ours(folder, data, which, cores), goals),
                 "PyTorch": reached(theirs(python, data, which, cores), goals)}
        for goal in goals:
            text = ", ".join(f"{who} {found[goal]:.2f} s" if goal in found else f"{who}: not reached"
                             for who, found in times.items())
            say(f"  {goal:>4}%  {CONFIGS[which]:14s} {text}")
            for who, found in times.items():
                if goal in found:
                    note("race", "", f"{goal}% with {CONFIGS[which]}", "", cores, 1, who, found[goal], "", "s")


# ---- PyTorch ----

def load(folder):
    import numpy as np
    found = []
    for name in ("train", "t10k"):
        images = np.fromfile(f"{folder}/{name}-images-idx3-ubyte", "u1", offset=16).reshape(-1, 28 * 28)
        labels = np.fromfile(f"{folder}/{name}-labels-idx1-ubyte", "u1", offset=8)
        found.append((images.astype("f4") / 255, labels.astype("i8")))
    return found


def main(folder, which, threads, epochs):
    import torch
    from torch import nn
    torch.set_num_threads(threads)
    torch.manual_seed(42)
    (x, y), (xt, yt) = [tuple(map(torch.from_numpy, pair)) for pair in load(folder)]
    steps = epochs * -(-len(x) // 64)
    if which == "mlp":
        model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
        tuned = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        warmup = steps // epochs // 2
        course = torch.optim.lr_scheduler.SequentialLR(
            tuned, [torch.optim.lr_scheduler.LinearLR(tuned, 1 / warmup, 1, warmup),
                    torch.optim.lr_scheduler.CosineAnnealingLR(tuned, steps - warmup)], [warmup])
    else:
        x, xt = (v.reshape(-1, 1, 28, 28).contiguous(memory_format=torch.channels_last) for v in (x, xt))
        model = nn.Sequential(nn.Conv2d(1, 24, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 32, 3), nn.ReLU(),
                              nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10))
        model = model.to(memory_format=torch.channels_last)
        for layer in model:
            if hasattr(layer, "weight"):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        tuned = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.9, nesterov=True, weight_decay=5e-4)
        course = torch.optim.lr_scheduler.OneCycleLR(tuned, 0.15, total_steps=steps, pct_start=0.2,
                                                     cycle_momentum=False)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(epochs):
        model.train()
        order = torch.randperm(len(x))
        for at in range(0, len(x), 64):
            rows = order[at:at + 64]
            tuned.zero_grad(set_to_none=True)
            loss_of(model(x[rows]), y[rows]).backward()
            tuned.step()
            course.step()
        model.eval()
        with torch.no_grad():
            right = sum(int((model(xt[k:k + 1000]).argmax(1) == yt[k:k + 1000]).sum()) for k in range(0, len(xt), 1000))
        print(100 * right / len(xt), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
