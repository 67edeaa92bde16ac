"""README, CONTRIBUTING and docs/, held against the program from their own text.

The rule for commands: every line of a ```bash block is of a kind that `_check` knows, or the test fails. The files of
the repository that it names exist, its flags stand in the --help of the command, its fields in the config it names.
The commands of `LIVE` pages run, too, in the order of the pages, on a small simulated corpus and with a ResNet of four
units (slow); `REPLACED`, `ADDED` and `ONLY_PARSED` say what is done to them. ```python blocks run after the commands of
their page.
"""

import concurrent.futures
import functools
import json
import math
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from e2e_affect.config import defaults, experiments

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'SECURITY.md', *sorted((ROOT / 'docs').glob('*.md'))]
LIVE = [ROOT / 'README.md'] + [
  ROOT / 'docs' / f'{n}.md' for n in 'index own_corpus recola training label_times paper clips formats'.split()
]

# What stands in the text, and what runs.
REPLACED = {
  '.venv/bin/python': sys.executable,
  '/path/to/RECOLA': 'data/simulated_recordings',
  'P20.mp4': 'P54.mp4',  # the test subject of the small corpus
  'arecord -t raw -f S16_LE -r 16000': 'cat sound.raw',
}
# What is put behind a command that begins like this: tiny sizes, or a plan in place of hours. Averages and warm states,
# which only the demo has, are off: all trainings of a kind then share their compiled code.
_TINY = (
  '--config.total_steps=2 --config.batch_size=2 --config.data.sequence_steps=50 --config.model.speech.filters=10 '
  '--config.model.speech.pool_channels=5 --config.model.speech.long_taps=400 --config.model.visual.width=4 '
  '--config.model.visual.image_size=32 --config.model.recurrent.units=8 --config.average_decay=0 '
  '--config.model.recurrent.warm_up=0'
)
ADDED = {
  '-m data_prep.simulate': '--subjects=4 --seconds=12',
  '-m e2e_affect.main --config': _TINY,
  'launch/sweep.py': '--dry_run',
  'launch/reproduce.py': '--dry_run',
}
# What would install, test, take an hour or needs Beam. `make demo` is replaced by the Makefile's lines for it.
ONLY_PARSED = ('make install', 'make test', 'make demo SEED', '-m pip', '--runner=beam')

# Ten changes, each in one file: the table of CONTRIBUTING.md.
CHANGES = (
  'other JPEG quality',
  "a column in the clip's CSV",
  'another loss',
  'another optimiser',
  'a corpus',
  'the colour of the valence trace',
  "the median filter's windows",
  'what a lost face yields',
  'when checkpoints are written',
  'an exit code',
)


def blocks(path, language):
  """The fenced blocks of a page in a language."""
  return re.findall(rf'^```{language}\n(.*?)^```$', path.read_text(encoding='utf-8'), re.MULTILINE | re.DOTALL)


def commands(path):
  """Every command of a page's bash blocks: a line, or several that end in a backslash."""
  lines = '\n'.join(blocks(path, 'bash')).replace('\\\n', ' ').splitlines()
  return [line for line in lines if line.strip() and not line.startswith('#')]


def prose(path):
  """A page without its fenced blocks."""
  return re.sub(r'^```.*?^```$', '', path.read_text(encoding='utf-8'), flags=re.MULTILINE | re.DOTALL)


def inline_code(path):
  return re.findall(r'`([^`\n]+)`', prose(path))


@functools.cache
def flags_of(*program):
  """The flags of a command, from its --help."""
  ask = '--helpfull' if program[1:] and program[1].startswith('benchmarks.') else '--help'  # their flags are a module's
  done = subprocess.run([sys.executable, *program, ask], cwd=ROOT, capture_output=True, text=True, check=False)
  flags = set(re.findall(r'--(?:\[no\])?([a-z_]+)', done.stdout))
  assert done.returncode == 0 and flags, f'{program}: {done.stderr[-1000:]}'
  return flags


