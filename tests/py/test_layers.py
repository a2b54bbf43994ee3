"""Convolution, pooling, dropout, layer normalisation: PyTorch as the judge, the same bits on any
layout, and what mistakes say."""

import re
import signal

import h5py
import numpy as np
import pytest

from helpers import CLASSES, SIDE, Lab, assert_same_bits, kernel_sets

pytestmark = pytest.mark.together  # only one worker loads PyTorch

STEPS, BATCH = 100, 64  # 10 epochs of 9 batches of 64 and one of 27
SEED = 5

# Every layer, stride, padding, windows that meet and that leave pixels out.
NETS = {
    "conv": "conv:5@3 relu conv:7@4/2+3 tanh",
    "lenet": "conv:6@5+2 relu maxpool:2 conv:16@5 relu maxpool:2 dense:20 relu",
    "maxpool": "maxpool:3/2 conv:4@2 maxpool:2/1 gelu maxpool:2/3",
    "avgpool": "conv:4@3 sigmoid avgpool:2 conv:5@1 avgpool:3/2 relu dense:12",
    "layernorm": "layernorm conv:4@3/2 layernorm relu dense:16 layernorm tanh layernorm",
    "dropout": "dropout:0.1 conv:4@3/2 relu dropout:0.3 dense:30 relu dropout:0.5",
    "whole": "conv:8@16 relu flatten dense:9 relu",
    "in_a_row": "conv:3@3 leaky_relu softplus flatten tanh dropout:0 dense:8",
}


# ---- PyTorch ----

def philox(counter, key):
    """Philox4x32-10 on arrays of four uint64 words below 2^32."""
    c, (k0, k1) = list(counter), key
    low = np.uint64(0xffffffff)
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), b & low,
             (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), a & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xffffffff, (k1 + 0xBB67AE85) & 0xffffffff
    return c


def factors(p, layer, step, rows, features):
    """What dropout multiplies with: a function of seed, step, layer, row and feature."""
    f = np.arange(features, dtype=np.uint64)[None, :]
    index = (np.uint64(layer << 56) | (rows.astype(np.uint64)[:, None] << np.uint64(24)) |
             f // np.uint64(4))
    words = philox([index & np.uint64(0xffffffff), index >> np.uint64(32),
                    np.full_like(index, step), np.full_like(index, 4)], (SEED, 0))
    word = np.choose(np.broadcast_to(f % np.uint64(4), index.shape).astype(int), words)
    return np.where(word < int(np.float32(p).astype(float) * 2 ** 32), 0, 1 / (1 - p))


def build(torch, words, shape):
    """The layers of model.layers as a torch.nn.Sequential, with those that are added."""
    class Dropout(torch.nn.Module):
        def __init__(self, p, layer):
            super().__init__()
            self.p, self.layer, self.step, self.rows = p, layer, 0, None

        def forward(self, x):
            if not self.training:
                return x
            flat = x.reshape(len(x), -1)
            m = factors(self.p, self.layer, self.step, self.rows, flat.shape[1])
            return (flat * torch.from_numpy(m).to(x.dtype)).reshape(x.shape)

    nn, layers, x = torch.nn, [], torch.zeros(1, *shape)
    acts = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU,
            "leaky_relu": nn.LeakyReLU, "softplus": nn.Softplus, "flatten": nn.Flatten}
    for word in [*words.split(), f"dense:{CLASSES}"]:
        name, _, rest = word.partition(":")
        numbers = {m: int(n) for m, n in re.findall(r"([@/+])(\d+)", rest)}
        first = int(re.match(r"\d*", rest)[0] or 0)
        if name == "dense" and x.dim() > 2:
            layers.append(nn.Flatten())
            x = layers[-1](x)
        if name == "dense":
            layer = nn.Linear(x.shape[1], first)
        elif name == "conv":
            layer = nn.Conv2d(x.shape[1], first, numbers["@"], numbers.get("/", 1),
                              numbers.get("+", 0))
        elif name == "maxpool":
            layer = nn.MaxPool2d(first, numbers.get("/"))
        elif name == "avgpool":
            layer = nn.AvgPool2d(first, numbers.get("/"))
        elif name == "layernorm":
            layer = nn.LayerNorm(x.shape[1:])
        elif name == "dropout":
            layer = Dropout(float(rest), len(layers))
        else:
            layer = acts[name]()
        layers.append(layer)
        x = layer.eval()(x)
    return nn.Sequential(*layers)


def images(torch, arrays, split="train"):
    x, y = arrays[split]
    return (torch.from_numpy(x[:, None].astype(np.float64) / 255),
            torch.from_numpy(y.astype(np.int64)))


