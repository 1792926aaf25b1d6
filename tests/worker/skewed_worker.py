"""``python -m tests.worker.skewed_worker``: the scripted worker on a host whose clock is ``SKEW_S`` ahead."""

import os
import runpy
import time

true_time, skew_s = time.time, float(os.environ["SKEW_S"])
time.time = lambda: true_time() + skew_s  # before anyone else imports it

if __name__ == "__main__":
    runpy.run_module("tests.worker.scripted_worker", run_name="__main__")