def program_of(words):
  """('-m', module) or (script,) of a command of ours, else ()."""
  if words[0] in ('e2e-affect', 'env/bin/e2e-affect'):
    return ('-m', 'e2e_affect', words[1])[: 3 - words[1].startswith('--')]
  if words[0] != '.venv/bin/python' or words[1:] and words[2] in ('pip', 'pytest', 'mkdocs'):
    return ()
  return tuple(words[1:3]) if words[1] == '-m' else (words[1],)


@functools.cache
def config_of(argument):
  """The config that `--config=NAME_OR_FILE[:variant]` names."""
  return experiments.config(str(ROOT / argument) if '.py' in argument else argument)


def has_field(config, field):
  for part in field.split('.'):
    if part not in config:
      return False
    config = config[part]
  return True


def _check(command):
  for part in command.split('|'):
    words = shlex.split(part, comments=True)
    head, rest = words[0], words[1:]
    if head == 'make':
      makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
      for word in rest:
        name = word.partition('=')[0]
        assert re.search(rf'^{name} \?=' if '=' in word else rf'^{name}:', makefile, re.MULTILINE), word
    elif head == '.venv/bin/python' and rest[:3] == ['-m', 'pip', 'install']:
      assert all(re.search(rf'^    {name}\b', (ROOT / 'setup.cfg').read_text(), re.MULTILINE) for name in rest[3:])
    elif head == '.venv/bin/python' and rest[:2] in (['-m', 'pytest'], ['-m', 'mkdocs']):
      assert all((ROOT / word).exists() for word in rest if word.startswith('tests/')), part
    elif program := program_of(words):
      own = rest.index('--') if '--' in rest else len(rest)  # what follows belongs to the program that it starts
      _check_flags(flags_of(*program), rest[:own])
      _check_flags(flags_of('-m', 'e2e_affect.main'), rest[own + 1 :])
    elif head in ('launch/gpu.sh', 'launch/mpi.sh', 'launch/tpu_vm.sh', 'sbatch'):
      script = next(i for i, word in enumerate(words) if word.startswith('launch/'))
      assert (ROOT / words[script]).is_file()
      _check_flags(flags_of('-m', 'e2e_affect.main'), words[script + 1 :])
    elif head in ('python3', 'env/bin/pip'):
      assert rest[:2] in (['-m', 'venv'], ['-m', 'pip']) or rest[0] == 'install'
      assert all((ROOT / word.partition('=')[2]).is_file() for word in rest if word.startswith('--constraint='))
    elif head == 'docker':
      assert rest[0] in ('build', 'run')
      assert all((ROOT / word.partition('=')[2]).is_file() for word in rest if word.startswith('--file='))
      if rest[0] == 'run':
        image = next(i for i, word in enumerate(rest) if word.startswith('e2e-affect:'))
        _check(shlex.join(['e2e-affect', *rest[image + 1 :]]))
    elif head == 'kubectl':
      assert rest[:2] == ['apply', '-f'] and (ROOT / rest[2]).is_file()
    else:
      assert head == 'arecord', f'{head}: no kind of command that this test knows'


def _check_flags(known, words):
  config = next((w.removeprefix('--config=') for w in words if w.startswith('--config=')), None)
  for word in words:
    flag, equals, _ = word.removeprefix('--').partition('=')
    if word.startswith('--config.'):
      assert equals and has_field(config_of(config), flag.removeprefix('config.')), word
    elif word.startswith('--'):
      assert flag in known or flag.removeprefix('no') in known, f'{word}: no such flag'
  if config:
    config_of(config)


