"""What Grain's worker processes run in the tests."""

import os


class AddWorker:
    """Tells of each element how many threads the loader of its process has, and which it is.

    Parameters
    ----------
    loader : Loader
        The one of the dataset, so that both arrive in a worker as one.
    """

    def __init__(self, loader):
        self.loader = loader

    def __call__(self, element):
        return element, self.loader.augmenter.threads, os.getpid()
