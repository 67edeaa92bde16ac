"""What a graphics card does, in one call of at most ten minutes: whole updates at the batch that fills it, in a table.

    python -m benchmarks.gpu

Needs JAX for CUDA and no TensorFlow. PyTorch stands beside it where it sees the card: the same networks, with the long
convolution done directly. For each network and type the batch doubles until the card's memory is exhausted or a
sequence takes no less time. Shares are of what the card was measured to do in the same call: a large matrix product in
bfloat16, a large copy. What an update computes and moves is counted from shapes (benchmarks/work.py).
"""

from collections.abc import Callable
import functools
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from absl import flags

from data_prep.core import children, cli
from data_prep.core.errors import UserError
from data_prep.face import cropping
from data_prep.schema.grid import PAPER

_SECONDS = {'ours': 380, 'PyTorch': 200}  # of each side's process, at most
_FIRST = {'speech': 16, 'visual': 4, 'fused': 4}  # batch to begin with; a card without the memory for it halves it
_LARGEST = 1024  # batch
_DRY = 1  # the only batch of a dry run
_GAIN = 1.05  # how much faster a sequence must get for the batch to double again
_REPEATS = 5
_SOUND, _FACE = (PAPER.samples_per_step,), (3, cropping.FACE_SIZE, cropping.FACE_SIZE)  # of a step, of PyTorch's
_INPUTS = {'speech': [_SOUND], 'visual': [_FACE], 'fused': [_SOUND, _FACE]}


def fill(rate_of: Callable[[int], float], first: int, largest: int, seconds: float) -> str:
  """Doubles the batch while that makes a sequence faster.

  Args:
    rate_of: gives the sequences a second of a batch; raises MemoryError where memory does not suffice.
    first: batch to begin with; where memory does not suffice, it is halved.
    largest: batch.
    seconds: no batch begins that would end later than that, if it takes as long as the last one.

  Returns:
    What ended it.
  """
  begun, batch, last, too_large = time.monotonic(), first, 0.0, largest + 1
  while True:
    started = time.monotonic()
    try:
      rate = rate_of(batch)
    except MemoryError:
      if last or batch == 1:
        return 'memory'
      too_large, batch = batch, batch // 2
      continue
    if rate < _GAIN * last:
      return 'no faster'
    last, batch = rate, 2 * batch
    if batch >= too_large:
      return 'memory' if too_large <= largest else 'largest tried'
    took = time.monotonic() - started
    if started + 2 * took > begun + seconds:
      return 'time'


def one(side: str, dry_run: bool) -> None:
  """Measures a side, in a process of its own: prints a line of JSON for every batch, and for what ended the doubling.

  Raises:
    UserError: ours finds no GPU.
  """
  begun, update_of = time.monotonic(), _SIDES[side](dry_run)
  cases = [(network, dtype) for network in _FIRST for dtype in ('float32', 'bfloat16')] if update_of else []
  best: dict[str, tuple[float, int]] = {}
  for k, (network, dtype) in enumerate(cases):
    # Where float32 is fastest bfloat16 begins: it takes no more memory, and to compile an update takes long.
    first = best.get(network, (0, _DRY if dry_run else _FIRST[network]))[1]

    def rate_of(batch, network=network, dtype=dtype):
      rate, counted = _rate(functools.partial(update_of, network, dtype, batch), batch, 1 if dry_run else None)
      best[network] = max(best.get(network, (0, 0)), (rate, batch))
      _say(network=network, dtype=dtype, batch=batch, rate=rate, **counted)
      return rate

    left = _SECONDS[side] - (time.monotonic() - begun)
    try:
      ended = fill(rate_of, first, _DRY if dry_run else _LARGEST, left / (len(cases) - k))
    except RuntimeError as e:  # one case that a library fails at must not cost the others
      print(f'{side}: {network}, {dtype}: {(str(e) or repr(e)).splitlines()[0]}', flush=True)
      ended = 'an error'
    _say(network=network, dtype=dtype, ended=ended)


