"""How commands start and end: signals, streams that are closed or no UTF-8, paths with a tilde."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data_prep.core import cli
from tests.conftest import make_data

REPO = __file__.rsplit('/tests/', 1)[0]
COMMAND = """
import pathlib, sys, time
from data_prep.core import cli
from absl import flags
def define():
  cli.define_path('out', None, 'A path.')
def main():
  cli.say(flags.FLAGS.out)
  {body}
cli.run(main, define)
"""


def start(body, *arguments, **kwargs):
  """A command that says its --out, then does `body`."""
  kwargs = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, **kwargs}
  # A shell in the background ignores SIGINT for its children.
  return subprocess.Popen(
    [sys.executable, '-c', COMMAND.format(body=body), *arguments],
    cwd=REPO,
    text=True,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    **kwargs,
  )


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_unwinds_and_ends_in_one_line_and_its_exit_code(tmp_path, number, code):
  child = start(
    'open(flags.FLAGS.out, "w")\n  try: print("begun", flush=True); time.sleep(30)\n'
    '  finally: time.sleep(0.3); pathlib.Path(flags.FLAGS.out).unlink()',
    f'--out={tmp_path}/leaving',
  )
  assert child.stdout.readline() and child.stdout.readline() == 'begun\n'
  for pause in (0, 0.1, 0):  # a second one does not break into the cleaning up
    child.send_signal(number)
    time.sleep(pause)
  _, err = child.communicate(timeout=20)
  name = signal.Signals(number).name
  assert err == f'stopped by {name}: what is done is kept, the same command goes on\n'
  assert child.returncode == code and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_command_that_does_not_unwind_is_ended_by_the_deadline():
  child = start(
    'signals = sys.modules["data_prep.core.signals"]; signals.DEADLINE_SECONDS = 0.5\n'
    '  while True:\n    try: print("begun", flush=True); time.sleep(30)\n    except BaseException: pass',
    '--out=x',
  )
  assert child.stdout.readline() and child.stdout.readline() == 'begun\n'
  child.send_signal(signal.SIGINT)
  _, err = child.communicate(timeout=20)
  assert child.returncode == 130 and err.startswith('stopped by SIGINT') and 'Traceback' not in err


def test_a_signal_while_libraries_are_imported_gives_no_traceback():
  code = (
    'import sys; sys.argv = ["-m"]; from data_prep.core import signals; print("begun", flush=True)\n'
    'import time; time.sleep(30)'
  )
  child = subprocess.Popen(
    [sys.executable, '-c', code],
    cwd=REPO,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )
  assert child.stdout.readline() == 'begun\n'
  child.send_signal(signal.SIGINT)
  _, err = child.communicate(timeout=20)
  assert child.returncode == 130 and err.count('\n') == 1 and err.startswith('stopped by SIGINT')


def test_a_signal_that_arrives_where_python_drops_exceptions_ends_the_command_all_the_same():
  child = start(
    'class Slow:\n    def __del__(self): print("begun", flush=True); time.sleep(1)\n  Slow()\n  time.sleep(30)',
    '--out=x',
  )
  assert child.stdout.readline() and child.stdout.readline() == 'begun\n'
  started = time.monotonic()
  child.send_signal(signal.SIGTERM)
  _, err = child.communicate(timeout=20)
  assert child.returncode == 143 and err.count('\n') == 1 and err.startswith('stopped by SIGTERM')
  assert time.monotonic() - started < 9  # and not by the deadline of 10 s


_STALLED = """
import hashlib, runpy, sys, time
from data_prep.schema import records
from matplotlib.figure import Figure
def stall(first=None, file=None, *_, **__):
  if hasattr(file, 'write_bytes'): file.write_bytes(b'half a sheet')
  print('begun', flush=True)
  time.sleep(30)
Figure.savefig = records.encode = hashlib.file_digest = stall
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
  'number, code', [pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGTERM, 143)]
)
@pytest.mark.parametrize(
  'module, flags',
  [
    ('data_prep.preview', ['{data}', '--out={out}']),
    ('data_prep.shards', ['--verify={data}']),
    ('data_prep.landmarks', ['--data={data}', '--source={points}', '--out={out}']),
  ],
)
def test_a_signal_ends_preview_landmarks_and_verify_in_one_line_and_leaves_nothing_half(
  tmp_path, module, flags, number, code
):
  data, out, points = (tmp_path / name for name in ('data', 'out', 'points'))
  make_data(data, [('A', 'train', 50)])
  points.mkdir()
  np.savez(points / 'A.npz', landmarks=np.random.default_rng(0).normal(size=(50, 4, 2)))
  before = {path: path.read_bytes() for path in data.iterdir() if path.is_file()}
  arguments = [module, *(flag.format(data=data, out=out, points=points) for flag in flags)]
  child = subprocess.Popen(
    [sys.executable, '-c', _STALLED, *arguments],
    cwd=REPO,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )
  assert child.stdout.readline() == 'begun\n', child.communicate()[1]
  child.send_signal(number)
  _, err = child.communicate(timeout=20)
  assert child.returncode == code and err.splitlines()[-1].startswith('stopped by SIG') and 'Traceback' not in err
  assert before == {path: path.read_bytes() for path in data.iterdir() if path.is_file()}
  assert not [path for path in out.rglob('*') if path.suffix in ('.tmp', '.png', '.tfrecord')]
  assert subprocess.run([sys.executable, '-m', *arguments], cwd=REPO, check=False, capture_output=True).returncode == 0


def test_output_that_nobody_reads_does_not_end_the_work(tmp_path):
  read, write = os.pipe()
  os.close(read)
  child = start('cli.say("more"); pathlib.Path(flags.FLAGS.out).touch()', f'--out={tmp_path}/done', stdout=write)
  os.close(write)
  assert child.communicate(timeout=20)[1] == '' and child.returncode == 0 and (tmp_path / 'done').exists()