@pytest.mark.slow
def test_commands_flags_fields_files_and_links_exist():
  programs = {('-m', 'e2e_affect.main')}
  for page in PAGES:
    for command in commands(page):
      programs.update(program_of(shlex.split(part, comments=True)) for part in command.split('|'))
  programs.discard(())
  with concurrent.futures.ThreadPoolExecutor(2) as pool:  # each imports for seconds
    flags = set().union(*pool.map(lambda program: flags_of(*program), programs))
  faults = []
  for page in PAGES:
    for command in commands(page):
      try:
        _check(command)
      except AssertionError as e:
        faults.append(f'{page.name}: {command}: {e}')
    faults += [f'{page.name}: {code}' for code in inline_code(page) if not _known(code, flags)]
    faults += [
      f'{page.name}: {target}'
      for target in re.findall(r'\]\(([^)]+)\)', prose(page))
      if not (page.parent / target.partition('#')[0]).is_file()
    ]
  assert not faults, '\n'.join(faults)


def _known(code, flags):
  """Whether what stands between backticks exists: a path, a flag or a field; anything else is let through."""
  config = defaults.get_config()
  fields = re.findall(r'--config\.([a-z0-9_.]+)', code)
  if re.fullmatch(r'(data|model|augment|init_from)(\.[a-z0-9_]+)+', code):
    fields.append(code)
  return (
    all(has_field(config, field) for field in fields)
    and all(flag in flags for flag in re.findall(r'^--([a-z_]+)(?![a-z_.-])', code))
    and (
      not re.match(r'(configs|data_prep|e2e_affect|launch|benchmarks|docs|tests)/', code)
      or (ROOT / code.partition(':')[0]).exists()
    )
  )


@pytest.mark.parametrize(
  'wrong',
  [
    'make nothing',
    'rm -r data',
    '.venv/bin/python launch/sweep.py --to=x',
    '.venv/bin/python -m data_prep.shards --verify=data | head',
  ],
)
def test_a_wrong_command_is_seen(wrong):
  with pytest.raises(AssertionError):
    _check(wrong)


def test_the_readme_is_one_screen_and_a_half_and_names_every_page():
  text = (ROOT / 'README.md').read_text(encoding='utf-8')
  assert len(text.splitlines()) <= 100
  for page in (ROOT / 'docs').glob('*.md'):
    assert f'(docs/{page.name})' in text, page.name


def test_ten_changes_name_one_file_each():
  rows = dict(re.findall(r'^\| (.+?) \| `([^`]+)`[^|]*\|$', (ROOT / 'CONTRIBUTING.md').read_text(), re.MULTILINE))
  for change in CHANGES:
    assert (ROOT / rows[change]).is_file(), change


def test_the_site_is_whole_and_loads_nothing_from_the_network(tmp_path):
  pytest.importorskip('mkdocs', reason='the site is built with what `make install EXTRAS=test,docs` installs')
  done = subprocess.run(
    [sys.executable, '-m', 'mkdocs', 'build', '--quiet', '--strict', f'--site-dir={tmp_path}'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
  )
  assert done.returncode == 0, done.stdout + done.stderr
  for page in tmp_path.rglob('*.html'):
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text(encoding='utf-8'))
    assert not loaded, page


def _as_run(command):
  """A command with what `REPLACED` and `ADDED` say."""
  for old, new in REPLACED.items():
    command = command.replace(old, new)
  for begin, more in ADDED.items():
    if begin in command:
      command += f' {more}'
  return command


def _demo():
  """The Makefile's lines for `make demo`."""
  makefile = (ROOT / 'Makefile').read_text(encoding='utf-8').replace('\\\n', ' ')
  recipe = re.search(r'^demo: install\n((?:\t.*\n)+)', makefile, re.MULTILINE)[1]
  values = {'PY': '.venv/bin/python', 'RUNS': 'runs/demo', 'SEED': '0'}
  return [re.sub(r'\$\((\w+)\)', lambda m: values[m[1]], line).strip() for line in recipe.splitlines()]