def _rate(make, batch, repeats):
  from benchmarks import measure

  gc.collect()  # the last batch's
  try:
    run, counted = make()
    [times] = measure.alternate([measure.Side('', run, repeats)], _REPEATS)
  except RuntimeError as e:  # JAX's and PyTorch's
    if 'RESOURCE_EXHAUSTED' in str(e) or 'out of memory' in str(e):
      raise MemoryError from None
    raise
  return batch / times['median'], counted


def _say(**values):
  print(json.dumps(values), flush=True)


def _steps(dry_run):
  return 2 if dry_run else 150


def _ours(dry_run):
  import jax
  import jax.numpy as jnp

  try:
    found = jax.default_backend()
  except (RuntimeError, AssertionError):  # of a plugin for CUDA that finds no card
    found = 'GPU that does not start'
  if not dry_run and found != 'gpu':
    raise UserError(
      f'no GPU found, JAX sees a {found}; expected a GPU with its driver, which nvidia-smi shows, and '
      '`make install EXTRAS=test,cuda13`; --dry_run tries the program on a CPU'
    )
  from benchmarks import measure, step, work
  from e2e_affect.layers import resnet
  from e2e_affect.train import train_state

  if dry_run:  # or a CPU would compile for minutes
    jax.config.update('jax_disable_most_optimizations', True)
    resnet._BLOCKS = (1, 1, 1, 1)
  _say(benchmark='gpu', **measure.machine(), peak=measure.peak(dry_run))

  @functools.lru_cache(maxsize=1)
  def state_of(network):
    config = step.config_of(network, 'float32', dry_run)
    return train_state.init_state(config, step.layout_of(config))

  def update_of(network, dtype, batch):
    config, state = step.config_of(network, dtype, dry_run), state_of(network)
    run = functools.partial(step.updates(config, state), step.batch_of(config, batch, _steps(dry_run)))
    shape = config.model, batch, _steps(dry_run)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return run, {
      'flop': work.train_step(*shape),
      'bytes': work.moved(*shape, jnp.dtype(dtype).itemsize, parameters),
      'faces': _steps(dry_run) if 'visual' in config.model.modalities else 0,
    }

  return update_of


def _pytorch(dry_run):
  from benchmarks import measure

  torch = measure.torch_or_none()
  if torch and not dry_run and not torch.cuda.is_available():
    print('PyTorch sees no GPU: its columns are left out', flush=True)
    return None
  if not torch:
    return None
  from benchmarks import peers

  torch.backends.cuda.matmul.allow_tf32 = True  # as JAX does in float32
  torch.backends.cudnn.benchmark = True  # as XLA does
  fronts = {'speech': peers.DirectSpeech, 'visual': peers.ResNet50, 'fused': peers.BothFeatures}

  def update_of(network, dtype, batch):
    torch.cuda.empty_cache()
    shapes = [(batch, _steps(dry_run), *shape) for shape in _INPUTS[network]]
    inputs = [torch.randn(shape, device=peers.DEVICE) for shape in shapes]
    return peers.train_step(fronts[network](), *inputs, dtype=getattr(torch, dtype)), {}

  return update_of


_SIDES = {'ours': _ours, 'PyTorch': _pytorch}


