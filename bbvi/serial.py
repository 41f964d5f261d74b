"""Values as bytes and back, without pickles: one line of JSON, plain arrays, and a checksum over both."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import io
import json
import struct
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np

Array = np.ndarray
Records = Mapping[str, type]

# What a damaged or foreign file makes of the steps that read it.
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, AttributeError, struct.error, RuntimeError)
# Of all that is written with this module: one that reads another says so.
FORMAT = 2
_STORABLE = "biufcUSmM"
_SEAL = b"bbvi-sum"
_SEALED = len(_SEAL) + 8 + 32
# Bytes of a file that are looked at together.
_PIECE = 2**20


class Damaged(ValueError):
    """Bytes that are not what they were when they were written; the message says what is wrong with them."""


def digest(*parts: Any) -> bytes:
    """32 bytes that tell apart what differs in type, shape or one bit: of arrays, bytes and text."""
    found = hashlib.blake2b(digest_size=32)
    for part in parts:
        if isinstance(part, np.ndarray):
            own = np.ascontiguousarray(part)
            found.update(f"{own.dtype.str}{part.shape};".encode())
            found.update(own.view(np.uint8).data if own.size and own.dtype.kind not in "OMm" else own.tobytes())
        else:
            text = part if isinstance(part, bytes) else str(part).encode()
            found.update(f"{len(text)};".encode())
            found.update(text)
    return found.digest()


# ---- sealed bytes ------------------------------------------------------------------------------------------


def sealed(content: bytes) -> bytes:
    """The content with its length and checksum behind it, where readers of netCDF and of zip files ignore them."""
    return content + _SEAL + struct.pack("<Q", len(content)) + digest(content)


def seal(file: IO[bytes]) -> None:
    """Put the seal behind the content of a file that is open for reading and writing."""
    length, found = _digest_of_file(file, None)
    file.seek(length)
    file.write(_SEAL + struct.pack("<Q", length) + found)


def check_seal(file: IO[bytes]) -> None:
    """As `unsealed`, of a file that is open for reading, of which little is held at a time.

    Raises
    ------
    Damaged
        If a bit of it differs.
    """
    length = max(file.seek(0, io.SEEK_END) - _SEALED, 0)
    file.seek(length)
    end = file.read()
    if not is_sealed(end):
        raise Damaged("it is truncated, or another program has written to it")
    if (length, _digest_of_file(file, length)[1]) != (*struct.unpack_from("<Q", end, len(_SEAL)), end[-32:]):
        raise Damaged("its checksum is not that of its content: it is damaged")


def _digest_of_file(file: IO[bytes], length: int | None) -> tuple[int, bytes]:
    """The length of a file's content, all of it where it is not given, and the digest of that."""
    length = file.seek(0, io.SEEK_END) if length is None else length
    file.seek(0)
    found, left = hashlib.blake2b(f"{length};".encode(), digest_size=32), length
    while left > 0:
        part = file.read(min(left, _PIECE))
        if not part:
            break
        found.update(part)
        left -= len(part)
    return length, found.digest()


def is_sealed(data: bytes) -> bool:
    """Whether a seal stands at the end."""
    return data[-_SEALED:].startswith(_SEAL) and len(data) >= _SEALED


def unsealed(data: bytes) -> bytes:
    """The content again.

    Raises
    ------
    Damaged
        If a bit of it differs.
    """
    if not is_sealed(data):
        raise Damaged("it is truncated, or another program has written to it")
    content, seal = data[:-_SEALED], data[-_SEALED:]
    (length,) = struct.unpack("<Q", seal[len(_SEAL) : len(_SEAL) + 8])
    if length != len(content) or seal[len(_SEAL) + 8 :] != digest(content):
        raise Damaged("its checksum is not that of its content: it is damaged")
    return content


# ---- values ------------------------------------------------------------------------------------------------


class Plain(NamedTuple):
    """A value as JSON text, and the arrays that it refers to by name."""

    text: str
    arrays: dict[str, Array]

    def packed(self) -> bytes:
        """All of it as bytes, in the order of the computer."""
        index = [[name, x.dtype.str, x.shape] for name, x in self.arrays.items()]
        head = json.dumps([self.text, index]).encode()
        return b"".join([struct.pack("<Q", len(head)), head, *(x.tobytes() for x in self.arrays.values())])

    @classmethod
    def unpacked(cls, content: bytes) -> Plain:
        """What was packed."""
        (length,) = struct.unpack_from("<Q", content)
        text, index = json.loads(content[8 : 8 + length])
        arrays, start = {}, 8 + length
        for name, dtype, shape in index:
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(content, dtype, count, start).reshape(shape).copy()
            start += arrays[name].nbytes
        return cls(text, arrays)

    def zipped(self) -> bytes:
        """All of it as an ``.npz``."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, header=np.array(self.text), **self.arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def unzipped(cls, content: bytes) -> Plain:
        """What was zipped."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return cls(str(arrays.pop("header")), arrays)


def plain(value: Any, name: str, records: Records | None = None) -> Plain:
    """A value of None, numbers, text, dates, arrays, dicts, lists, tuples and the dataclasses in `records`.

    Raises
    ------
    TypeError
        If there is something else in it; the message says where, beginning with `name`.
    """
    arrays: dict[str, Array] = {}
    content = _encode(value, name, arrays, records or {})
    return Plain(json.dumps({"format": FORMAT, "content": content}), arrays)


def value_of(stored: Plain, records: Records | None = None) -> Any:
    """The value again.

    Raises
    ------
    Damaged
        If it was written in another format.
    """
    whole = json.loads(stored.text)
    if whole["format"] != FORMAT:
        raise Damaged(f"it is of format {whole['format']}, and this version of bbvi reads format {FORMAT}")
    return _decode(whole["content"], stored.arrays, records or {})