def test_closed_streams_and_an_ascii_terminal_give_no_traceback(tmp_path):
  script = 'import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])'
  command = [
    sys.executable,
    '-c',
    script,
    '-c',
    COMMAND.format(
      body='f = open(flags.FLAGS.out, "w"); print("lost"); cli.say("×"); print("x", file=sys.stderr); f.write("mine")'
    ),
    f'--out={tmp_path}/closed',
  ]
  assert subprocess.run(command, cwd=REPO, timeout=20).returncode == 0
  assert (tmp_path / 'closed').read_text() == 'mine'  # and nothing that was meant for the terminal
  environment = {**os.environ, 'PYTHONIOENCODING': 'ascii', 'LC_ALL': 'C'}
  child = start('cli.say("×")', b'--out=/a/\xff', env=environment)
  out, err = child.communicate(timeout=20)
  assert (out, err, child.returncode) == ('/a/\\udcff\n\\xd7\n', '', 0)


def test_a_warning_is_red_where_a_terminal_shows_colours(monkeypatch, capsys):
  class Terminal:
    def isatty(self):
      return True

  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.delenv('NO_COLOR', raising=False)
  assert cli.red('drawn', Terminal()) == '\x1b[31mdrawn\x1b[0m'
  monkeypatch.setenv('NO_COLOR', '1')
  assert cli.red('drawn', Terminal()) == 'drawn'
  monkeypatch.delenv('NO_COLOR')
  monkeypatch.setenv('TERM', 'dumb')
  assert cli.red('drawn', Terminal()) == 'drawn'
  cli.warn('drawn')  # into a file, plain
  cli.warn('drawn', sys.stderr)
  assert capsys.readouterr() == ('warning: drawn\n', 'warning: drawn\n')


def test_a_full_standard_output_is_said_so():
  with open('/dev/full', 'w', encoding='utf-8') as full:
    child = start('', '--out=x', stdout=full)
    err = child.communicate(timeout=20)[1]
  assert child.returncode == 74 and err.startswith('error: standard output: no space left') and err.count('\n') == 1


def test_a_help_that_nobody_reads_or_no_disk_takes_is_no_wrong_use():
  command = [sys.executable, '-m', 'e2e_affect.main', '--help']
  read, write = os.pipe()
  os.close(read)
  done = subprocess.run(command, cwd=REPO, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
  os.close(write)
  assert (done.returncode, done.stderr) == (0, '')
  with open('/dev/full', 'w', encoding='utf-8') as full:
    done = subprocess.run(command, cwd=REPO, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
  assert done.returncode == 74 and done.stderr.startswith('error: standard output: no space left')
  assert done.stderr.count('\n') == 1


def test_a_flag_that_is_a_path_stands_in_the_help():
  out, _ = start('', '--help').communicate(timeout=20)
  assert '  --out=PATH  A path.\n' in out


def test_a_tilde_in_a_path_flag_is_the_home_folder(tmp_path):
  child = start('', '--out=~/x', env={**os.environ, 'HOME': str(tmp_path)})
  assert child.communicate(timeout=20)[0] == f'{tmp_path}/x\n'
  child = start('', '--out=~nobody-of-this-name/x')
  err = child.communicate(timeout=20)[1]
  assert child.returncode == 64 and 'no such user; write ./~' in err


def test_a_signal_waits_for_what_must_not_be_left_half_done(tmp_path):
  child = start(
    'signals = sys.modules["data_prep.core.signals"]\n'
    '  with signals.held(): print("begun", flush=True); time.sleep(1); pathlib.Path(flags.FLAGS.out).touch()\n'
    '  time.sleep(30)',
    f'--out={tmp_path}/whole',
  )
  assert child.stdout.readline() and child.stdout.readline() == 'begun\n'
  child.send_signal(signal.SIGTERM)
  _, err = child.communicate(timeout=20)
  assert child.returncode == 143 and err.startswith('stopped by SIGTERM') and err.count('\n') == 1
  assert (tmp_path / 'whole').exists()


@pytest.mark.parametrize(
  'body, code, said',
  [
    (
      'open("a" * 300)',
      64,
      f'error: {300 * "a"}: cannot be used .File name too long.; mend that, or name another path',
    ),
    ('raise PermissionError(13, "Permission denied", "/x/y")', 64, 'error: /x/y: cannot be used .Permission denied.;'),
    ('raise OSError(122, "Disk quota exceeded", "/x/y")', 74, 'error: /x/y: no space left .Disk quota exceeded.;'),
  ],
)
def test_an_error_of_the_system_that_nobody_awaited_is_one_line_that_names_the_path(body, code, said):
  child = start(body, '--out=x')
  _, err = child.communicate(timeout=20)
  assert child.returncode == code and re.match(said, err) and err.count('\n') == 1


def test_an_error_of_the_system_without_a_path_is_a_fault_of_ours_with_its_traceback():
  child = start('raise OSError(5, "Input/output error")', '--out=x')
  _, err = child.communicate(timeout=20)
  assert child.returncode == 1 and 'Traceback' in err and err.endswith('OSError: [Errno 5] Input/output error\n')


def test_a_library_that_is_absent_is_one_line_and_a_fault_of_ours_is_none(capsys):
  def program(library):
    with cli.one_line():
      raise ModuleNotFoundError(f'No module named {library!r}', name=library)

  with pytest.raises(SystemExit) as end:
    program('sklearn.svm')
  assert end.value.code == 64
  assert capsys.readouterr().err.startswith('error: sklearn: not installed; ')
  with pytest.raises(ModuleNotFoundError):
    program('data_prep.misspelt')
