"""Timing sides in alternation, what the machine can do at most, and the JSON that `benchmarks.report` reads.

Machines are shared and clocks wander: only ratios of sides that took turns in one process mean anything.
"""

from collections.abc import Callable
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import time

from absl import flags, logging
import jax
import jax.numpy as jnp

from data_prep.core import cli
from e2e_affect.run import allocator

_PACKAGES = ('jax', 'flax', 'numpy', 'torch', 'tensorflow-cpu', 'tensorflow', 'opencv-python-headless')


@dataclasses.dataclass(frozen=True)
class Side:
  """One of those compared.

  Attributes:
    name: for the table.
    run: does the work once and returns when it is done.
    repeats: number of timings, of a side that takes long; None: as many as the others have.
    before: called right before each timing, and not timed.
  """

  name: str
  run: Callable[[], object]
  repeats: int | None = None
  before: Callable[[], object] | None = None


def alternate(sides: list[Side], repeats: int) -> list[dict]:
  """Runs every side once to compile and warm up, then all in turn; seconds of each: median, min, max.

  In its turn a side runs twice, the second time timed, unless it is timed only once: after another side's run its
  threads sleep, its memory is out of the caches, and the threads of PyTorch's OpenMP spin on for a while on the cores
  that it needs. An update of four seconds takes 3 to 8 % longer then.
  """
  for side in sides:
    side.run()
  seconds = {side.name: [] for side in sides}
  for turn in range(repeats):
    for side in sides:
      if turn < (side.repeats or repeats):
        if side.repeats != 1:
          side.run()
        if side.before:
          side.before()
        started = time.perf_counter()
        side.run()
        seconds[side.name].append(time.perf_counter() - started)
  return [
    {'name': name, 'median': statistics.median(times), 'min': min(times), 'max': max(times), 'repeats': len(times)}
    for name, times in seconds.items()
  ]


def row(
  what: str,
  sides: list[dict],
  *,
  gflop: float | None = None,
  items: tuple[float, str] | None = None,
  goal: tuple[str, float] | None = None,
  **more,
) -> dict:
  """One line of a benchmark; prints it.

  Args:
    what: was measured.
    sides: of `alternate`, ours first.
    gflop: work of our side, to state its rate.
    items: how many of what our side got done, e.g. (150, 'frames').
    goal: a side and how many times as long as ours it shall take at least; 'rate' and the least rate of `items`; or
      'seconds' and how many ours shall take at most.
    **more: further values for the JSON.
  """
  ours = sides[0]['median']
  values = {'what': what, 'sides': sides, 'ratios': {s['name']: s['median'] / ours for s in sides[1:]}, **more}
  if gflop:
    values['gflop_per_second'] = gflop / ours
  if items:
    values['rate'] = [items[0] / ours, f'{items[1]}/s']
  if goal:
    values['goal'] = list(goal)
  print(what)
  for side in sides:
    ratio = f'{side["median"] / ours:8.2f} × ours' if side is not sides[0] else ''
    print(
      f'  {side["name"]:44s} {_ms(side["median"])} ms, {_ms(side["min"])} to {_ms(side["max"])}, '
      f'{side["repeats"]} times {ratio}'
    )
  notes = [f'{values["gflop_per_second"]:.1f} GFLOP/s'] if gflop else []
  notes += [f'{values["rate"][0]:.4g} {values["rate"][1]}'] if items else []
  notes += [f'{name}: {value}' for name, value in more.items()]
  if notes:
    print('  ours:', '; '.join(notes), flush=True)
  return values


def _ms(seconds):
  return f'{1e3 * seconds:9.1f}'


def peak(quick: bool = False) -> dict:
  """What the device does at most: a large matrix product (GFLOP/s, float32 and bfloat16), a large copy (GB/s).

  The copy's bytes count twice, read and written.
  """
  size = 256 if quick else 2048 if jax.default_backend() == 'cpu' else 16384
  product = jax.jit(lambda a: a @ a)
  rates = {}
  for dtype in ('float32', 'bfloat16'):
    if dtype == 'bfloat16' and jax.default_backend() == 'cpu' and not quick:
      continue  # emulated, and nothing here computes in it on a CPU
    a = jnp.ones((size, size), dtype)
    rates[f'gflop_per_second_{dtype}'] = 2e-9 * size**3 / _best(lambda: product(a).block_until_ready())
  a = jnp.ones((1 if quick else 64 if jax.default_backend() == 'cpu' else 1024, 1 << 20), jnp.float32)
  update = jax.jit(lambda a: a + 1, donate_argnums=0)  # in place: fresh memory would time the system's pages

  def step():
    nonlocal a
    a = update(a).block_until_ready()

  rates['gb_per_second'] = 2e-9 * a.nbytes / _best(step)
  return rates


def _best(run, repeats=5):
  run()
  times = []
  for _ in range(repeats):
    started = time.perf_counter()
    run()
    times.append(time.perf_counter() - started)
  return min(times)


def write(out: str, benchmark: str, rows: list[dict], peaks: dict) -> None:
  """Writes `out/benchmark.json`; rows with a rate of work get their share of the matrix product's."""
  fastest = max((v for name, v in peaks.items() if name.startswith('gflop')), default=None)
  for values in rows:
    if fastest and 'gflop_per_second' in values:
      values['share_of_peak'] = values['gflop_per_second'] / fastest
  folder = pathlib.Path(out)
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f'{benchmark}.json'
  path.write_text(json.dumps({'benchmark': benchmark, **machine(), 'peak': peaks, 'rows': rows}, indent=1) + '\n')
  print(f'peak: {", ".join(f"{name} {value:.1f}" for name, value in peaks.items())}; wrote {path}', flush=True)


def machine() -> dict:
  """Date, hardware and versions."""
  versions = {}
  for name in _PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      pass
  return {
    'date': datetime.datetime.now(datetime.UTC).date().isoformat(),
    'cores': len(os.sched_getaffinity(0)),
    'cpu': _cpu(),
    'device': jax.devices()[0].device_kind,
    'platform': jax.default_backend(),
    'versions': versions,
  }


def _cpu():
  for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines() if os.path.exists('/proc/cpuinfo') else []:
    if line.startswith('model name'):
      return line.split(':')[1].strip()
  return platform.processor() or platform.machine()


def torch_or_none():
  """PyTorch, for the peers; None, said aloud, where it is not installed."""
  try:
    import torch
  except ImportError:
    print('PyTorch is not installed (`pip install .[dev]`): its rows are left out', flush=True)
    return None
  return torch


def run(main: Callable[[str, int, bool], None]) -> None:
  """Parses the flags every benchmark has, and calls main(out, repeats, quick)."""

  def define_flags():
    cli.define_path('out', None, 'Folder for the JSON file.', required=True)
    flags.DEFINE_integer('repeats', 7, 'Timings of each side; sides that take long have fewer.', lower_bound=1)
    flags.DEFINE_bool('quick', False, 'Tiny sizes: shows that it runs, measures nothing.')

  allocator.keep_memory()  # as the trainer does
  logging.set_verbosity(logging.WARNING)  # without JAX's lines about backends that are absent
  cli.run(lambda: main(flags.FLAGS.out, flags.FLAGS.repeats, flags.FLAGS.quick), define_flags)
