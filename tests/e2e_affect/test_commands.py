"""The console command: its list, errors of one line, and --help and mistyped flags that wait for no heavy import."""

import pathlib
import re
import subprocess
import sys

import pytest

from e2e_affect.__main__ import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAVY = {'jax', 'flax', 'tensorflow', 'tensorflow_datasets', 'orbax', 'scipy.signal', 'sklearn', 'matplotlib', 'torch'}


def run(*arguments, python=()):
  return subprocess.run(
    [sys.executable, *python, '-m', 'e2e_affect', *arguments], cwd=ROOT, capture_output=True, text=True, check=False
  )


@pytest.mark.parametrize('arguments', [(), ('--help',), ('-h',)])
def test_help_lists_every_command_on_one_screen(arguments):
  done = run(*arguments)
  assert done.returncode == 0 and not done.stderr
  lines = done.stdout.splitlines()
  assert len(lines) <= 24 and max(map(len, lines)) <= 80
  for command in COMMANDS:
    assert sum(line.startswith(f'  {command} ') for line in lines) == 1


def test_the_version_is_that_of_the_package():
  done = run('--version')
  assert done.returncode == 0 and re.fullmatch(r'e2e-affect \d+\.\d+\.\d+\n', done.stdout)


@pytest.mark.parametrize(
  'arguments, said',
  [
    (['trian'], "error: 'trian' is no command; did you mean train? `e2e-affect --help` lists all"),
    (['--hepl'], "error: '--hepl' is no command; did you mean --help? `e2e-affect --help` lists all"),
    (['xyz', '--help'], "error: 'xyz' is no command; `e2e-affect --help` lists all"),
  ],
)
def test_a_mistyped_command_is_one_line_with_the_nearest_name(arguments, said):
  done = run(*arguments)
  assert (done.returncode, done.stdout, done.stderr) == (64, '', f'{said}\n')


@pytest.mark.parametrize('command', COMMANDS)
def test_help_is_in_one_style_and_imports_nothing_heavy(command):
  done = run(command, '--help', python=('-X', 'importtime'))
  assert done.returncode == 0
  doc, flags = done.stdout.split('\n\nflags:\n')
  assert re.match(rf'.+\.\n\n(    .+\n)*    e2e-affect {command} .+\n', f'{doc}\n') and 'python -m' not in doc
  assert all(re.match(r'  (--[a-z_]+(=\S+)?( |$)| +\S)', line) for line in flags.splitlines())
  assert max(map(len, flags.splitlines())) <= 120 and len(done.stdout.splitlines()) <= 50
  imported = set(re.findall(r'\| +(\S+)$', done.stderr, re.MULTILINE))
  assert 'absl.flags' in imported and not imported & HEAVY


@pytest.mark.parametrize('command', COMMANDS)
def test_a_mistyped_flag_is_one_line_with_the_nearest_name_and_waits_for_nothing(command):
  flag = re.findall(r'^  --([a-z_]+)', run(command, '--help').stdout, re.MULTILINE)[0]
  config = ['--config=svr:egemaps'] if command == 'baseline' else []  # loading it would take seconds
  done = run(command, *config, f'--{flag}x=1', python=('-X', 'importtime'))
  imported = set(re.findall(r'\| +(\S+)$', done.stderr, re.MULTILINE))
  said = [line for line in done.stderr.splitlines() if not line.startswith('import time:')]
  assert done.returncode == 64 and not imported & HEAVY
  assert said == [f'error: --{flag}x: no such flag; did you mean --{flag}? --help lists all']


def test_evaluate_says_what_it_does():
  said, of_training = (run(command, '--help').stdout for command in ('evaluate', 'train'))
  assert said.startswith("Evaluates the best checkpoint of a run, with the run's own config.\n")
  assert 'e2e-affect evaluate --workdir=runs/fused --on=data/other\n' in said and '--mode' not in said
  listed = lambda text: re.findall(r'^  --([a-z_]+)', text, re.MULTILINE)
  assert listed(said) == [name for name in listed(of_training) if name not in ('config', 'mode')]
  assert 'e2e-affect evaluate --workdir=runs/fused\n' in of_training
  by_two_words = subprocess.run(
    [sys.executable, '-m', 'e2e_affect.main', '--mode', 'evaluate', '--help'],
    capture_output=True,
    text=True,
    check=False,
  )
  assert by_two_words.stdout.startswith('Evaluates the best checkpoint')


def test_a_command_without_flags_has_help_too():
  done = subprocess.run(
    [sys.executable, '-m', 'e2e_affect.paper', '--help'], capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stderr) == (0, '') and done.stdout.startswith('The page of the paper')
  assert 'flags:' not in done.stdout
