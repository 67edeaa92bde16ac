"""Real files cut, flipped and spliced at random: each is analysed or refused in one line, and nothing else is touched.

    python -m tests.data_prep.media.test_mutated_media 300

runs more of them than the test does.
"""

import json
import pathlib
import random
import re
import subprocess
import sys

import pytest

from data_prep.core.errors import DataError
from e2e_affect.clips import analyse
from tests.networks import small_network

ROOT = pathlib.Path(__file__).resolve().parents[3]
ODD = ROOT.parent / 'shared' / 'data' / 'odd'
SECONDS_PER_FILE = 20  # a file takes one or two; the rest is for a slow machine


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
  """One file with one to three random faults; `other` lends bytes to splices."""
  data = bytearray(data)
  for _ in range(rng.randint(1, 3)):
    kind = rng.choice(('cut', 'flip', 'splice', 'drop', 'double', 'zero'))
    # Three of four spare the head, where most files can only be refused.
    place = rng.randrange(len(data) // 8 if rng.random() < 0.75 else 0, len(data))
    length = min(rng.choice((1, 4, 64, 1024, 16_384)), len(data) - place)
    if kind == 'cut':
      del data[max(place, 16) :]
    elif kind == 'flip':
      for _ in range(rng.choice((1, 8, 64))):
        data[rng.randrange(place, len(data))] ^= 1 << rng.randrange(8)
    elif kind == 'splice':
      start = rng.randrange(len(other))
      data[place : place + length] = other[start : start + length]
    elif kind == 'drop':
      del data[place : place + length]
    elif kind == 'double':
      data[place:place] = data[place : place + length]
    else:
      data[place : place + length] = bytes(length)
    data = data or bytearray(1)
  return bytes(data)


def check(folder: pathlib.Path, count: int, seed: int) -> None:
  """Analyses an intact clip, then `count` mutated files into the same folder."""
  rng = random.Random(seed)
  sources = sorted(path for path in ODD.iterdir() if path.is_file())
  network, out, broken = small_network('speech', 'visual'), folder / 'out', folder / 'broken'
  broken.mkdir()
  analyse.analyse(network, [str(ODD / 'c72_cover_track_no_flag.mp4')], out)
  before = {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
  for number in range(count):
    source, other = rng.choice(sources), rng.choice(sources)
    path = broken / f'{number:03d}_{source.name}'
    path.write_bytes(mutate(source.read_bytes(), other.read_bytes(), rng))
  try:
    analyse.analyse(network, [str(path) for path in sorted(broken.iterdir())], out)
  except DataError as e:
    assert '\n' not in str(e)
  rejects = [json.loads(line) for line in (out / 'rejects.jsonl').read_text().splitlines()]
  for row in rejects:
    assert '\n' not in row['reason'] and row['clip'][:3] in row['reason'], row
    assert not re.search(r': \w*(Error|Exception|Warning): |OpenCV', row['reason']), (
      row
    )  # an exception that nobody foresaw
  done = {path.stem for path in out.glob('[0-9]*.json')}
  assert len(done) + len(rejects) == count and done, (len(done), len(rejects))
  for path, content in before.items():
    assert path.name == 'index.html' or path.read_bytes() == content, path
  assert not list(out.glob('.predict-*'))
  print(f'{len(done)} analysed, {len(rejects)} refused')


@pytest.mark.long
@pytest.mark.skipif(not ODD.is_dir(), reason='no real clips: ../shared/data is absent')
def test_mutated_files_are_analysed_or_refused_in_one_line(tmp_path):
  # In a process of its own: a decoder that hangs or crashes must not take the tests along.
  code = (
    'import pathlib; from tests.data_prep.media import test_mutated_media as m; '
    f'm.check(pathlib.Path({str(tmp_path)!r}), 40, 1)'
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=60 + 40 * SECONDS_PER_FILE,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert 'Traceback' not in done.stderr


if __name__ == '__main__':
  import tempfile

  with tempfile.TemporaryDirectory() as temporary:
    check(pathlib.Path(temporary), int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
