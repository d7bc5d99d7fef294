"""tf.train.Examples and files of them, byte by byte: what TensorFlow writes (a test compares)."""

import struct
from pathlib import Path

from oracles.shards import picture


def example(**features) -> bytes:
    """Return an Example with one value for each key ("__" stands for "/"); lists are taken whole.

    bytes, text, float and int become what they are in TensorFlow.
    """
    entries = b""
    for key, value in features.items():
        values = value if isinstance(value, list) else [value]
        entry = _field(1, key.replace("__", "/").encode()) + _field(2, _feature(values))
        entries += _field(1, entry)
    return _field(1, entries)


def _feature(values) -> bytes:
    if not values:
        return b""
    if isinstance(values[0], bytes | str):
        encoded = [one.encode() if isinstance(one, str) else one for one in values]
        return _field(1, b"".join(_field(1, one) for one in encoded))
    if isinstance(values[0], float):
        return _field(2, _field(1, struct.pack(f"<{len(values)}f", *values)))
    return _field(3, _field(1, b"".join(_varint(one % 2**64) for one in values)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    digits = []
    while True:
        number, low = number >> 7, number & 127
        digits.append(low | (128 if number else 0))
        if not number:
            return bytes(digits)


def examples(count: int, first: int = 0, suffix: str = "png") -> list[bytes]:
    """Return the records of `count` pictures, with the label 7 % 3 and the name 0007."""
    return [
        example(
            image__encoded=picture(number, suffix),
            image__class__label=number % 3,
            image__filename=f"{number:04d}",
        )
        for number in range(first, first + count)
    ]


def frame(data: bytes) -> bytes:
    """Return a record as it stands in a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    import google_crc32c

    crc = google_crc32c.value(data)
    turned = (crc >> 15) + (crc << 17) % 2**32
    return struct.pack("<I", (turned + 0xA282EAD8) % 2**32)


def write_tfrecord(path: Path, records) -> Path:
    path.write_bytes(b"".join(map(frame, records)))
    return path


def write_array_record(path: Path, records, options: str = "group_size:1") -> Path:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()
    return path


def flipped(content: bytes, at: int) -> bytes:
    """Return the content with one bit changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
