"""Trainings of a small network as a user runs them, in processes of their own; no test of its own."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = {
  'data.sequence_steps': 50,
  'batch_size': 3,
  'learning_rate': 1e-3,
  'log_every_steps': 1,
  'evaluate_chunk_seconds': 2,
  'evaluate_every_epochs': 1.0,
  'model.speech.filters': 10,
  'model.speech.taps': 9,
  'model.speech.long_taps': 400,
  'model.speech.pool_channels': 5,
  'model.visual.width': 4,
  'model.visual.image_size': 32,
  'model.recurrent.units': 8,
}


def command(config, workdir, data_dir, **overrides):
  """Of a training; `a__b=c` is `--config.a.b=c`."""
  fields = {**SMALL, 'data.dir': data_dir, **{k.replace('__', '.'): v for k, v in overrides.items()}}
  return [
    sys.executable,
    '-m',
    'e2e_affect.main',
    f'--config=configs/{config}',
    f'--workdir={workdir}',
    *(f'--config.{name}={value}' for name, value in fields.items()),
  ]


def environment(**more):
  """One device, as on a user's CPU; not the eight of the tests in this process."""
  own = {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu', 'TF_CPP_MIN_LOG_LEVEL': '3'}
  return {**os.environ, **own, **more}


def run(arguments, cwd=None, **more):
  """Runs a command to its end; `more` is put into its environment."""
  return subprocess.run(arguments, capture_output=True, text=True, env=environment(**more), cwd=cwd, check=False)


def last_line(done):
  """Of what a command said on standard error."""
  return done.stderr.strip().splitlines()[-1]


def final_digest(workdir):
  """The last update and the SHA-256 of parameters, optimiser state and statistics after it."""
  folder = max(
    (p for p in (pathlib.Path(workdir) / 'checkpoints').iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
  )
  return folder.name, json.loads((folder / 'digest' / 'metadata').read_text())['sha256']


def results(workdir):
  """The content of `results.json`."""
  return json.loads((pathlib.Path(workdir) / 'results.json').read_text())
