"""Call the peers of the benchmarks, each in a process where its libraries do not crash others."""

import importlib.util
import multiprocessing
import warnings

import numpy as np

from fusewarp.benchmarks.peers import PEERS


class PeerCalls:
    """Calls functions of peers: the native ones here, others in a process for each family."""

    def __init__(self):
        self._pools = {}

    def __call__(self, name, method, *arguments):
        process = next(peer.process for peer in PEERS if peer.name == name)
        if process == "native":
            return call_here(name, method, *arguments)
        if process not in self._pools:
            self._pools[process] = multiprocessing.get_context("spawn").Pool(1)
        return self._pools[process].apply(call_here, (name, method, *arguments))

    def close(self):
        for pool in self._pools.values():
            pool.terminate()
            pool.join()


def seed(process):
    """Seed what the peers of a process draw from."""
    np.random.seed(0)
    if process == "tensorflow" and importlib.util.find_spec("keras"):
        import keras

        keras.utils.set_random_seed(0)
    if process == "torch":
        import torch

        torch.manual_seed(0)


def call_here(name, method, *arguments):
    """Call `warp` or `augment` of a peer in this process."""
    peer = next(peer for peer in PEERS if peer.name == name)
    seed(peer.process)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of theirs
        return getattr(peer, method)(*arguments)
