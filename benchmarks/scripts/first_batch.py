"""Make one batch in a fresh process, and print how long that took: first_batch.py OPTIONS."""

import json
import sys
import time

began = time.perf_counter()
import numpy as np  # noqa: E402

import fusewarp as fw  # noqa: E402

imported = time.perf_counter()
images = np.zeros((64, 224, 224, 3), np.uint8)
augmenter = fw.Augmenter(fw.Policy(**json.loads(sys.argv[1])))
next(iter(fw.Loader(fw.ArraySource(images), augmenter, 64)))
ended = time.perf_counter()
print(json.dumps({"seconds": ended - began, "import_s": imported - began}))
