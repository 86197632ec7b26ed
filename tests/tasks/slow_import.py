"""A reward function whose module takes longer to import than a call may take."""

import time

start = time.process_time()
while time.process_time() - start < 1.0:
    pass


def reward(completions, **columns):
    return [1.0] * len(completions)
