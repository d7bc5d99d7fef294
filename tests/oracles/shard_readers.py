"""What other processes do with tar shards: a fresh process can import this, but no test file."""

import hashlib
import time

from fusewarp.engine.shard_index import index_path, open_index
from fusewarp.engine.shard_store import ShardStore


def open_often(path, rule, start_at, queue):
    """Make the index of a shard again and again, from a given time on."""
    time.sleep(max(0, start_at - time.time()))
    for _ in range(20):
        index = open_index(ShardStore(), path, rule, None)
        queue.put((len(index), index.labels.values.tolist()))
        index_path(path, rule, None).unlink(missing_ok=True)


def hashes(source):
    """Return a hash of the pixels of each picture."""
    return [hashlib.sha1(source.read(i).tobytes()).hexdigest() for i in range(len(source))]


def put_hashes(source, queue):
    """Say what `hashes` returns here."""
    queue.put(hashes(source))