def _measured(side, dry_run):
  """What the process of a side printed, and in what error it ended, '' where it did not.

  A process of each: the card's memory is free again when it ends.
  """
  code = f'from benchmarks import gpu; from data_prep.core import cli; cli.script(lambda: gpu.one({side!r}, {dry_run}))'
  environment = {'XLA_PYTHON_CLIENT_MEM_FRACTION': '.9', **os.environ}  # JAX takes three quarters otherwise
  if dry_run:
    environment |= {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}
  found, begun = [], time.monotonic()
  with (
    tempfile.TemporaryFile('w+') as complaints,  # what libraries say of exhausted memory is long
    children.start(
      [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
    ) as process,
  ):
    clock = threading.Timer(_SECONDS[side], process.kill)
    clock.start()
    try:
      for line in process.stdout:
        if not line.startswith('{'):
          print(line, end='', flush=True)
          continue
        found.append(json.loads(line))
        if 'rate' in found[-1]:
          print('{}: {network}, {dtype}, batch {batch}: {rate:.4g} sequences/s'.format(side, **found[-1]), flush=True)
      process.wait()
    except BaseException:
      process.kill()
      raise
    finally:
      clock.cancel()
    failed = process.returncode and time.monotonic() - begun < _SECONDS[side]  # and not stopped by the clock
    complaints.seek(0)
    *_, last = [f'exit code {process.returncode}', *filter(str.strip, complaints)]
  return found, last.strip().removeprefix('error: ') if failed else ''


def table(ours: list[dict], pytorch: list[dict], compare: bool = True) -> str:
  """Of what both sides printed, for each network and type the batch with the most sequences a second, in Markdown.

  Without `compare` there is no ratio: of a dry run, in which ours alone are tiny.
  """
  peak = next(line['peak'] for line in ours if 'peak' in line)
  most, ended = {}, {}
  for side, lines in (('ours', ours), ('PyTorch', pytorch)):
    for line in lines:
      if 'network' in line:
        case = side, line['network'], line['dtype']
        ended[case] = line.get('ended', 'time')  # where there is no last line, the process was stopped
        if 'rate' in line and line['rate'] > most.get(case, {'rate': 0})['rate']:
          most[case] = line
  rows = [
    "| update | ended by | batch | sequences/s | faces/s | of the bf16 peak | of the copy's bandwidth "
    '| PyTorch, sequences/s (batch) | ours is |',
    '|---' * 9 + '|',
  ]
  for network, dtype in dict.fromkeys(case[1:] for case in ended):
    case = 'ours', network, dtype
    mine, peer = most.get(case), most.get(('PyTorch', network, dtype))
    cells = [f'{network}, {dtype}', ended.get(case, '')]
    if mine:
      updates = mine['rate'] / mine['batch']  # a second
      cells += [
        str(mine['batch']),
        f'{mine["rate"]:.4g}',
        f'{mine["rate"] * mine["faces"]:.4g}' if mine['faces'] else '',
        f'{100e-9 * updates * mine["flop"] / peak["gflop_per_second_bfloat16"]:.2g} %',
        f'{100e-9 * updates * mine["bytes"] / peak["gb_per_second"]:.2g} %',
      ]
    else:
      cells += [''] * 5
    cells += [f'{peer["rate"]:.4g} ({peer["batch"]})' if peer else '']
    cells += [f'{mine["rate"] / peer["rate"]:.2f} × as fast' if mine and peer and compare else '']
    rows.append(f'| {" | ".join(cells)} |')
  return '\n'.join(rows)


def main() -> None:
  """Measures both sides and prints the table.

  Raises:
    UserError: no GPU, or nothing could be measured.
  """
  dry_run = flags.FLAGS.dry_run
  found = {}
  for side in _SIDES:
    found[side], failure = _measured(side, dry_run)
    if not any('peak' in line for line in found['ours']):
      raise UserError(failure or f'nothing was measured in {_SECONDS[side]} s; look at what else runs on the machine')
    if failure:
      cli.warn(f'{side}: {failure}; what it measured before that is below')
  from benchmarks import report

  if dry_run:
    print('\nDry run: on a CPU, with tiny networks of ours. These are not the numbers of a card.')
  print('\n' + table(found['ours'], found['PyTorch'], compare=not dry_run))
  print('\n* ' + report.provenance(found['ours'][0]))


if __name__ == '__main__':
  cli.run(
    main, lambda: flags.DEFINE_bool('dry_run', False, 'Tiny networks on the CPU: shows that it runs, measures nothing.')
  )
