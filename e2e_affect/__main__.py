"""Continuous arousal and valence from speech and face: `e2e-affect COMMAND …`.

`e2e-affect COMMAND --help` explains a command.
"""

import importlib.metadata
import runpy
import sys

from data_prep.core import cli
from data_prep.core.errors import UserError

# Command -> what `python -m` runs, and what it does in a line.
COMMANDS = {
  'simulate': ('data_prep.simulate', 'makes a corpus of drawn faces and voices, to try it with'),
  'prepare': ('data_prep.prepare', 'recordings and labels of a corpus -> shards'),
  'preview': ('data_prep.preview', 'pictures of what the network will see'),
  'shards': ('data_prep.shards', 'checks that a data folder is whole'),
  'landmarks': ('data_prep.landmarks', 'adds landmarks of the face to a data folder'),
  'features': ('data_prep.features', 'adds hand-crafted features to a data folder'),
  'train': ('e2e_affect.main', 'trains a network and evaluates it'),
  'evaluate': ('e2e_affect.main --mode=evaluate', 'evaluates a trained network, on another corpus or partition too'),
  'baseline': ('e2e_affect.baseline', "fits one of the paper's rivals and evaluates it"),
  'report': ('e2e_affect.report', 'pages of runs, and a table that compares them'),
  'predict': ('e2e_affect.predict', 'clips, or a stream of sound -> traces and pages'),
  'convert': ('e2e_affect.convert', 'traces -> files of ELAN, Praat and other programs'),
  'export': ('e2e_affect.export', 'a trained network -> a folder to pass on'),
  'import-weights': ('e2e_affect.import_weights', 'published weights -> a start for training, or a network'),
  'reproduce': ('e2e_affect.paper.reproduce', "all of the paper's tables and figures"),
}


def main() -> None:
  """Runs the command that the first argument names, as `python -m` runs its module."""
  name, *arguments = sys.argv[1:] or ['--help']
  if name not in COMMANDS:
    cli.script(lambda: _answer(name))
  cli.called_as({f'python -m {line}': f'e2e-affect {command}' for command, (line, _) in COMMANDS.items()})
  module, *given = COMMANDS[name][0].split()
  sys.argv = [f'e2e-affect {name}', *given, *arguments]
  runpy.run_module(module, run_name='__main__', alter_sys=True)


def _answer(name):
  if name == '--version':
    cli.say(f'e2e-affect {importlib.metadata.version("e2e_affect")}')
  elif cli.asks_for_help(['', name]):
    rows = [(command, what) for command, (_, what) in COMMANDS.items()]
    cli.say(cli.help_text(__doc__, [*rows, ('--version', 'says which version this is')], 'commands'))
  else:
    near = cli.nearest(name, [*COMMANDS, '--help', '--version'])
    raise UserError(f'{name!r} is no command; {near}`e2e-affect --help` lists all')


if __name__ == '__main__':
  main()
