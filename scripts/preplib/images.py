"""Arrays and images: NPY and NPZ files, folders of images by class, IDX files by their names."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np

from preplib import PrepareError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
LETTERS = [chr(ord("A") + k) for k in range(26)]
MERGED = [*"0123456789", *LETTERS, *"abdefghnqrt"]  # of EMNIST's "balanced" and "bymerge"
CLASSES = {"letters": LETTERS, "balanced": MERGED, "bymerge": MERGED,
           "byclass": [*"0123456789", *LETTERS, *(c.lower() for c in LETTERS)]}


# ---- folders ----

def open_picture(path, gray, size):
    from PIL import Image, UnidentifiedImageError
    try:
        with Image.open(path) as image:
            image = image.convert("L" if gray else "RGB")
            return np.asarray(image.resize(size) if image.size != size else image)
    except (UnidentifiedImageError, OSError) as error:
        raise PrepareError(f"{path}: {error}") from None


def first_picture(path):
    from PIL import Image, UnidentifiedImageError
    try:
        with Image.open(path) as image:
            return image.mode in ("1", "L", "I;16"), image.size
    except (UnidentifiedImageError, OSError) as error:
        raise PrepareError(f"{path}: {error}") from None


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
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in types:
        raise PrepareError(f"{path}: not an IDX file")
    shape = struct.unpack(f">{raw[3]}I", raw[4:4 + 4 * raw[3]])
    values = np.frombuffer(raw, types[raw[2]], offset=4 + 4 * raw[3])
    if len(values) != np.prod(shape):
        raise PrepareError(f"{path}: {len(values)} values where its header promises {np.prod(shape)}")
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


def load(path):
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise PrepareError(f"{path}: {error}") from None


def read_npz(path, say):
    """{split: (x, y)}"""
    with load(path) as file:
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


def read_npy(path, say):
    stem = path.name
    other = path.with_name(stem.replace("images", "labels") if "images" in stem else
                           re.sub(r"^([xX])(?=[_.])|(?<=_)[xX](?=\.)", "y", stem))
    if other == path or not other.exists():
        raise PrepareError(f"{path}: no labels beside it (x.npy and y.npy, images.npy and labels.npy)")
    say(f"{path} and {other.name}")
    return load(path), load(other)


def kind(path):
    """How an input is read: folder, idx, npz, npy, or None for a table."""
    name = path.name
    if path.is_dir():
        return "folder"
    if re.search(r"images[-.]idx3", name):
        return "idx"
    return {".npz": "npz", ".npy": "npy"}.get(path.suffix)


def is_test(path):
    return bool(re.search(r"(^|[-_/])(test|t10k|val)", Path(path).name))