def _encode(value: Any, key: str, arrays: dict[str, Array], records: Records) -> Any:
    """A value as JSON, its arrays moved into `arrays` under names that begin with `key`."""
    name = type(value).__name__
    if name in records and type(value) is records[name]:
        return {"record": name, "fields": _encode(_fields(value), key, arrays, records)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return {"generic": value.dtype.str, "is": _encode(_item(value), key, arrays, records)}
    if isinstance(value, np.ndarray):
        return _encode_array(value, key, arrays, records)
    if isinstance(value, Mapping):
        return _encode_mapping(value, key, arrays, records)
    if isinstance(value, (list, tuple)):
        items = [_encode(x, f"{key}.{i}", arrays, records) for i, x in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, datetime.datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    if isinstance(value, (bool, int, float, str)):
        # Of a class of its own, as an enumeration's member: what it is worth.
        base = next(base for base in (bool, int, float, str) if isinstance(value, base))
        return base.__str__(value) if base is str else base(value)
    raise TypeError(f"{key}: cannot be saved, a {name}")


def _encode_array(value: Array, key: str, arrays: dict[str, Array], records: Records) -> Any:
    if value.dtype.kind == "O":
        if all(type(x) is str for x in value.flat) and value.size:
            value = value.astype(str)
        else:
            flat = [_encode(x, f"{key}.{i}", arrays, records) for i, x in enumerate(value.flat)]
            return {"objects": flat, "shape": list(value.shape)}
    if value.dtype.kind not in _STORABLE:
        raise TypeError(f"{key}: cannot be saved, an array of dtype {value.dtype}")
    # netCDF has a calendar of its own and no complex numbers or bytes, so these go as what they are made of.
    if value.dtype.kind in "mM":
        arrays[key] = value.view(np.int64)
    elif value.dtype.kind in "cS":
        arrays[key] = np.frombuffer(value.tobytes(), np.uint8)
    else:
        arrays[key] = value
    return {"array": key, "dtype": value.dtype.str, "shape": list(value.shape)}


def _encode_mapping(value: Mapping[Any, Any], key: str, arrays: dict[str, Array], records: Records) -> Any:
    # Numbered, since the names of variables in a file may not hold what keys may.
    items = [(_encode(x, f"{key}.{i}.key", arrays, records), y) for i, (x, y) in enumerate(value.items())]
    if not all(isinstance(x, str) for x, _ in items):
        return {"pairs": [[x, _encode(y, f"{key}.{i}", arrays, records)] for i, (x, y) in enumerate(items)]}
    part = {x: x if x.isidentifier() else str(i) for i, (x, _) in enumerate(items)}
    return {"dict": {x: _encode(y, f"{key}.{part[x]}", arrays, records) for x, y in items}}


def _item(value: np.generic) -> Any:
    """A scalar of NumPy as one of Python from which it can be made again."""
    if value.dtype.kind in "mM":
        return int(value.view(np.int64))
    if value.dtype.kind == "c":
        return [float(value.real), float(value.imag)]  # type: ignore[attr-defined]
    if value.dtype.kind == "S":
        return list(value.item())
    return value.item()


def _fields(record: Any) -> dict[str, Any]:
    if hasattr(record, "_fields"):
        return dict(zip(record._fields, record, strict=True))
    if hasattr(record, "_arguments"):
        return {name: getattr(record, name) for name in record._arguments}
    if isinstance(record, str):
        return {"value": str(record)}
    names = [item.name for item in dataclasses.fields(record) if item.init]
    return {name: getattr(record, name) for name in names}


def _decode(stored: Any, arrays: Mapping[str, Array], records: Records) -> Any:
    if isinstance(stored, list):
        return [_decode(x, arrays, records) for x in stored]
    if not isinstance(stored, dict):
        return stored
    if "array" in stored:
        return _decode_array(stored, arrays)
    if "objects" in stored:
        found = np.empty(len(stored["objects"]), dtype=object)
        found[:] = [_decode(x, arrays, records) for x in stored["objects"]]
        return found.reshape(stored["shape"])
    if "generic" in stored:
        return _decode_generic(np.dtype(stored["generic"]), stored["is"])
    if "pairs" in stored:
        return {_decode(x, arrays, records): _decode(y, arrays, records) for x, y in stored["pairs"]}
    if "tuple" in stored:
        return tuple(_decode(x, arrays, records) for x in stored["tuple"])
    if "datetime" in stored:
        return datetime.datetime.fromisoformat(stored["datetime"])
    if "date" in stored:
        return datetime.date.fromisoformat(stored["date"])
    if "record" in stored:
        return records[stored["record"]](**_decode(stored["fields"], arrays, records))
    return {name: _decode(x, arrays, records) for name, x in stored["dict"].items()}


def _decode_array(stored: Mapping[str, Any], arrays: Mapping[str, Array]) -> Array:
    dtype, x = np.dtype(stored["dtype"]), np.asarray(arrays[stored["array"]])
    if dtype.kind in "mM":
        return x.astype(np.int64).view(dtype)
    if dtype.kind in "cS":
        return np.frombuffer(x.astype(np.uint8).tobytes(), dtype).reshape(stored["shape"])
    return x.astype(dtype).reshape(stored["shape"])


def _decode_generic(dtype: np.dtype[Any], item: Any) -> Any:
    if dtype.kind in "mM":
        return np.int64(item).view(dtype)
    if dtype.kind == "c":
        return dtype.type(complex(*item))
    return dtype.type(bytes(item) if dtype.kind == "S" else item)
