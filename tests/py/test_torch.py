"""PyTorch as the judge: its state_dict takes our files, its optimizers take our steps."""

import gzip

import h5py
import numpy as np
import pytest

from helpers import CLASSES, FEATURES, NAMES, TEST, Lab, fraction

pytestmark = pytest.mark.together  # only one worker loads PyTorch

LAYERS = "dense:24 relu dense:17 relu"
WIDTHS = (FEATURES, 24, 17, CLASSES)
STEPS, BATCH = 100, 64  # 10 epochs of 9 batches of 64 and one of 27
TOLERANCE = 1e-5  # of weights after so many steps


def network(torch, widths=WIDTHS):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def tensors(torch, arrays, split):
    images, labels = arrays[split]
    x = torch.from_numpy(images.reshape(len(images), -1).astype(np.float32) / 255)
    return x, torch.from_numpy(labels.astype(np.int64))


def eval_agrees(torch, lab, path, widths, x, y):
    """The checkpoint in PyTorch, by the one-liner, and in `trainer eval`: how many are right, the loss."""
    model = network(torch, widths)
    with h5py.File(path, "r") as h5:
        model.load_state_dict({k: torch.from_numpy(v[...]) for k, v in h5["model"].items()})
    with torch.no_grad():
        z = model(x)
    right = int((z.argmax(1) == y).sum())
    loss = float(torch.nn.functional.cross_entropy(z, y))
    printed = lab.run("eval", path).expect(0).test_line()
    assert printed[1:] == (float(f"{100 * right / len(y):.2f}"), len(y)), \
        f"PyTorch has {right} of {len(y)} right, eval prints {printed}"
    assert abs(printed[0] - loss) < 1e-4, f"PyTorch's loss is {loss}, eval's {printed[0]}"
    return right, loss


# ---- loading ----

@pytest.mark.parametrize("which", ["last", "best"])
def test_accuracy_is_equal_to_the_last_image(trained, arrays, torch, which):
    path = getattr(trained.out(), which)
    right, loss = eval_agrees(torch, trained, path, WIDTHS, *tensors(torch, arrays, "test"))
    epochs = trained.out().table("epochs")
    row = epochs[epochs["step"] == int(path.resolve().stem.split("-")[1])][0]
    assert round(fraction(row["test_accuracy"]) * TEST) == right
    assert abs(row["test_loss"] - loss) < 1e-5


# ---- the same steps ----

def start_values(widths=WIDTHS):
    """The initial weights that both sides get."""
    rng = np.random.default_rng(11)
    start = {}
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        bound = inputs ** -0.5
        start[f"{2 * i}.weight"] = rng.uniform(-bound, bound, (outputs, inputs))
        start[f"{2 * i}.bias"] = rng.uniform(-bound, bound, outputs)
    return {name: values.astype(np.float32) for name, values in start.items()}


def in_torch(torch, x, y, optimizer, rates=None, clip=0, smoothing=0, widths=WIDTHS):
    """The same steps in PyTorch, in order: model, losses, gradient norms, optimizer.
    optimizer: its class and keyword arguments; rates: what changes of them, step by step."""
    model = network(torch, widths).to(x.dtype)
    model.load_state_dict({name: torch.from_numpy(values)
                           for name, values in start_values(widths).items()})
    optimizer = getattr(torch.optim, optimizer[0])(model.parameters(), **optimizer[1])
    entropy = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    losses, norms, first = [], [], 0
    for step in range(STEPS):
        if rates is not None:
            optimizer.param_groups[0].update(rates[step])
        loss = entropy(model(x[first:first + BATCH]), y[first:first + BATCH])
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(),
                                                          clip or float("inf"))))
        optimizer.step()
        losses.append(loss.item())
        first = (first + BATCH) if first + BATCH < len(x) else 0
    return model, np.array(losses), np.array(norms), optimizer


def with_start(folder, data, widths=WIDTHS, **overrides):
    """A lab whose config starts from start_values() and does not shuffle."""
    lab = Lab(folder, data)
    with h5py.File(lab.dir / "start.h5", "w") as file:
        for name, values in start_values(widths).items():
            file[f"model/{name}"] = values
    lab.config(**{"model__layers": LAYERS, "model__init": "file",
                  "model__init_file": "start.h5", "train__shuffle": "false",
                  "train__epochs": 10, "train__batch_size": BATCH,
                  "checkpoint__every": 10, "train__eval_every": 10, **overrides})
    return lab


def difference(run, model, tolerance, widths=WIDTHS):
    """The largest between our weights and PyTorch's."""
    start = start_values(widths)
    with h5py.File(run.last, "r") as file:
        ours = {name: dataset[...] for name, dataset in file["model"].items()}
    theirs = {name: values.numpy() for name, values in model.state_dict().items()}
    moved = max(np.abs(theirs[name] - start[name]).max() for name in start)
    assert moved > 10 * tolerance, f"moved by {moved} only: nothing is compared"
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in start)