def _check_demo(runs):
  """Every network has scores on both partitions, and the report shows them."""
  report = (runs / 'report.html').read_text(encoding='utf-8')
  for name in ('speech', 'visual', 'fused'):
    results = json.loads((runs / name / 'results.json').read_text())
    assert set(results) >= {'validation', 'test', 'postprocessing', 'checkpoint'}
    assert results['test']['scored_steps'] == 300  # of one person, 12 s
    shown = f'{results["test"]["postprocessed"]["ccc"]["arousal"]:.3f} ('.replace('-', '−')  # as print sets numbers
    assert shown in report, name


def _shallow_package(folder):
  """Our package with one unit in each stage of its ResNet: what runs in the folder takes it."""
  shutil.copytree(ROOT / 'e2e_affect', folder / 'e2e_affect', ignore=shutil.ignore_patterns('__pycache__'))
  network = folder / 'e2e_affect' / 'layers' / 'resnet.py'
  text, changed = re.subn(r'^_BLOCKS = .*', '_BLOCKS = (1, 1, 1, 1)', network.read_text(encoding='utf-8'), flags=re.M)
  assert changed == 1
  network.write_text(text, encoding='utf-8')


def _own_recordings(folder):
  """The files that the table of docs/own_corpus.md names, beside that table."""
  table = blocks(ROOT / 'docs' / 'own_corpus.md', '')[0]
  videos = sorted((folder / 'data/simulated_recordings/RECOLA-Video-recordings').glob('*.mp4'))
  for row, video in zip(table.splitlines()[1:], videos, strict=False):
    *_, picture, sound, labels = row.split(',')
    for name in filter(None, (picture, sound, labels)):
      (folder / 'my' / name).parent.mkdir(parents=True, exist_ok=True)
    if picture:
      shutil.copy(video, folder / 'my' / picture)
    if sound:
      shutil.copy(folder / f'data/simulated_recordings/RECOLA-Audio-recordings/{video.stem}.wav', folder / 'my' / sound)
    if labels:
      rows = [f'{k / 25:.2f},{math.sin(k / 40):.3f},{math.cos(k / 30):.3f}\n' for k in range(300)]
      (folder / 'my' / labels).write_text('time,arousal,valence\n' + ''.join(rows))
  (folder / 'my' / 'recordings.csv').write_text(table)
  (folder / 'my' / 'clips').mkdir()
  for path in (folder / 'my/clips/talk.mp4', folder / 'talk.mp4', folder / 'calm.mp4'):
    shutil.copy(videos[0], path)
  (folder / 'sound.raw').write_bytes(bytes(32_000))
  (folder / 'resnet_v1_50.ckpt').touch()  # for a plan it has to be there


@pytest.mark.slow
def test_the_commands_of_the_pages_run(tmp_path):
  for name in ('configs', 'launch', 'Makefile'):
    (tmp_path / name).symlink_to(ROOT / name)
  _shallow_package(tmp_path)
  # Tiny networks: to compile them is most of the work.
  level = '--xla_backend_optimization_level=1'
  env = {**os.environ, 'XLA_FLAGS': level, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'}

  def run(command, *, shell=True):
    done = subprocess.run(
      command, shell=shell, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'

  for command in _demo():
    run(_as_run(command))
  _check_demo(tmp_path / 'runs/demo')
  _own_recordings(tmp_path)
  done = set()
  for page in LIVE:
    for command in commands(page):
      kept = re.sub(r'\s+#.*', '', command)
      if kept not in done and kept != 'make demo' and not any(known in kept for known in ONLY_PARSED):
        run(_as_run(kept))
        done.add(kept)
    code = ''.join(blocks(page, 'python'))
    if code:
      run([sys.executable, '-c', code + "assert set(traces) >= {'time', 'arousal', 'valence'}"], shell=False)
  assert len(done) > 15
  for name in ('runs/demo/report.html', 'analysed/P54.html', 'analysed/talk.csv', 'sheets/anna_1.png', 'exported'):
    assert (tmp_path / name).exists(), name
