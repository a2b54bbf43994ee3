"""NPZ and safetensors, which need no library; and back from them."""

import json
import struct
import zipfile

import numpy as np

from convertlib import ConvertError


def scale_tensors(network):
    return {"normalize.mean": network.mean.astype("f4"), "normalize.std": network.std.astype("f4")} \
        if len(network.mean) else {}


def to_npz(network, path):
    with open(path, "wb") as file:  # numpy would add .npz to the name
        np.savez(file, facts=json.dumps(network.facts()), **network.tensors, **scale_tensors(network))


def from_npz(path):
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("is no npz file")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name != "facts" and "normalize" not in name}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConvertError(f"{path}: {error}") from None


# Source: the format's description: length of the header, a header in JSON, the tensors' bytes.

def to_safetensors(network, path):
    tensors = {**network.tensors, **scale_tensors(network)}
    header, at = {"__metadata__": {k: v if isinstance(v, str) else json.dumps(v)
                                   for k, v in network.facts().items()}}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value, "<f4").tobytes())


def from_safetensors(path):
    types = {"F32": "<f4", "F64": "<f8", "F16": "<f2"}
    try:
        raw = path.read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8:8 + length])
        found = {}
        for name, item in header.items():
            if name != "__metadata__" and not name.startswith("normalize."):
                begin, end = item["data_offsets"]
                if not 0 <= begin <= end <= len(raw) - 8 - length:
                    raise ValueError(f"{name} lies outside the file")
                found[name] = np.frombuffer(raw[8 + length + begin:8 + length + end], types[item["dtype"]]) \
                    .reshape(item["shape"])
        return found
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConvertError(f"{path}: no safetensors file that can be read: {error}") from None
