"""Seconds an epoch of PyTorch's and JAX's training steps, tensors in memory, on made-up images.

    peer_python.py torch|jax THREADS

Answers each line `WAY LAYERS BATCH STEPS SECONDS`, LAYERS as in model.layers with commas between them, or
`linear`, with seconds an epoch of 60,000 samples, at the
pace of each of several stretches of STEPS steps, for about SECONDS, or with an empty line where that
way does not work. A first line gives the library's version and its ways. The optimizer is SGD with
momentum 0.9, as in configs/mlp.ini."""

import os
import sys
import time
import traceback

import numpy as np

SAMPLES = 60000
BATCHES = 8  # in memory
SIDE, CLASSES = 28, 10


def torch_model(nn, layers):
    """Flat images for dense layers alone, else [1, SIDE, SIDE]; flatten where nn wants it."""
    makers = {"dense": nn.LazyLinear, "conv": nn.LazyConv2d, "maxpool": nn.MaxPool2d, "relu": nn.ReLU}
    modules, flat = [], "conv" not in layers
    for word in [w for w in layers.split(",") if w != "linear"] + [f"dense:{CLASSES}"]:
        name, *arguments = word.replace("@", ":").split(":")
        if name == "dense" and not flat:
            modules.append(nn.Flatten())
            flat = True
        modules.append(makers[name](*map(int, arguments)))
    return nn.Sequential(*modules)


def torch_steps(torch, way, layers, batch):
    """-> run(steps)."""
    from torch import nn
    model, loss_of = torch_model(nn, layers), nn.CrossEntropyLoss()
    shape = (1, SIDE, SIDE) if "conv" in layers else (SIDE * SIDE,)
    images = torch.rand(BATCHES * batch, *shape)
    labels = torch.randint(0, CLASSES, (BATCHES * batch,))
    model(images[:2])  # the lazy layers get their width
    if "conv" in layers and way != "eager":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    how = {"lr": 0.01, "momentum": 0.9}
    try:
        tuned = torch.optim.SGD(model.parameters(), fused=True, **how)
    except (RuntimeError, TypeError):  # before PyTorch 2.3 not on CPUs
        tuned = torch.optim.SGD(model.parameters(), foreach=True, **how)
    optimizer = torch.optim.SGD(model.parameters(), **how) if way == "eager" else tuned

    def loss(x, y):
        return loss_of(model(x), y)
    forward = torch.compile(loss) if way == "compiled" else loss

    def run(steps):
        for step in range(steps):
            at = step % BATCHES * batch
            optimizer.zero_grad(set_to_none=True)
            forward(images[at:at + batch], labels[at:at + batch]).backward()
            optimizer.step()
    return run


def jax_steps(jax, layers, batch):
    """-> run(steps), of dense layers with relu alone."""
    import jax.numpy as jnp
    widths = [SIDE * SIDE, *(int(w[6:]) for w in layers.split(",") if w.startswith("dense:")), CLASSES]
    rng = np.random.default_rng(1)
    images = [jnp.asarray(rng.random((batch, widths[0]), np.float32)) for _ in range(BATCHES)]
    labels = [jnp.asarray(rng.integers(0, widths[-1], batch)) for _ in range(BATCHES)]
    parameters = [(jnp.asarray(rng.normal(0, i ** -0.5, (i, o)).astype(np.float32)), jnp.zeros(o))
                  for i, o in zip(widths, widths[1:])]

    def loss(parameters, x, y):
        for w, b in parameters[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = parameters[-1]
        logits = jax.nn.log_softmax(x @ w + b)
        return -logits[jnp.arange(len(y)), y].mean()

    def update(state, x, y):
        parameters, momentum = state
        gradients = jax.grad(loss)(parameters, x, y)
        momentum = jax.tree_util.tree_map(lambda m, g: 0.9 * m + g, momentum, gradients)
        return jax.tree_util.tree_map(lambda p, m: p - 0.01 * m, parameters, momentum), momentum
    step = jax.jit(update, donate_argnums=0)
    state = [parameters, jax.tree_util.tree_map(jnp.zeros_like, parameters)]

    def run(steps):
        for k in range(steps):
            state[:] = step(tuple(state), images[k % BATCHES], labels[k % BATCHES])
        jax.block_until_ready(state)
    return run


def main(library, threads):
    if library == "torch":
        import torch
        torch.set_num_threads(threads)
        ways = ["eager", "fused", "channels_last"] + ["compiled"] * hasattr(torch, "compile")
        version = torch.__version__
    else:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # XLA has no other way
        import jax
        ways, version = ["jit"], jax.__version__
    print(version, *ways, flush=True)
    made = {}
    for line in sys.stdin:
        way, layers, batch, steps, least = line.split()
        batch, steps = int(batch), int(steps)
        key = way, layers, batch
        if key not in made:
            try:
                made[key] = torch_steps(torch, way, layers, batch) if library == "torch" \
                    else jax_steps(jax, layers, batch)
                made[key](3)
            except Exception:  # a compiler that is missing, for one: the other ways go on
                traceback.print_exc()
                print(flush=True)
                continue
        made[key](steps // 4)  # the caches are ours again
        found, until = [], time.perf_counter() + float(least)
        while not found or time.perf_counter() < until:
            began = time.perf_counter()
            made[key](steps)
            found.append((time.perf_counter() - began) / steps * SAMPLES / batch)
        print(*(f"{seconds:.5f}" for seconds in found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
