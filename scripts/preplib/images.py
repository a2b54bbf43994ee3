"""Arrays and images: NPY and NPZ files, folders of images by class, IDX files by their names."""

import gzip
import math
import re
import struct
from pathlib import Path

import numpy as np

from preplib import PrepareError, reading

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
LETTERS = [chr(ord("A") + k) for k in range(26)]
MERGED = [*"0123456789", *LETTERS, *"abdefghnqrt"]  # of EMNIST's "balanced" and "bymerge"
CLASSES = {"letters": LETTERS, "balanced": MERGED, "bymerge": MERGED,
           "byclass": [*"0123456789", *LETTERS, *(c.lower() for c in LETTERS)]}


# ---- folders ----

def open_picture(path, gray, size):
    from PIL import Image
    with reading(path), Image.open(path) as image:
        if image.mode == "F":
            raise PrepareError("its pixels are floats, whose range is not known")
        if is_deep(image):  # 16 bits: Pillow would cut off what is above 255
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        image = image.convert("L" if gray else "RGB")
        return np.asarray(image.resize(size) if image.size != size else image)


def is_deep(image):
    return image.mode == "I" or image.mode.startswith("I;16")


def first_picture(path):
    from PIL import Image
    with reading(path), Image.open(path) as image:
        return image.mode in ("1", "L", "LA") or is_deep(image), image.size


def read_folder(folder, args, recipe, say):
    """folder/CLASS/*.png: (images, labels, recipe)"""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise PrepareError("folders of images need Pillow: install python3-pil") from None
    found = {sub.name: sorted(p for p in sub.rglob("*") if p.suffix.lower() in PICTURES)
             for sub in sorted(folder.iterdir()) if sub.is_dir()}
    found = {name: files for name, files in found.items() if files}
    if not found:
        raise PrepareError(f"{folder}: no folders with images in them: there is to be one a class, as in "
                           f"{folder}/cat/1.png")
    if recipe is None:
        gray, size = first_picture(next(iter(found.values()))[0])
        if args.size:
            size = tuple(int(v) for v in args.size.split("x"))
        recipe = {"gray": bool(gray or args.gray), "size": list(size), "classes": list(found)}
    for name in found:
        if name not in recipe["classes"]:
            raise PrepareError(f"{folder}: the class '{name}' is none of the recipe's: "
                               f"{', '.join(recipe['classes'])}")
    size = tuple(recipe["size"])
    images = [open_picture(path, recipe["gray"], size) for files in found.values() for path in files]
    labels = [recipe["classes"].index(name) for name, files in found.items() for _ in files]
    say(f"{folder}: {len(images)} images, {'gray' if recipe['gray'] else 'colour'}, {size[0]} x {size[1]}: "
        + ", ".join(f"{name} {len(files)}" for name, files in found.items()))
    images = np.stack(images)
    return images if recipe["gray"] else images.transpose(0, 3, 1, 2).copy(), np.array(labels), recipe


# ---- IDX, by name ----

def read_idx(path):
    raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    types = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in types or len(raw) < 4 + 4 * raw[3]:
        raise PrepareError(f"{path}: not an IDX file")
    shape = struct.unpack(f">{raw[3]}I", raw[4:4 + 4 * raw[3]])
    bytes_of = np.dtype(types[raw[2]]).itemsize
    if len(raw) - 4 - 4 * raw[3] != math.prod(shape) * bytes_of:
        raise PrepareError(f"{path}: {(len(raw) - 4 - 4 * raw[3]) // bytes_of} values where its header promises "
                           f"{math.prod(shape)}")
    values = np.frombuffer(raw, types[raw[2]], offset=4 + 4 * raw[3])
    return values.reshape(shape)


def beside(path):
    """The labels of an images file: also QMNIST's, of eight numbers each."""
    for kind in ("labels-idx1", "labels-idx2"):
        other = path.with_name(re.sub(r"images[-.]idx3", kind, path.name))
        other = other.with_name(other.name.replace("idx2-ubyte", "idx2-int"))
        for place in (other, other.with_suffix(""), other.with_name(other.name + ".gz")):
            if place.exists():
                return place
    raise PrepareError(f"{path}: no labels beside it")


def read_idx_set(path, say):
    images, labels = read_idx(path), read_idx(beside(path))
    if images.ndim != 3:
        raise PrepareError(f"{path}: holds {images.ndim} dimensions, where images have 3")
    labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST: the class comes first
    classes = None
    if path.name.startswith("emnist"):
        images = images.transpose(0, 2, 1).copy()
        say(f"{path}: EMNIST's images lie on their side: turned")
        kind = path.name.split("-")[1]
        classes = CLASSES.get(kind)
        labels = labels - (kind == "letters")
    if len(images) != len(labels):
        raise PrepareError(f"{path}: {len(images)} images, but {len(labels)} labels")
    say(f"{path}: {len(images)} images of {images.shape[2]} x {images.shape[1]}")
    return images, labels.astype("i8"), {"classes": classes}


# ---- NPY and NPZ ----

PAIRS = [("x", "y"), ("X", "y"), ("images", "labels"), ("data", "target"), ("data", "labels"),
         ("arr_0", "arr_1")]


def read_npz(path, say):
    """{split: (x, y)}"""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    splits = {}
    for split, ends in (("train", ("_train", "")), ("test", ("_test", "_val"))):
        for x, y in PAIRS:
            for end in ends:
                if x + end in arrays and y + end in arrays and split not in splits:
                    splits[split] = arrays[x + end], arrays[y + end]
    if not splits:
        raise PrepareError(f"{path}: holds {', '.join(arrays)}; read are x and y, x_train and y_train, images "
                           "and labels, data and target")
    say(f"{path}: " + ", ".join(f"{split} {'x'.join(map(str, x.shape))}" for split, (x, _) in splits.items()))
    return splits


def npy_labels(path):
    stem = path.name
    return path.with_name(stem.replace("images", "labels") if "images" in stem else
                          re.sub(r"^([xX])(?=[_.])|(?<=_)[xX](?=\.)", "y", stem))


def read_npy(path, say):
    other = npy_labels(path)
    if other == path or not other.exists():
        raise PrepareError(f"{path}: no labels beside it (x.npy and y.npy, images.npy and labels.npy)")
    say(f"{path} and {other.name}")
    with reading(other):
        labels = np.load(other, allow_pickle=False)
    return np.load(path, allow_pickle=False), labels


def kind(path):
    """How an input is read: folder, idx, npz, npy, or None for a table."""
    name = path.name
    if path.is_dir():
        return "folder"
    if re.search(r"images[-.]idx3", name):
        return "idx"
    return {".npz": "npz", ".npy": "npy"}.get(path.suffix)


def files_of(path):
    """What is read of an input: the labels too."""
    if not path.exists():
        return [path]
    if kind(path) == "npy":
        return [path, npy_labels(path)]
    return [path, beside(path)] if kind(path) == "idx" else [path]


def is_test(path):
    return bool(re.search(r"(^|[-_/])(test|t10k|val)", Path(path).name))
