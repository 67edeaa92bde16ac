"""The same update on more devices and processes, and what a corpus of more hours costs.

    python -m benchmarks.scaling --out=benchmarks/results

Devices are simulated and processes share this machine: times show what spreading costs, not what it gains. Equality and
bytes are those of real devices.
"""

import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import measure
from data_prep import streams
from data_prep.core import children
from data_prep.schema.grid import PAPER
from data_prep.schema.manifest import Manifest, Shard

_CASES = [(1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 2)]  # processes, devices of each
_BATCH = 8  # sequences of all devices together
_HOURS = (10, 1_000, 1_000_000)
_RECORDING_SECONDS = 300  # as RECOLA's
_BYTES = {'f32': 4, 'f64': 8, 'bf16': 2, 's32': 4, 'u32': 4, 'pred': 1}

_EVALUATED = 0.2  # of the hours

# Of docs/speed.md, two cores: seconds of recordings a second of work. An update of the fused network takes 2.87 s a
# sequence of 6 s; its network alone 51 % of .22 s for a second of a clip. Preparation is of the text below its table.
_RATES = {
  'preparation': 43.0,
  'decoding': 160 * 6.0,
  'training, fused, an epoch': 6 / 2.87,
  'evaluation, fused, of a fifth': 1 / (_EVALUATED * 0.51 * 0.22),
}
_SHARD_BYTES_PER_SECOND = 409e6 / 3264  # faces and sound of the simulated corpus
_EPOCHS, _DAYS = 50, 7  # of a training, and how long it may take
_FAILURES_PER_MACHINE_DAY = 1e-3  # NOT measured: one in three years, a guess


def exchanged_bytes(compiled: str) -> int:
  """Bytes that all-reduces of a compiled program sum over the devices: their results' shapes."""
  total = 0
  for result in re.findall(r'= (.*?) all-reduce(?:-start)?\(', compiled):
    for kind, shape in re.findall(r'(\w+)\[([\d,]*)\]', result):
      count = 1
      for size in filter(None, shape.split(',')):
        count *= int(size)
      total += count * _BYTES[kind]
  return total


def one(processes: int, process: int, address: str, repeats: int, quick: bool) -> dict:
  """Losses of updates of the speech network, what they took, and the bytes that one exchanges; in one process.

  `core_seconds` are those that the process worked: beside other programs they say more than seconds by the clock.
  """
  from e2e_affect.run import hosts

  if processes > 1:
    hosts.initialize(address, processes, process)
  import jax
  import numpy as np

  from benchmarks import step
  from e2e_affect.models import affect, devices
  from e2e_affect.streams import layout_of_paper
  from e2e_affect.train import train_state, update

  config = step.config_of('speech', 'float32', quick)
  layout = layout_of_paper(config.model, ('arousal', 'valence'))
  steps, rng = 2 if quick else 150, np.random.default_rng(0)
  batch = {name: np.asarray(value) for name, value in affect.example_batch(config, layout, _BATCH, steps).items()}
  batch |= {
    'mask': np.ones((_BATCH, steps), np.float32),
    'label': rng.normal(size=(_BATCH, steps, 2)).astype(np.float32),
    'audio': rng.integers(-9999, 9999, batch['audio'].shape).astype(np.int16),
    'audio_std': np.full(_BATCH, 5000, np.float32),
  }
  here = jax.local_device_count()
  batch = {name: x[process::processes].reshape(here, -1, *x.shape[1:]) for name, x in batch.items()}
  train: Any = update.over_devices(config, layout)  # pmapped: it lowers, too
  state, seed = devices.replicate(train_state.init_state(config, layout)), np.uint32(0)
  # Only to read: of several processes the compiled program itself takes no arrays of one of them.
  exchanged = 0 if jax.device_count() == 1 else exchanged_bytes(train.lower(state, batch, seed).compile().as_text())
  losses, seconds, work = [], [], []
  for _ in range(repeats + 1):
    started, worked = time.perf_counter(), time.process_time()
    state, logged = train(state, batch, seed)
    losses.append(logged['loss'].addressable_data(0).item())
    seconds.append(time.perf_counter() - started)
    work.append(time.process_time() - worked)
  times = {'median': statistics.median(seconds[1:]), 'min': min(seconds[1:]), 'max': max(seconds[1:])}
  return {
    'losses': losses,
    'times': times | {'repeats': repeats},
    'bytes': exchanged,
    'core_seconds': statistics.median(work[1:]),
  }


