"""One figure of the paper of a trained network: `python -m e2e_affect.paper.draw --figure=filters --run=… --out=…`.

Writes `<figure>.png` and then `<figure>.json`, which has what the page says of it, into the folder --out.
"""

import importlib
import json
import pathlib

from absl import flags, logging

from data_prep.core import atomic, cli
from e2e_affect.run.log import ours_or_warning

# name -> module with `figure(workdir, out_png)`, which gives what goes into the JSON, its caption for one
FIGURES = {
  'figure_2': 'e2e_affect.paper.units',
  'figure_3': 'e2e_affect.paper.median_subject',
  'filters': 'e2e_affect.paper.filters',
}


def _define_flags():
  flags.DEFINE_enum('figure', None, list(FIGURES), 'Which.', required=True)
  cli.define_path('run', None, 'Workdir of the network.', required=True)
  cli.define_path('out', None, 'Folder of the figure.', required=True)


def main() -> None:
  """Does what the flags say."""
  logging.set_verbosity(logging.INFO)  # what takes minutes is said
  logging.get_absl_handler().addFilter(ours_or_warning)
  asked = flags.FLAGS
  draw(asked.figure, pathlib.Path(asked.run), pathlib.Path(asked.out))


def draw(name: str, run: pathlib.Path, out: pathlib.Path) -> None:
  """Writes the picture, and then what is said of it.

  Args:
    name: of FIGURES.
    run: workdir of the network.
    out: folder of the figure.
  """
  picture = out / f'{name}.png'
  about = importlib.import_module(FIGURES[name]).figure(run, picture)
  atomic.write(out / f'{name}.json', json.dumps({'run': str(run), **about}, indent=1) + '\n')


if __name__ == '__main__':
  cli.run(main, _define_flags)