# Our keys, and PyTorch's optimizer.
FORMS = {
    "sgd": (dict(optimizer__lr=0.1), ("SGD", dict(lr=0.1))),
    "momentum": (dict(optimizer__lr=0.05, optimizer__momentum=0.9),
                 ("SGD", dict(lr=0.05, momentum=0.9))),
    "nesterov": (dict(optimizer__lr=0.05, optimizer__momentum=0.9, optimizer__nesterov="true"),
                 ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True))),
    "weight_decay": (dict(optimizer__lr=0.1, optimizer__momentum=0.5, optimizer__weight_decay=0.02),
                     ("SGD", dict(lr=0.1, momentum=0.5, weight_decay=0.02))),
    "adam": (dict(optimizer__name="adam", optimizer__lr=0.003), ("Adam", dict(lr=0.003))),
    "adam_decay": (dict(optimizer__name="adam", optimizer__lr=0.003, optimizer__weight_decay=0.01,
                        optimizer__beta1=0.8, optimizer__beta2=0.99, optimizer__eps=1e-6),
                   ("Adam", dict(lr=0.003, weight_decay=0.01, betas=(0.8, 0.99), eps=1e-6))),
    "adamw": (dict(optimizer__name="adamw", optimizer__lr=0.003, optimizer__weight_decay=0.3),
              ("AdamW", dict(lr=0.003, weight_decay=0.3))),
    "rmsprop": (dict(optimizer__name="rmsprop", optimizer__lr=0.001),
                ("RMSprop", dict(lr=0.001))),
    "rmsprop_momentum": (dict(optimizer__name="rmsprop", optimizer__lr=0.001, optimizer__alpha=0.9,
                              optimizer__momentum=0.5, optimizer__weight_decay=0.01),
                         ("RMSprop", dict(lr=0.001, alpha=0.9, momentum=0.5, weight_decay=0.01))),
    "adagrad": (dict(optimizer__name="adagrad", optimizer__lr=0.02, optimizer__weight_decay=0.01),
                ("Adagrad", dict(lr=0.02, weight_decay=0.01))),
    "clip": (dict(optimizer__lr=0.1, optimizer__clip_norm=0.2), ("SGD", dict(lr=0.1))),
    "smoothing": (dict(optimizer__lr=0.1, loss__label_smoothing=0.2), ("SGD", dict(lr=0.1))),
    "cosine": (dict(optimizer__lr=0.1, optimizer__momentum=0.5, optimizer__schedule="cosine",
                    optimizer__warmup=3, optimizer__min_lr=0.01),
               ("SGD", dict(lr=0.1, momentum=0.5))),
    "step": (dict(optimizer__lr=0.1, optimizer__momentum=0.5, optimizer__schedule="step",
                  optimizer__step_epochs=3, optimizer__step_gamma=0.5),
             ("SGD", dict(lr=0.1, momentum=0.5))),
    "standardize": (dict(optimizer__lr=0.02, data__normalize="standardize"),
                    ("SGD", dict(lr=0.02))),
}


