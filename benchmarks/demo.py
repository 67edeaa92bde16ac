"""`make demo`, as README.md has it, in a copy of the tree that holds no data yet and with nothing compiled before.

python -m benchmarks.demo --out=benchmarks/results
"""

import os
import pathlib
import shutil
import sys
import tempfile
import time

from benchmarks import measure
from data_prep.core import children

_ROOT = pathlib.Path(__file__).parents[1]
_NOT_COPIED = ('.*', 'data', 'runs', 'build', 'results')
_GOAL = 14 * 60  # seconds


def main(out, repeats, quick):
  """Writes `out/demo.json` of one run; `quick` only has `make` name the commands, to see that it would run."""
  del repeats  # once: it takes a quarter of an hour
  with tempfile.TemporaryDirectory() as folder:
    tree = pathlib.Path(folder) / 'tree'
    shutil.copytree(_ROOT, tree, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    (tree / '.venv').symlink_to(_ROOT / '.venv')
    command = ['make', '--assume-old=install', 'demo', *(['--dry-run'] if quick else [])]
    environment = os.environ | {'E2E_AFFECT_CACHE': f'{folder}/cache'}
    started = time.perf_counter()
    if children.run(command, cwd=tree, env=environment).returncode:
      sys.exit('error: the demo failed, see above')
    seconds = time.perf_counter() - started
  side = {'name': 'ours: from nothing to the report', 'median': seconds, 'min': seconds, 'max': seconds, 'repeats': 1}
  measure.write(out, 'demo', [measure.row('`make demo`', [side], goal=('seconds', _GOAL))], measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
