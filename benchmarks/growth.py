"""Time and memory of an update of the speech network, by the length of the sequence and the batch; a process for each.

python -m benchmarks.growth --out=benchmarks/results
"""

import json
import resource
import subprocess
import sys

import jax

from benchmarks import measure
from benchmarks.step import config_of, our_step
from data_prep.core import children
from data_prep.schema.grid import PAPER

# Batch, steps of a sequence.
_CASES = [(1, 75), (1, 150), (1, 300), (1, 600), (1, 7500), (2, 150), (4, 150), (8, 150), (25, 150)]


def one(batch: int, steps: int, repeats: int, quick: bool) -> dict:
  """Seconds of an update, and the most memory held: of the device, or on a CPU resident in this process."""
  # Without it, an update on a CPU can begin before the memory of the last one is free, as in a training. The figure is
  # that of one update alone. The flag is read when JAX first asks for its devices.
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  run = our_step(config_of('speech', 'float32', quick), batch, steps)
  [side] = measure.alternate([measure.Side('ours', run)], repeats)
  statistics = jax.local_devices()[0].memory_stats() or {}
  resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
  return {'side': side, 'gib': statistics.get('peak_bytes_in_use', resident) / 2**30}


def main(out, repeats, quick):
  """Writes `out/growth.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  rows = []
  for batch, steps in ((1, 2), (2, 3)) if quick else _CASES:
    # A process of its own: the most that a process has held never falls again.
    code = (
      f'import json; from benchmarks import growth; print(json.dumps(growth.one({batch}, {steps}, {repeats}, {quick})))'
    )
    done = children.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    if done.returncode:
      print(f'batch {batch}, {steps} steps: failed with exit code {done.returncode}; out of memory?', flush=True)
      continue
    found = json.loads(done.stdout.splitlines()[-1])
    rows.append(
      measure.row(
        f'speech training step, batch {batch}, {steps} steps',
        [found['side']],
        items=(batch * steps * PAPER.step_seconds, 'seconds of sound'),
        peak_gib=round(found['gib'], 2),
      )
    )
  measure.write(out, 'growth', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
