"""A network as ONNX and as StableHLO beside ours: speed, in chunks, and the size of the files.

    python -m benchmarks.export --out=benchmarks/results

Networks are those of the paper at full size, with random parameters. All run on the CPU with all its cores. Loading,
and JAX's compilation, are not counted. Seconds of work, over all cores, do not depend on who else has the machine.
"""

import functools
import pathlib
import tempfile
import time

import jax
import numpy as np

from benchmarks import measure, predict
from e2e_affect.clips import arrays, graphs

_SECONDS = {'speech': 30, 'fused': 5}
_CHUNK_SECONDS = 5


def chunked(network, written, seconds, steps):
  """A function that runs a written network over a recording, in chunks of so many steps."""
  context, (inputs, _) = graphs.context_steps(network), graphs.signature(network)
  total = round(seconds / network.layout.grid.step_seconds)
  given = {name: np.ones(graphs.sizes(shape, context, steps), dtype) for name, (dtype, shape) in inputs.items()}
  given['cell'], given['hidden'] = (np.zeros_like(given[name]) for name in ('cell', 'hidden'))

  def run():
    state = given['cell'], given['hidden']
    for _ in range(total // steps):
      traces, *state = written(*(given[name] for name in list(given)[:-2]), *state)
    jax.block_until_ready(traces)

  return run


def work(run):
  """Seconds that the cores spent on a run."""
  started = time.process_time()
  run()
  return time.process_time() - started


def main(out, repeats, quick):
  """Writes `out/export.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  rows = []
  for modality, seconds in _SECONDS.items():
    seconds = 2 if quick else seconds
    network = predict.random_network(modality, quick)
    grid = network.layout.grid
    chunk = (1 if quick else _CHUNK_SECONDS) * grid.steps_per_record
    given = {'audio': np.ones(grid.sample_rate * seconds, np.int16), 'faces': None, 'face_found': None}
    if 'visual' in network.modalities:
      shape = network.layout.streams['visual'][0].shape
      given['faces'] = np.ones((round(seconds / grid.step_seconds), *shape), np.uint8)
    signals = arrays.signals(given, network.config.model, network.layout)
    with tempfile.TemporaryDirectory() as folder:
      files = {to: pathlib.Path(folder, f'network.{to}') for to in ('onnx', 'stablehlo')}
      for path in files.values():
        graphs.write(network, path)
      loaded = {to: graphs.load(path) for to, path in files.items()}
      megabytes = {to: round(path.stat().st_size / 1e6, 1) for to, path in files.items()}
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(network.variables))
    sides = [
      measure.Side(f'ours, chunks of {chunk} steps', functools.partial(network.predict, signals, chunk // 25)),
      measure.Side(f'ONNX Runtime, chunks of {chunk} steps', chunked(network, loaded['onnx'], seconds, chunk)),
      measure.Side('ONNX Runtime, step by step', chunked(network, loaded['onnx'], seconds, 1), repeats=1),
      measure.Side('StableHLO, chunks of 25 steps', chunked(network, loaded['stablehlo'], seconds, 25)),
    ]
    times = measure.alternate(sides, min(repeats, 3))
    rows.append(
      measure.row(
        f'{modality}, {seconds} s',
        times,
        items=(seconds, 'seconds of recording'),
        work_per_second={side.name: round(work(side.run) / seconds, 4) for side in sides},
        megabytes={'ours': round(parameters / 1e6, 1), **megabytes},
      )
    )
  measure.write(out, 'export', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
