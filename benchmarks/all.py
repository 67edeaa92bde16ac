"""Every benchmark, one after the other, each in a process of its own; those that lack a library are left out, aloud.

    python -m benchmarks.all --out=benchmarks/results

Needs the trainer and PyTorch; `input`, `prepare`, `faces`, `predict`, `export` and `demo` need more: on a bare GPU box
the others run. `benchmarks.report` makes tables of what they find. `benchmarks.gpu` is a call of its own.
"""

import importlib.util
import sys

from benchmarks import measure
from data_prep.core import children

_NEEDS = {
  'long_conv': (),
  'recurrent': (),
  'step': (),
  'growth': (),
  'scaling': (),
  'input': ('tensorflow', 'cv2'),
  'prepare': ('cv2', 'av'),
  'faces': ('cv2', 'av'),
  'predict': ('cv2', 'av'),
  'export': ('cv2', 'av', 'onnx', 'onnxruntime'),
  'demo': ('tensorflow', 'cv2', 'av'),
}


def main(out: str, repeats: int, quick: bool) -> None:
  """Runs them all; the arguments are handed on."""
  failed = []
  for name, libraries in _NEEDS.items():
    missing = [library for library in libraries if importlib.util.find_spec(library) is None]
    if missing:
      print(f'== {name}: left out, {", ".join(missing)} is not installed', flush=True)
      continue
    print(f'== {name}', flush=True)
    command = [sys.executable, '-m', f'benchmarks.{name}', f'--out={out}', f'--repeats={repeats}']
    if children.run(command + ['--quick'] * quick).returncode:
      failed.append(name)
  if failed:
    sys.exit(f'error: {", ".join(failed)} failed, see above')


if __name__ == '__main__':
  measure.run(main)