def train(torch, model, x, y, optimizer, steps=STEPS):
    losses, first = [], 0
    model.train()
    for step in range(1, steps + 1):
        rows = np.arange(first, min(first + BATCH, len(x)))
        for layer in model:
            layer.step, layer.rows = step, rows
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        first = rows[-1] + 1 if rows[-1] + 1 < len(x) else 0
    model.eval()
    return np.array(losses)


FORMS = {"sgd": (dict(lr=0.05, momentum=0.9), "SGD", 1e-3),
         "adamw": (dict(name="adamw", lr=0.002, weight_decay=0.1), "AdamW", 4e-3)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("net", NETS)
def test_100_steps_agree_with_pytorch(tmp_path, data, arrays, torch, net, form):
    keys, kind, tolerance = FORMS[form]
    torch.manual_seed(3)
    model = build(torch, NETS[net], (1, SIDE, SIDE))
    lab = Lab(tmp_path, data)
    with h5py.File(lab.dir / "start.h5", "w") as file:
        for name, values in model.state_dict().items():
            file[f"model/{name}"] = values.numpy()
    lab.config(run__seed=SEED, model__layers=NETS[net], model__init="file",
               model__init_file="start.h5", train__shuffle="false", train__epochs=10,
               train__batch_size=BATCH, train__eval_every=10,
               **{f"optimizer__{k}": v for k, v in keys.items()})
    lab.run("run.ini").expect(0)
    x, y = images(torch, arrays)
    model.double()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    options = {k: v for k, v in keys.items() if k != "name"}
    losses = train(torch, model, x, y,
                   getattr(torch.optim, kind)(model.parameters(), **options))
    steps = lab.out().table("steps")
    np.testing.assert_allclose(steps["loss"][:20], losses[:20], rtol=1e-4)
    with h5py.File(lab.out().last, "r") as file:
        ours = {name: values[...] for name, values in file["model"].items()}
    theirs = {name: values.numpy() for name, values in model.state_dict().items()}
    assert sorted(ours) == sorted(theirs)
    for name, values in theirs.items():
        assert ours[name].shape == values.shape
        moved = np.abs(values - start[name].numpy()).max()
        assert moved > 1e-3, f"{name} has moved by {moved} only"
        off = np.abs(ours[name] - values).max()
        assert off < tolerance, f"{name} is off by {off}, having moved by {moved}"
    # The one-liner, and evaluation: without dropout.
    model.float().load_state_dict({k: torch.from_numpy(v) for k, v in ours.items()})
    x, y = images(torch, arrays, "test")
    z = model(x.float())
    loss, accuracy, _ = lab.run("eval", lab.out().last).expect(0).test_line()
    assert abs(loss - torch.nn.functional.cross_entropy(z, y).item()) < 1e-4
    assert abs(accuracy - 100 * (z.argmax(1) == y).double().mean().item()) < 0.01


# ---- bits ----

ALL = ("conv:20@3+1 relu maxpool:2 layernorm conv:6@3/2 gelu avgpool:2/1 dropout:0.2 dense:19 "
       "tanh layernorm dropout:0.1")


def bits(lab, name, *args, ranks=None):
    lab.run("run.ini", f"run.name={name}", *args, ranks=ranks).expect(0)
    return lab.out(name).bits()


@pytest.fixture(scope="module")
def reference(tmp_path_factory, data):
    lab = Lab(tmp_path_factory.mktemp("layers"), data)
    lab.config(model__layers=ALL, optimizer__momentum=0.9, optimizer__lr=0.02)
    lab.bits = bits(lab, "reference")
    return lab


@pytest.mark.parametrize("ranks, threads", [(1, 2), (1, 3), (2, 1), (3, 2), (5, 1)])
def test_layout_changes_no_bit(reference, ranks, threads):
    got = bits(reference, f"r{ranks}t{threads}", f"parallel.threads={threads}", ranks=ranks)
    assert_same_bits(got, reference.bits, f"{ranks} ranks x {threads} threads")


def test_kernel_sets_change_no_bit(reference):
    for name in kernel_sets():
        got = bits(reference, f"set-{name}", f"parallel.kernels={name}")
        assert_same_bits(got, reference.bits, name)


def test_microbatches_and_odd_blocks_change_no_bit(reference):
    # Activations of more than 32 MB: a rank alone takes the batch in parts of 256 samples.
    args = ("train.batch_size=0", "parallel.block=7", "train.epochs=1",
            "model.layers=conv:16@3+1 relu conv:16@3+1 relu avgpool:4")
    one = bits(reference, "large", *args)
    assert_same_bits(bits(reference, "large3", *args, "parallel.threads=2", ranks=3), one,
                     "3 ranks x 2 threads")


def test_stops_and_other_layouts_change_no_bit(reference):
    lab, name = reference, "run.name=stopped"
    lab.run("run.ini", name, "train.max_steps=7", ranks=3).expect(75)
    lab.run("run.ini", name, "train.max_steps=6", "parallel.threads=2").expect(75)
    lab.run("run.ini", name, ranks=2).expect(0)
    assert_same_bits(lab.out("stopped").bits(), lab.bits, "stopped twice")


def test_kill_9_changes_no_bit(lab):
    lab.config(model__layers=ALL, train__epochs=12, checkpoint__every=1000)
    lab.run("run.ini", "run.name=whole").expect(0)
    job = lab.start("run.ini", "checkpoint.every_steps=5")
    job.wait_for(lambda: len(lab.out().steps_kept()) > 2)
    job.popen.send_signal(signal.SIGKILL)
    job.end(10)
    assert lab.out().status() == "running", "the run was over before the kill"
    lab.run("run.ini").expect(0)
    assert_same_bits(lab.out().bits(), lab.out("whole").bits(), "killed and resumed")


def test_dropout_depends_on_the_seed_alone(reference):
    """The same parameters, other masks."""
    args = ("model.layers=dropout:0.5 dense:9 relu", "model.init=constant",
            "model.init_weight=0.01", "model.init_bias=0", "train.shuffle=false",
            "train.max_steps=1")
    reference.run("run.ini", "run.name=drop1", "run.seed=1", *args).expect(75)
    reference.run("run.ini", "run.name=drop2", "run.seed=2", *args).expect(75)
    one, two = (reference.out(name).bits() for name in ("drop1", "drop2"))
    assert one["steps.grad_norm"] != two["steps.grad_norm"]


# ---- shapes, names, mistakes ----

@pytest.mark.parametrize("name", ["sgd", "adamw", "lion"])
def test_decay_of_matrices_only_leaves_biases_and_norms_out(lab, name):
    lab.config(model__layers="conv:3@5 layernorm relu dense:9", optimizer__name=name)

    def first_step(run, *args):
        lab.run("run.ini", f"run.name={run}", "train.max_steps=1", *args).expect(75)
        with h5py.File(lab.out(run).last, "r") as file:
            return {key: dataset[...] for key, dataset in file["model"].items()}
    without = first_step("without")
    of_all = first_step("all", "optimizer.weight_decay=0.5")
    of_matrices = first_step("matrices", "optimizer.weight_decay=0.5", "optimizer.decay_all=false")
    for key, values in without.items():
        matrix = values.ndim > 1 and not key.startswith("1.")  # 1 is the norm, of [3,12,12]
        assert np.array_equal(of_matrices[key], of_all[key] if matrix else values), key
        assert matrix or key == "1.bias" or not np.array_equal(of_all[key], values), key
        assert not matrix or not np.array_equal(of_all[key], values), key


def test_check_lists_the_layers_with_their_shapes(lab):
    lab.config(model__layers="conv:4@3/2+1 relu maxpool:2 layernorm dropout:0.1 dense:9")
    out = lab.run("check", "run.ini", "model.freeze=0 3").expect(0).out
    table = out[out.index("  layer  "):out.index("\nschedule constant,")].splitlines()
    assert [re.sub(" +", " ", line).strip() for line in table] == [
        "layer input output parameters FLOPs tensors",
        "0 conv [64,1,16,16] [64,4,8,8] 40 4608 0.weight [4,1,3,3], 0.bias [4] frozen",
        "1 relu [64,4,8,8] [64,4,8,8] 0 0",
        "2 maxpool [64,4,8,8] [64,4,4,4] 0 0",
        "3 layernorm [64,4,4,4] [64,4,4,4] 128 512 3.weight [4,4,4], 3.bias [4,4,4] frozen",
        "4 dropout [64,4,4,4] [64,4,4,4] 0 0",
        "5 flatten [64,4,4,4] [64,64] 0 0",
        "6 dense [64,64] [64,9] 585 1152 6.weight [9,64], 6.bias [9]",
        "7 dense [64,9] [64,10] 100 180 7.weight [10,9], 7.bias [10]",
        "in all 853 6452",
        "trained 685"]
    ends = {re.match(r"\d +\S+ +\S+ +\S+ +\d+ +\d+", line).end() for line in table[1:-2]}
    assert len(ends) == 1, "not aligned:\n" + out
    assert "trained" not in lab.run("check", "run.ini").expect(0).out.split("in all")[1][:40]


@pytest.mark.parametrize("layers, first", [
    ("dense:9", "0"), ("relu dense:9", "1"), ("dropout:0.1 relu dense:9", "2"),
    ("flatten dense:9", "1"), ("layernorm dense:9", "2"), ("conv:2@16 dense:9", "2")])
def test_flatten_is_counted_behind_layers_of_images_only(lab, layers, first):
    lab.config(model__layers=layers, train__epochs=1)
    lab.run("run.ini").expect(0)
    with h5py.File(lab.out().last, "r") as file:
        assert file[f"model/{first}.weight"].shape[0] == 9


# The layer, the shape that it gets and what would fit.
CONV, POOL = "C outputs and a window of K x K", "a window of K x K"


@pytest.mark.parametrize("layers, layer, gets, fits", [
    ("conv", "conv", "[1,16,16]", CONV),
    ("conv:8", "conv:8", "[1,16,16]", CONV),
    ("conv:8@", "conv:8@", "[1,16,16]", CONV),
    ("conv:0@3", "conv:0@3", "[1,16,16]", CONV),
    ("conv:8@3/0", "conv:8@3/0", "[1,16,16]", "stride 2, at least 1"),
    ("conv:8@3-1", "conv:8@3-1", "[1,16,16]", CONV),
    ("conv:8@3+1/2", "conv:8@3+1/2", "[1,16,16]", "conv:32@3/2+1"),
    ("conv:8@3/2/2", "conv:8@3/2/2", "[1,16,16]", CONV),
    ("conv:8@17", "conv:8@17", "[1,16,16]", "at most 16, or more with more padding (+P)"),
    ("conv:8@19+1", "conv:8@19+1", "[1,16,16]", "at most 18"),
    ("conv:4@3 relu conv:8@15", "conv:8@15", "[4,14,14]", "at most 14"),
    ("maxpool", "maxpool", "[1,16,16]", POOL),
    ("maxpool:0", "maxpool:0", "[1,16,16]", POOL),
    ("maxpool:2/0", "maxpool:2/0", "[1,16,16]", "stride 2, at least 1"),
    ("maxpool:2+1", "maxpool:2+1", "[1,16,16]", POOL),
    ("conv:4@3 maxpool:15", "maxpool:15", "[4,14,14]", "at most 14"),
    ("dense:8 avgpool:2", "avgpool:2", "[8]", "needs images, [C,H,W]"),
    ("flatten maxpool:2", "maxpool:2", "[256]", "before flatten and dense"),
    ("flatten conv:8@3", "conv:8@3", "[256]", "needs images, [C,H,W]"),
    ("flatten:3", "flatten:3", "[1,16,16]", "no argument"),
    ("conv:4@3 layernorm:3", "layernorm:3", "[4,14,14]", "no argument"),
    ("dense:9 relu:1", "relu:1", "[9]", "no argument"),
    ("dropout", "dropout", "[1,16,16]", "dropout:0.5"),
    ("dropout:1", "dropout:1", "[1,16,16]", "from 0 to below 1"),
    ("dropout:-0.1", "dropout:-0.1", "[1,16,16]", "from 0 to below 1"),
])
def test_mistakes_show_the_layer_the_shape_and_what_would_fit(lab, layers, layer, gets, fits):
    lab.config(model__layers=layers)
    lab.run("run.ini").fails(2, f"'{layer}' gets {gets}", fits)


def test_an_unknown_layer_is_said_with_those_there_are(lab):
    lab.config(model__layers="batchnorm")
    lab.run("run.ini").fails(2, "batchnorm", "conv:C@K[/S][+P]", "layernorm")


@pytest.mark.parametrize("layers", ["maxpool:2", "avgpool:3/2 dense:7 relu", "maxpool:2 layernorm"])
def test_a_net_that_begins_with_pooling_goes_on_and_is_scored(lab, layers):
    lab.config(model__layers=layers)
    lab.run("run.ini", "train.max_steps=3").expect(75)
    lab.run("run.ini").expect(0)
    loss, *_ = lab.run("eval", lab.out().last).expect(0).test_line()
    assert abs(loss - lab.out().table("epochs")["test_loss"][-1]) < 1e-4


def test_help_names_every_layer(lab):
    lab.config(model__layers="batchnorm")
    known = lab.run("run.ini").expect(2).errors[0].split("there are: ")[1].split()
    assert len(known) > 10
    told = " ".join(lab.run("help", "model.layers").expect(0).out.split())
    assert not [word for word in known if word not in told]


def test_tables_have_no_images(lab):
    rows = "".join(f"{i},{i % 3},{i % 2}\n" for i in range(20))
    (lab.dir / "t.csv").write_text("a,b,y\n" + rows)
    lab.config(data__dir=None, data__train="t.csv", data__target="y", model__layers="conv:3@1",
               loss__name="mse", train__batch_size=5)
    lab.run("run.ini").fails(2, "'conv:3@1' gets [2]", "needs images", "dense:N")
