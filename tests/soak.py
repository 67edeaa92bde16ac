"""Trains and evaluates, predicts, and streams for half an hour: memory must stay flat, and no file stay open.

    python -m tests.soak --minutes=30 --out=build/soak.png

Three programs run side by side on small networks: a training that evaluates every few updates, an analysis of clips one
after the other, and a stream without an end. Their memory and open files are sampled. It ends with exit code 1 where a
program's memory grew by more than 5 % after the first fifth of the time, or its open files by more than two.
"""

import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile

from data_prep.core import cli
from e2e_affect.clips import exported
from tests import clips, trainings
from tests.conftest import make_data
from tests.networks import small_network

MOST_GROWTH, MOST_FILES = 0.05, 2
_SAMPLE_SECONDS = 2.0
_WARM = 0.2  # share of the time that is not counted: libraries, compilation, first files
_PREDICT = """
import pathlib, sys
from e2e_affect.clips import analyse, exported
network = exported.load(sys.argv[1])
while True:
  analyse.analyse(network, [str(path) for path in sorted(pathlib.Path(sys.argv[2]).iterdir())], sys.argv[3])
"""
_STREAM = """
import sys
import numpy as np
from e2e_affect.clips import exported, stream
from e2e_affect.clips.online import OnlineNetwork
class Endless:
  rng = np.random.default_rng(0)
  def read(self, size):
    return self.rng.integers(-99, 99, size, 'i1').tobytes()
for _ in stream.predictions(OnlineNetwork(exported.load(sys.argv[1])), Endless(), []):
  pass
"""


def programs(folder: pathlib.Path) -> dict[str, list[str]]:
  """Name -> command; makes what they read."""
  data = make_data(
    folder / 'data', [('A', 'train', 100), ('B', 'train', 60), ('D', 'validation', 110), ('E', 'test', 70)]
  )
  exported.save(small_network('speech', 'visual'), folder / 'network')
  exported.save(small_network('speech'), folder / 'hears')
  (folder / 'clips').mkdir()
  for k in range(3):
    clips.write_clip(
      folder / 'clips' / f'{k}.mp4',
      clips.counted_frames(50),
      sound=clips.tone(2, 16_000, hertz=200 + 100 * k),
      rate=16_000,
      codec='mpeg4',
      sound_codec='aac',
    )
  soundfile.write(folder / 'clips' / 'a.wav', clips.tone(5, 44_100), 44_100)
  return {
    'training': trainings.command(
      'speech.py', folder / 'run', data, total_steps=10_000_000, evaluate_every_epochs=20.0, log_every_steps=50
    ),
    'prediction': [sys.executable, '-c', _PREDICT, *(str(folder / name) for name in ('network', 'clips', 'out'))],
    'stream': [sys.executable, '-c', _STREAM, str(folder / 'hears')],
  }


def sample(process: int) -> tuple[float, int]:
  """Megabytes of memory and number of open files of a process."""
  pages = int(pathlib.Path(f'/proc/{process}/statm').read_text().split()[1])
  return pages * os.sysconf('SC_PAGE_SIZE') / 1e6, len(os.listdir(f'/proc/{process}/fd'))


def verdict(samples: list[tuple[float, float, int]]) -> tuple[float, int, bool]:
  """How much a program grew after the first fifth of the time.

  Args:
    samples: (seconds, megabytes, open files) in order.

  Returns:
    Growth of its memory as a share, growth of its open files, and whether both are within the limits. Compared are the
    medians of the first and the last fifth of what counts.
  """
  counted = samples[int(_WARM * len(samples)) :]
  fifth = max(1, len(counted) // 5)
  before, after = counted[:fifth], counted[-fifth:]
  of = lambda rows, column: statistics.median(row[column] for row in rows)
  growth, files = of(after, 1) / of(before, 1) - 1, int(of(after, 2) - of(before, 2))
  return growth, files, growth <= MOST_GROWTH and files <= MOST_FILES


def draw(samples: dict[str, list[tuple[float, float, int]]], path: pathlib.Path) -> None:
  """Memory over time, one line a program."""
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(7, 3), layout='constrained')
  for name, rows in samples.items():
    seconds, megabytes, _ = np.transpose(rows)
    axes.plot(seconds / 60, megabytes, label=name, linewidth=1)
  axes.set(xlabel='minutes', ylabel='memory, MB', ylim=(0, None))
  axes.legend(frameon=False)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=120)


def main() -> int:
  """Runs them; returns the exit code."""
  parser = cli.Parser(__doc__)
  parser.add_argument('--minutes', type=float, default=30.0, metavar='X', help='How long; 30 by default.')
  parser.add_argument('--out', default='build/soak.png', metavar='PATH', help='Picture of the memory over time.')
  asked = parser.parse_args()
  running, samples = {}, {}
  with tempfile.TemporaryDirectory(prefix='soak-') as folder:
    try:
      for name, command in programs(pathlib.Path(folder)).items():
        log = pathlib.Path(folder) / f'{name}.log'
        with log.open('wb') as file:
          running[name] = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=trainings.ROOT, env=trainings.environment()
          )
        samples[name] = []
      begun = time.monotonic()
      while (seconds := time.monotonic() - begun) < 60 * asked.minutes:
        for name, process in running.items():
          if process.poll() is not None:
            cli.complain(f'{name} ended: {(pathlib.Path(folder) / f"{name}.log").read_text()[-1000:]}')
            return 1
          samples[name].append((seconds, *sample(process.pid)))
        time.sleep(_SAMPLE_SECONDS)
    finally:
      for process in running.values():
        process.send_signal(signal.SIGKILL)
        process.wait()
  draw(samples, pathlib.Path(asked.out))
  held = True
  for name, rows in samples.items():
    growth, files, flat = verdict(rows)
    held &= flat
    cli.say(
      f'{name:12} {rows[-1][1]:6.0f} MB, {100 * growth:+.1f} % after the first fifth; {rows[-1][2]} open files, '
      f'{files:+d}{"" if flat else "  NOT FLAT"}'
    )
  return 0 if held else 1


if __name__ == '__main__':
  cli.script(main)