def spread(processes: int, devices: int, repeats: int, quick: bool) -> dict:
  """What the first of so many processes with so many simulated devices says; the work of all of them."""
  with socket.socket() as s:
    s.bind(('localhost', 0))
    address = f'localhost:{s.getsockname()[1]}'
  flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={devices}'
  environment = {**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
  started = [
    children.start(
      [
        sys.executable,
        '-c',
        f'import json; from benchmarks import scaling; '
        f'print(json.dumps(scaling.one({processes}, {process}, {address!r}, {repeats}, {quick})))',
      ],
      env=environment,
      stdout=subprocess.PIPE,
      text=True,
    )
    for process in range(processes)
  ]
  said = [process.communicate()[0] for process in started]
  if any(process.returncode for process in started):
    sys.exit(f'error: {processes} processes of {devices} devices failed, see above')
  of_each = [json.loads(text.splitlines()[-1]) for text in said]
  return of_each[0] | {'core_seconds': sum(of['core_seconds'] for of in of_each)}


def manifest_costs(hours: float) -> dict:
  """Bytes of the manifest of so many hours, seconds of a core to read it, and the most memory held meanwhile."""
  length = _RECORDING_SECONDS
  shards = [
    Shard(
      file=f'affect-train.tfrecord-{k:05d}-of-99999',
      bytes=37_000_000,
      records=length,
      sha256='0' * 64,
      recording=f'P{k:07d}',
      subject=f'P{k // 10:06d}',
      partition='train',
      first=0,
      steps=length * PAPER.steps_per_record,
    )
    for k in range(round(hours * 3600 / length))
  ]
  layout = streams.layout(['arousal', 'valence'], PAPER, ('speech', 'visual'))
  manifest = Manifest(layout.targets, layout.grid, layout.streams, label_scale={}, preparation={}, shards=shards)
  with tempfile.TemporaryDirectory() as folder:
    manifest.write(folder)
    size = (pathlib.Path(folder) / 'manifest.json').stat().st_size
    code = (
      'import pathlib, re, sys, time; from data_prep.schema.manifest import Manifest; '
      'status = pathlib.Path("/proc/self/status"); '
      'held = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) if status.exists() else 0; '
      'before, begun = held(), time.process_time(); manifest = Manifest.read(sys.argv[1]); '
      'print(time.process_time() - begun, held() - before)'
    )
    done = subprocess.run([sys.executable, '-c', code, folder], stdout=subprocess.PIPE, text=True, check=True)
  seconds, kib = map(float, done.stdout.split())
  return {'bytes': size, 'seconds': seconds, 'memory': kib * 1024}


_EVALUATION = """
import pathlib, re, sys, tempfile
import numpy as np
from data_prep.schema.grid import PAPER
from e2e_affect import heads
from e2e_affect.evaluate import results
from e2e_affect.report import plots
from e2e_affect.traces.traces import Trace
status = pathlib.Path('/proc/self/status')
held = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) if status.exists() else 0
rng, targets, before = np.random.default_rng(0), ['arousal', 'valence'], held()
steps, count = round(float(sys.argv[2]) / PAPER.step_seconds), round(float(sys.argv[1]) * 1800 / float(sys.argv[2]))
def trace(partition, number):
  gold = rng.standard_normal((steps, 2), np.float32).cumsum(0, np.float32) / 80
  said = gold + rng.standard_normal((steps, 2), np.float32) / 10
  ones, name = np.ones((2, steps), np.float32), f'{partition}_{number}'
  return Trace(name, f'{partition}_{number // 2}', partition, said, gold, *ones)
traces = {partition: [trace(partition, number) for number in range(count)] for partition in ('validation', 'test')}
head = heads.HEADS['regression']
content = results.evaluate_traces(traces, head, targets, 0, {})
with tempfile.TemporaryDirectory() as folder:
  results.write_results(folder, content, traces, head, targets)
  plots.write_figures(folder, content, traces, head, targets)
print(held() - before)
"""


def evaluation_memory(hours: float) -> float:
  """Bytes that a process takes for the traces of so many hours, half of validation, and for what is made of them."""
  command = [sys.executable, '-c', _EVALUATION, str(hours), str(_RECORDING_SECONDS)]
  return 1024 * float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def costs(hours: float, of_an_hour: dict) -> dict[str, float]:
  """What a corpus of so many hours takes, by what was measured of one hour; a machine has two cores."""
  days = {f'{name}, days of a machine': hours / 24 / rate for name, rate in _RATES.items()}
  machines = max(1.0, _EPOCHS * hours / 24 / _RATES['training, fused, an epoch'] / _DAYS)
  return {
    **days,
    'shards, GB': hours * 3600 * _SHARD_BYTES_PER_SECOND / 1e9,
    'files in one folder': hours * 3600 / _RECORDING_SECONDS,
    'manifest, GB': hours * of_an_hour['bytes'] / 1e9,
    'manifest, minutes of a core to read it, in every process': hours * of_an_hour['seconds'] / 60,
    'manifest, GB of memory, in every process': hours * of_an_hour['memory'] / 1e9,
    'evaluating a fifth, GB of memory, in the first process': hours * _EVALUATED * of_an_hour['evaluated'] / 1e9,
    f'machines for {_EPOCHS} epochs in {_DAYS} days': machines,
    'failures a day, at a guess': machines * _FAILURES_PER_MACHINE_DAY,
  }


def main(out: str, repeats: int, quick: bool) -> None:
  """Writes `out/scaling.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  rows, alone = [], None
  for processes, devices in [(1, 1), (1, 2), (2, 1)] if quick else _CASES:
    found = spread(processes, devices, repeats, quick)
    alone = alone or found
    rows.append(
      measure.row(
        f'speech update, batch {_BATCH}, {processes} × {devices} devices',
        [{'name': 'ours', **found['times']}],
        core_seconds=round(found['core_seconds'], 3),
        megabytes_summed=round(found['bytes'] / 1e6, 2),
        first_loss_differs_by=abs(found['losses'][0] - alone['losses'][0]),
        losses_differ_by=max(abs(a - b) for a, b in zip(found['losses'], alone['losses'], strict=True)),
      )
    )
  sample = 1.0 if quick else 200.0
  of_an_hour = {name: value / sample for name, value in manifest_costs(sample).items()}
  less, more = (0.5, 1.0) if quick else (4.0, 12.0)
  of_an_hour['evaluated'] = (evaluation_memory(more) - evaluation_memory(less)) / (more - less)
  table = {hours: costs(hours, of_an_hour) for hours in _HOURS}
  print('\n| hours of recordings | ' + ' | '.join(f'{hours:,}' for hours in _HOURS) + ' |')
  print('|---' * (len(_HOURS) + 1) + '|')
  for name in table[_HOURS[0]]:
    print(f'| {name} | ' + ' | '.join(f'{table[hours][name]:.3g}' for hours in _HOURS) + ' |')
  measure.write(out, 'scaling', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
