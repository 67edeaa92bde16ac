"""The benchmarks: that they run, that their counts of operations are right, that the peers are what they are named."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gpu, long_conv, measure, recurrent, report, scaling, step, work
from data_prep.core.errors import UserError
from e2e_affect.layers.speech import SpeechNetwork

pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')


def test_counts_of_operations():
  # He et al. 2016, table 1: 3.8 · 10⁹ multiply-adds a picture of 224×224, the classifier's 2 million included.
  np.testing.assert_allclose(work.resnet50(64, 224) / 2 + 2048 * 1000, 3.8e9, rtol=0.02)
  # Radosavovic et al. 2020: its convolutions make 11.1 million values, of which ours lacks three quarters of the first
  # of a unit that halves the side, since that one is strided and not the next.
  strided = sum(maps * (side**2 - (side // 2) ** 2) for maps, side in ((128, 56), (256, 28), (512, 14)))
  np.testing.assert_allclose(work.resnet50_values(64, 224), 11.1e6 - strided, rtol=0.005)
  # 48000 outputs of 40 channels, each 4000 · 40 products and as many sums.
  assert work.direct_conv(1, 48000, 4000, 40, 40) == 614.4e9
  # 3 steps of 2 sequences; 4 · 7 gates see 5 inputs and 7 hidden units, then 7 and 7.
  assert work.lstm(2, 3, 5, 7, 2) == 2 * 3 * 2 * 28 * (12 + 14)


def test_operations_of_the_long_convolution_are_those_of_its_products():
  def products(jaxpr):
    """Operations, and values that they make."""
    total = np.zeros(2, int)
    for equation in jaxpr.eqns:
      if equation.primitive.name == 'dot_general':
        contracted = equation.params['dimension_numbers'][0][0]
        shape = equation.invars[0].aval.shape
        made = equation.outvars[0].aval.size
        total += 2 * made * np.prod([shape[axis] for axis in contracted]), made
      inner = (getattr(value, 'jaxpr', None) for value in equation.params.values())
      total += sum(products(jaxpr) for jaxpr in inner if hasattr(jaxpr, 'eqns'))
    return total

  arguments = long_conv.data(3, 1000, 123, 4)
  for part, backward in ((long_conv.forward, False), (long_conv.both, True)):
    traced = jax.make_jaxpr(functools.partial(part, long_conv.long_conv.long_conv))(*arguments)
    operations, made = products(traced.jaxpr)
    assert operations == work.long_conv(3, 1000, 123, 4, 4, backward)
    if not backward:
      blocks, hop, tail, columns = long_conv.long_conv.block_table(3, 1000, 123)
      taken_first = 3 * blocks * (hop + tail) * columns * 4 + 123 * 4 * 4  # signal and filters
      assert made + taken_first == work.long_conv_values(3, 1000, 123, 4, 4)


def test_operations_and_bytes_of_an_update():
  model = step.config_of('fused', 'float32', quick=True).model  # 10 filters of 80 and 100 taps, width 4, 32×32
  frames, sound = 2 * 3, 3 * 640
  first, long = 2 * 80 * 10 * 2 * sound, work.long_conv(2, sound // 2, 100, 10, 10, backward=True)
  # Forward, and twice that; the first convolution has no input that needs a gradient. 320 and 128 features.
  expected = 2 * first + long + 3 * frames * work.resnet50(4, 32) + 3 * work.lstm(2, 3, 320 + 128, 256, 2)
  assert work.train_step(model, 2, 3) == expected
  speech = 5 * 2 * 2 * sound * 10 + 16 * work.long_conv_values(2, sound // 2, 100, 10, 10)
  assert work.moved(model, 2, 3, 2, 7) == 7 * 28 + speech + 14 * 2 * frames * work.resnet50_values(4, 32)


def test_errors_tell_a_right_convolution_from_a_shifted_one():
  x, kernel, g = long_conv.data(1, 300, 21, 4)
  right = jax.jit(lambda *a: long_conv.both(long_conv.direct, *a))(x, kernel, g)
  assert max(long_conv.errors(x, kernel, g, right).values()) < 1e-6
  shifted = [jnp.roll(part, 1, axis) for part, axis in zip(right, (1, 1, 0))]
  assert min(long_conv.errors(x, kernel, g, shifted).values()) > 0.1


def test_sides_take_turns():
  turns = []
  sides = [
    measure.Side('a', lambda: turns.append('a')),
    measure.Side('b', lambda: turns.append('b'), 1),
    measure.Side('c', lambda: turns.append('c'), before=lambda: turns.append('not timed')),
    measure.Side('d', lambda: turns.append('d'), 2),
  ]
  times = measure.alternate(sides, 2)
  short, once = ['a', 'a'], ['b']  # a side twice in its turn, unless it is timed only once
  last = ['c', 'not timed', 'c', 'd', 'd']
  assert turns == ['a', 'b', 'c', 'd', *short, *once, *last, *short, *last]
  assert [t['repeats'] for t in times] == [2, 1, 2, 2]


@pytest.mark.slow
def test_a_benchmark_leaves_a_table(tmp_path, capsys):
  long_conv.main(tmp_path, 1, quick=True)
  recurrent.main(tmp_path, 1, quick=True)
  results = report.read(tmp_path)
  assert [result['benchmark'] for result in results] == ['long_conv', 'long_conv_blocks', 'recurrent']
  table = report.table(results).splitlines()
  assert len(table) == 2 + 3 + 1 and all(line.count('|') == 6 for line in table)
  assert 'lax.conv_general_dilated: ' in table[2] and 'GFLOP/s' in table[2]
  (line,) = report.provenance(results)
  assert line.startswith(f'long_conv, long_conv_blocks, recurrent: {results[0]["date"]}, {results[0]["cpu"]}, ')
  printed = capsys.readouterr().out
  assert 'lax.conv_general_dilated' in printed and '× ours' in printed and 'peak: gflop_per_second_float32' in printed


def test_report_of_an_empty_folder(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'benchmarks.report', f'--out={tmp_path}'], capture_output=True, text=True
  )
  assert done.returncode and done.stderr == (
    f'error: {tmp_path}: no results found; run `python -m benchmarks.all --out={tmp_path}` first\n'
  )


def _result(name, *rows):
  """What a benchmark leaves; a row is its seconds, and what else it holds."""
  rows = [
    {'what': f'{name} {i}', 'sides': [{'median': s, 'min': s, 'max': 2 * s, 'repeats': 3}], 'ratios': {}} | more
    for i, (s, more) in enumerate(rows)
  ]
  about = {'date': '2020-02-02', 'cpu': 'CPU', 'cores': 2, 'device': 'cpu', 'peak': {'gb_per_second': 9.0}}
  return {'benchmark': name, 'rows': rows, 'versions': {'jax': '1.2'}, **about}


def test_the_table_says_which_goals_are_missed():
  rows = [
    (0.25, {'ratios': {'peer': 0.99}, 'goal': ['peer', 1.0]}),
    (2.5, {'ratios': {'peer': 31.4}, 'goal': ['peer', 1.0]}),
    (0.6, {'ratios': {'peer': 2, 'other': 0.5}, 'goal': ['other', 1.0]}),
    (0.25, {'rate': [39.0, 'x/s'], 'goal': ['rate', 40]}),
    (0.25, {'rate': [1440.2, 'x/s'], 'goal': ['rate', 40], 'shares': {'most': 0.9, 'none': 0.004}}),
    (900.0, {'goal': ['seconds', 840]}),
    (840.0, {'goal': ['seconds', 840]}),
    (0.25, {'goal': ['absent', 1.0]}),
  ]
  assert [line.split(' | ', 1)[1] for line in report.table([_result('a', *rows)]).splitlines()[2:]] == [
    '250 ms (250–500) | peer: 0.99 × |  | 1.0 ×, **missed** |',
    '2.5 s (2.5–5) | peer: 31 × |  | 1.0 × |',
    '600 ms (600–1200) | peer: 2.00 ×; other: 0.50 × |  | other: 1.0 ×, **missed** |',
    '250 ms (250–500) |  | 39 x/s | 40 x/s, **missed** |',
    '250 ms (250–500) |  | 1440 x/s; 90 % most | 40 x/s |',
    '15 min (15–30) |  |  | at most 14 min, **missed** |',
    '14 min (14–28) |  |  | at most 14 min |',
    '250 ms (250–500) |  |  | absent: 1.0 ×, not measured |',
  ]


def test_the_page_gets_the_results_that_belong_there(tmp_path):
  names = ('demo', 'faces', 'input', 'long_conv', 'predict', 'prepare', 'recurrent', 'step')
  page, results = tmp_path / 'page.md', tmp_path / 'results'
  results.mkdir()
  for name in names:
    (results / f'{name}.json').write_text(json.dumps(_result(name, (0.5, {}))))

  def write(text):
    page.write_text(text, encoding='utf-8')
    command = [sys.executable, '-m', 'benchmarks.report', f'--out={results}', f'--page={page}']
    return subprocess.run(command, capture_output=True, text=True)

  text = 'Größe\n\n<!-- made by benchmarks.report -->\nold\n<!-- until here -->\nrest\n'
  assert write(text).returncode == 0
  before, made = page.read_text(encoding='utf-8').split('<!-- made by benchmarks.report -->\n')
  made, after = made.split('<!-- until here -->\n')
  assert (before, after) == ('Größe\n\n', 'rest\n')
  assert [line.split()[1] for line in made.splitlines() if line.startswith('| ')][1:] == [
    'step', 'recurrent', 'long_conv', 'input', 'prepare', 'predict', 'demo'
  ]  # fmt: skip
  assert made.endswith(', demo: 2020-02-02, CPU, 2 cores, device cpu; jax 1.2; peak gb per second 9 to 9\n\n')
  assert 'faces' not in made

  assert f'{page}: expected the lines' in write('nothing').stderr and page.read_text() == 'nothing'
  (results / 'step.json').unlink()
  assert 'results of step are missing' in write(text).stderr and page.read_text(encoding='utf-8') == text


def test_the_speeds_of_the_docs_are_those_that_the_report_makes():
  page = (pathlib.Path(__file__).parents[1] / 'docs' / 'speed.md').read_text(encoding='utf-8')
  made = page.split('<!-- made by benchmarks.report -->\n')[1].split('<!-- until here -->\n')[0].splitlines()
  assert made[1:3] == report.table([]).splitlines()
  assert len(made) > 20 and any('**missed**' in line for line in made)


def test_peers_have_the_published_sizes():
  pytest.importorskip('torch', reason='PyTorch comes with the extra "dev"')
  from benchmarks import peers

  count = lambda module: sum(p.numel() for p in module.parameters())
  assert count(peers.ResNet50()) == 23_508_032
  assert count(peers.ShortenedSpeech()) == 40 * 20 + 40 + 40 * 40 * 40 + 40
  # With our recurrent part and head the paper's network has as many parameters as ours; PyTorch's LSTM keeps two
  # biases where one would do.
  assert count(peers.Network(peers.DirectSpeech())) == 8_502_994 + 2 * 4 * 256


@pytest.mark.slow
def test_peers_compute_what_they_are_named_for():
  torch = pytest.importorskip('torch', reason='PyTorch comes with the extra "dev"')
  from benchmarks import peers

  rng = np.random.default_rng(0)
  sound = rng.normal(size=(2, 3, 640)).astype(np.float32)
  assert peers.ShortenedSpeech()(torch.tensor(sound)).shape == (2, 3, peers.ShortenedSpeech.features)
  assert peers.ResNet50()(torch.zeros(1, 2, 3, 32, 32)).shape == (1, 2, 2048)

  network = SpeechNetwork()
  variables = network.init(jax.random.key(0), sound, np.ones((2, 3)))
  direct = peers.DirectSpeech().eval()
  params = variables['params']
  with torch.no_grad():
    for layer, kernel, bias in (
      (direct.conv1, params['conv']['kernel'], params['conv']['bias']),
      (direct.conv2, params['long_conv_kernel'], params['long_conv_bias']),
    ):
      layer.weight.copy_(torch.tensor(np.asarray(kernel).transpose(2, 1, 0)))
      layer.bias.copy_(torch.tensor(np.asarray(bias)))
    expected = direct(torch.tensor(sound)).numpy()
  # PyTorch has the channels of a step first, we the samples: [B, T·320, 4] in both, so that they agree as they are.
  np.testing.assert_allclose(network.apply(variables, sound, np.ones((2, 3))), expected, atol=1e-5)


def test_bytes_exchanged_are_those_of_the_sums_over_devices():
  summed = jax.pmap(lambda x, n: (jax.lax.psum(x, 'a'), jax.lax.psum(n, 'a'), 2 * x), axis_name='a')
  devices = jax.local_device_count()
  compiled = summed.lower(jnp.ones((devices, 3, 5)), jnp.ones((devices, 7), jnp.int32)).compile().as_text()
  assert scaling.exchanged_bytes(compiled) == 4 * 3 * 5 + 4 * 7


@pytest.mark.slow
def test_two_processes_do_the_updates_of_two_devices():
  devices, processes = (scaling.spread(*of, repeats=1, quick=True) for of in ((1, 2), (2, 1)))
  np.testing.assert_allclose(processes['losses'], devices['losses'], rtol=1e-3)  # dropout makes differences grow
  assert processes['bytes'] == devices['bytes'] > 1e6


def test_costs_of_a_corpus():
  found = scaling.costs(700, {'bytes': 2e6, 'seconds': 0.3, 'memory': 5e6, 'evaluated': 7e6})
  assert found['preparation, days of a machine'] == 700 / 24 / 43
  assert found['manifest, GB'] == 1.4 and found['manifest, minutes of a core to read it, in every process'] == 3.5
  np.testing.assert_allclose(found['evaluating a fifth, GB of memory, in the first process'], 0.98)
  # 50 epochs at 6 s of recordings in 2.87 s of work, in a week.
  np.testing.assert_allclose(found['machines for 50 epochs in 7 days'], 50 * 700 / 24 * 2.87 / 6 / 7)
  assert (
    scaling.costs(1, dict.fromkeys(['bytes', 'seconds', 'memory', 'evaluated'], 0))['machines for 50 epochs in 7 days']
    == 1
  )


def test_a_manifest_of_some_hours_is_measured():
  found = scaling.manifest_costs(0.5)  # six recordings of 300 records
  # A line a field of six shards, and the streams; nothing of the 1,800 records.
  assert 6 * 200 < found['bytes'] < 6 * 600 and found['seconds'] > 0


@pytest.mark.slow
def test_the_memory_of_an_evaluation_holds_its_traces():
  # An hour has 90,000 steps; prediction and gold standard of two targets, mask and face take 24 bytes each.
  assert 24 < scaling.evaluation_memory(2.0) / (2 * 90_000) < 1000


@pytest.mark.slow
def test_peers_learn():
  pytest.importorskip('torch', reason='PyTorch comes with the extra "dev"')
  # A process of its own: PyTorch's optimisers load Triton, which aborts where TensorFlow has loaded its LLVM.
  code = (
    'import numpy as np, torch; from benchmarks import peers; torch.manual_seed(0); '
    'sound = np.random.default_rng(0).normal(size=(2, 3, 640)).astype(np.float32); '
    'step = peers.train_step(peers.ShortenedSpeech(), sound); '
    'losses = [step() for _ in range(6)]; print(losses[0] - losses[-1])'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-2000:]
  assert float(done.stdout) > 0


@pytest.mark.slow
def test_all_but_input_and_prepare_run_without_tensorflow(tmp_path):
  block = 'import sys; sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None; '
  code = block + (
    'from e2e_affect.layers import resnet; resnet._BLOCKS = (1, 1, 1, 1); '
    f'from benchmarks import growth, step; step.main(r"{tmp_path}", 1, True); print(growth.one(1, 2, 1, True)["gib"])'
  )
  # One thread: PyTorch's wait for each other long where the cores are taken.
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, env=os.environ | {'OMP_NUM_THREADS': '1'}
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert 0.1 < float(done.stdout.splitlines()[-1]) < 20
  assert len(json.loads((tmp_path / 'step.json').read_text())['rows']) == 2


@pytest.mark.slow
@pytest.mark.parametrize('name', ['input', 'prepare', 'faces', 'export', 'demo'])
def test_benchmarks_run_as_commands(tmp_path, name):
  done = subprocess.run(
    [sys.executable, '-m', f'benchmarks.{name}', '--quick', '--repeats=1', f'--out={tmp_path}'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert json.loads((tmp_path / f'{name}.json').read_text())['rows'][0]['sides'][-1]['median'] > 0


@pytest.mark.parametrize(
  ('first', 'largest', 'seconds', 'fits', 'tried', 'ended'),
  [
    (4, 64, 60, 64, [4, 8, 16, 32], 'no faster'),
    (4, 64, 60, 8, [4, 8, 16], 'memory'),
    (32, 64, 60, 8, [32, 16, 8], 'memory'),  # 16 is not tried again
    (2, 64, 60, 0, [2, 1], 'memory'),
    (4, 8, 60, 64, [4, 8], 'largest tried'),
    (4, 64, 0, 64, [4], 'time'),
  ],
)
def test_the_batch_doubles_while_that_makes_a_sequence_faster(first, largest, seconds, fits, tried, ended):
  seen = []

  def rate_of(batch):
    seen.append(batch)
    if batch > fits:
      raise MemoryError
    return min(batch, 16.5)  # 32 sequences are no faster than 16, each

  assert gpu.fill(rate_of, first, largest, seconds) == ended
  assert seen == tried


def test_the_table_of_a_card():
  case = {'network': 'visual', 'dtype': 'float32'}
  ours = [
    {'peak': {'gflop_per_second_bfloat16': 400.0, 'gb_per_second': 50.0}},
    {**case, 'batch': 4, 'rate': 12.0, 'flop': 2e9, 'bytes': 3e9, 'faces': 150},
    {**case, 'batch': 8, 'rate': 16.0, 'flop': 5e9, 'bytes': 7e9, 'faces': 150},
    {**case, 'batch': 16, 'rate': 15.0, 'flop': 9e9, 'bytes': 9e9, 'faces': 150},
    {**case, 'ended': 'no faster'},
    {**case, 'dtype': 'bfloat16', 'ended': 'memory'},  # no batch fits
  ]
  pytorch = [{**case, 'batch': 2, 'rate': 10.0}]  # stopped by the clock
  rows = gpu.table(ours, pytorch).splitlines()
  # Two updates of batch 8 a second: 10 of 400 GFLOP/s, 14 of 50 GB/s; 16 · 150 faces.
  assert rows[2] == '| visual, float32 | no faster | 8 | 16 | 2400 | 2.5 % | 28 % | 10 (2) | 1.60 × as fast |'
  assert rows[3] == '| visual, bfloat16 | memory |  |  |  |  |  |  |  |'


def test_without_a_gpu_one_line_says_what_to_do():
  with pytest.raises(UserError, match='^no GPU found, JAX sees a cpu; expected .* `make install .* --dry_run tries'):
    gpu.one('ours', dry_run=False)


@pytest.mark.slow
def test_our_side_of_the_table_of_a_card_is_measured():
  code = (
    'import sys; sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None; '
    'from benchmarks import gpu; gpu._FIRST = {"speech": 1}; gpu.one("ours", dry_run=True)'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-2000:]
  lines = list(map(json.loads, done.stdout.splitlines()))
  assert len([line for line in lines if 'ended' in line]) == 2
  table = gpu.table(lines, []).splitlines()
  assert [line.split(' | ')[0] for line in table[2:]] == ['| speech, float32', '| speech, bfloat16']
  assert all(row.count(' %') == 2 and row.count('|') == table[0].count('|') for row in table[2:])


@pytest.mark.long
def test_the_program_for_a_card_runs_on_a_cpu_without_tensorflow(tmp_path):
  for name in ('tensorflow', 'tensorflow_datasets'):  # whoever imports it fails
    (tmp_path / f'{name}.py').write_text('raise ImportError("TensorFlow is not for this program")')
  done = subprocess.run(
    [sys.executable, '-m', 'benchmarks.gpu', '--dry_run'],
    capture_output=True,
    text=True,
    env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(tmp_path)},
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert 'These are not the numbers of a card.' in done.stdout
  rows = [line for line in done.stdout.splitlines() if line.startswith('|')][2:]
  assert [row.split(' | ')[0] for row in rows] == [
    f'| {network}, {dtype}' for network in ('speech', 'visual', 'fused') for dtype in ('float32', 'bfloat16')
  ]
  assert all('%' in row for row in rows)