# Our keys, PyTorch's scheduler of an optimizer at lr 0.1, and whether it steps each epoch.
SCHEDULES = {
    "step": (dict(step_epochs=3, step_gamma=0.5), lambda s, o: s.StepLR(o, 3, 0.5), True),
    "multistep": (dict(milestones="4, 9", step_gamma=0.3),
                  lambda s, o: s.MultiStepLR(o, [4, 9], 0.3), True),
    "exponential": (dict(step_gamma=0.8), lambda s, o: s.ExponentialLR(o, 0.8), True),
    "linear": (dict(min_lr=0.01), lambda s, o: s.LinearLR(o, 1, 0.1, STEPS), False),
    "polynomial": (dict(power=0.9), lambda s, o: s.PolynomialLR(o, STEPS, 0.9), False),
    "cosine": (dict(min_lr=0.01), lambda s, o: s.CosineAnnealingLR(o, STEPS, 0.01), False),
    "onecycle": (dict(min_lr=1e-5, momentum=0.5, final_momentum=0.7),
                 lambda s, o: s.OneCycleLR(o, 0.1, STEPS, base_momentum=0.5, max_momentum=0.7,
                                           final_div_factor=0.1 / 25 / 1e-5), False),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_is_that_of_pytorch(tmp_path, data, arrays, torch, name):
    keys, make, by_epoch = SCHEDULES[name]
    keys = {f"optimizer__{key}": value for key, value in keys.items()}
    keys = {"optimizer__momentum": 0.5, **keys}
    lab = with_start(tmp_path, data, optimizer__lr=0.1, optimizer__schedule=name, **keys)
    lab.run("run.ini").expect(0)
    steps = lab.out().table("steps")
    optimizer = torch.optim.SGD(network(torch).parameters(), lr=0.1, momentum=0.5)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for step in range(STEPS):
        rates.append({key: optimizer.param_groups[0][key] for key in ("lr", "momentum")})
        optimizer.step()
        if (step % 10 == 9 or not by_epoch) and step < STEPS - 1:
            scheduler.step()
    np.testing.assert_allclose(steps["lr"], [r["lr"] for r in rates], rtol=1e-9)
    assert len(set(steps["lr"])) > 2
    model = in_torch(torch, *tensors(torch, arrays, "train"), ("SGD", dict(lr=0.1, momentum=0.5)),
                     rates)[0]
    assert difference(lab.out(), model, TOLERANCE) <= TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_100_steps_agree_with_pytorch(tmp_path, data, arrays, torch, form):
    keys, kind = FORMS[form]
    lab = with_start(tmp_path, data, **keys)
    lab.run("run.ini").expect(0)
    steps = lab.out().table("steps")
    assert len(steps) == STEPS
    x, y = tensors(torch, arrays, "train")
    if form == "standardize":
        x = ((x.double() - x.double().mean()) / x.double().std(unbiased=False)).float()
    clip, smoothing = (keys.get(k, 0) for k in ("optimizer__clip_norm", "loss__label_smoothing"))
    model, losses, norms, optimizer = in_torch(torch, x, y, kind,
                                                  [{"lr": float(lr)} for lr in steps["lr"]],
                                                  clip, smoothing)
    assert difference(lab.out(), model, TOLERANCE) <= TOLERANCE
    np.testing.assert_allclose(steps["loss"][:20], losses[:20], rtol=2e-5,
                               err_msg="loss before the update")
    np.testing.assert_allclose(steps["grad_norm"][:20], norms[:20], rtol=1e-3,
                               err_msg="norm of the gradient")
    if clip:
        assert (norms > clip).mean() > 0.5, "the limit never bites: nothing is compared"
    if "optimizer__schedule" in keys:
        assert steps["lr"].min() < 0.05 < steps["lr"].max() <= 0.1 * 1.000001
    else:
        assert (steps["lr"] == keys["optimizer__lr"]).all()
    slots = {"momentum": "momentum_buffer", "m": "exp_avg", "sum": "sum",
             "v": "square_avg" if kind[0] == "RMSprop" else "exp_avg_sq"}
    with h5py.File(lab.out().last, "r") as file:
        assert bool(list(file["optimizer"])) == (kind[0] != "SGD" or "momentum" in kind[1])
        for slot in file["optimizer"]:
            for (name, p) in model.named_parameters():
                theirs = optimizer.state[p][slots[slot]].numpy()
                np.testing.assert_allclose(
                    file[f"optimizer/{slot}/{name}"][...], theirs, rtol=0,
                    atol=0.02 * np.abs(theirs).max(), err_msg=f"{slot} of {name}")


# ---- MNIST ----

def mnist_arrays(folder):
    found = {}
    for split, (images, labels) in NAMES.items():
        raw = [gzip.open(folder / f"{n}.gz").read() if (folder / f"{n}.gz").exists()
               else (folder / n).read_bytes() for n in (images, labels)]
        y = np.frombuffer(raw[1], np.uint8, offset=8)
        x = np.frombuffer(raw[0], np.uint8, offset=16)
        found[split] = (x.reshape(len(y), 28, 28), y)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("form", ["sgd", "momentum", "adam"])
def test_100_steps_on_mnist_agree_with_pytorch(tmp_path, mnist, torch, form):
    keys, (kind, options) = FORMS[form]
    tolerance = 2e-3 if kind == "Adam" else 1e-4
    if kind == "Adam":
        keys, options = {**keys, "optimizer__lr": 0.001}, {**options, "lr": 0.001}
    widths = (784, 512, 512, 10)
    lab = with_start(tmp_path, mnist, widths, train__max_steps=STEPS,
                     **{**keys, "model__layers": "dense:512 relu dense:512 relu"})
    lab.run("run.ini", env={"OMP_NUM_THREADS": "2"}).expect(75)
    images, labels = mnist_arrays(mnist)["train"]
    x, y = tensors(torch, {"train": (images[:STEPS * BATCH], labels[:STEPS * BATCH])}, "train")
    # With so many units some come so near to 0 that rounding decides on their side of it, and two
    # runs part: PyTorch's own in float32 and float64 do on some CPUs. Ours is with one of them.
    for inputs in (x, x.double()):
        model, losses, _, _ = in_torch(torch, inputs, y, (kind, options), widths=widths)
        found = difference(lab.out(), model, tolerance, widths)
        if found <= tolerance:
            break
    assert found <= tolerance
    ours = lab.out().table("steps")["loss"]
    np.testing.assert_allclose(ours[:5], losses[:5], rtol=1e-4)


@pytest.mark.slow
def test_mnist_accuracy_is_equal_to_the_last_image(lab, mnist, torch):
    lab.config(data=mnist, model__layers="dense:64 relu", train__epochs=1)
    lab.run("run.ini", env={"OMP_NUM_THREADS": "2"}).expect(0)
    right, _ = eval_agrees(torch, lab, lab.out().last, (784, 64, 10),
                           *tensors(torch, mnist_arrays(mnist), "test"))
    assert right > 8500
