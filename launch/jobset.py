r"""Trains on several hosts of a Kubernetes cluster as a JobSet, with one process on each, which uses all its GPUs.

    python launch/jobset.py --image=REGISTRY/e2e-affect:cuda --hosts=2 --gpus=8 -- \
        --config=fused --workdir=runs/fused

What follows `--` are the flags of e2e_affect.main. `--dry_run` prints the command that starts the JobSet, to paste it.
Without it this program starts the JobSet, waits for its end and says how it ended. Ctrl-C and SIGTERM delete it: its
processes save, and the same command goes on. Logs: `kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=NAME`.

The image is that of launch/docker/Dockerfile. Data and runs lie on the volume claims e2e-affect-data and
e2e-affect-runs, as in launch/kubernetes.yaml, but all hosts see them: both need `accessModes: [ReadWriteMany]`. Where
one host is lost, the others end, and the JobSet starts all of them again. The cluster needs the JobSet controller
(>= 0.6) and NVIDIA's device plugin. Exit codes: 0 done, 1 the JobSet failed, 64 usage, 143 after SIGTERM, 130 after
SIGINT.
"""
# NOT run here: no cluster at hand. Checked: the manifest against the published schemas of Job and JobSet, its commands
# with a pretended kubectl, and its flags with two processes on this machine (tests/test_launch.py).

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from data_prep.core import cli

PORT = 1234  # of the first process
MOST_RESTARTS = 10  # every eviction counts; a run that goes on loses nothing by another try
LOOKS_SECONDS = 10.0  # between two looks at the JobSet
OWN_FLAGS = ('--coordinator', '--num_processes', '--process_id', '--distributed')  # that this program sets


def manifest(name: str, image: str, hosts: int, gpus: int, flags: list[str]) -> dict:
  """The JobSet: one Job with a pod for each host, which all start again where one fails."""
  first = f'{name}-hosts-0-0.{name}'  # JobSet's names of pods: <JobSet>-<its job>-<job's number>-<pod's number>
  process = {
    'name': 'train',
    'image': image,
    # Of the image's entry point, e2e-affect: no shell is in between, which would keep SIGTERM from the trainer.
    'args': [
      'train',
      *flags,
      f'--coordinator={first}:{PORT}',
      f'--num_processes={hosts}',
      '--process_id=$(PROCESS_ID)',
    ],
    'env': [
      {
        'name': 'PROCESS_ID',
        'valueFrom': {
          'fieldRef': {'fieldPath': "metadata.annotations['batch.kubernetes.io/job-completion-index']"},
        },
      }
    ],
    'resources': {
      'requests': {'cpu': 4, 'memory': '16Gi'},
      'limits': {'memory': '32Gi', **({'nvidia.com/gpu': gpus} if gpus else {})},
    },
    'volumeMounts': [{'name': folder, 'mountPath': f'/work/{folder}'} for folder in ('data', 'runs')],
  }
  pod = {
    'restartPolicy': 'Never',  # a process alone cannot go on: the JobSet starts all
    'terminationGracePeriodSeconds': 300,  # the update under way, a validation, and the checkpoint
    'securityContext': {'runAsUser': 1000, 'fsGroup': 1000},
    'containers': [process],
    'volumes': [
      {'name': folder, 'persistentVolumeClaim': {'claimName': f'e2e-affect-{folder}'}} for folder in ('data', 'runs')
    ],
  }
  job = {
    'completionMode': 'Indexed',
    'completions': hosts,
    'parallelism': hosts,
    'backoffLimit': 0,
    'template': {'spec': pod},
  }
  return {
    'apiVersion': 'jobset.x-k8s.io/v1alpha2',
    'kind': 'JobSet',
    'metadata': {'name': name},
    'spec': {
      'failurePolicy': {'maxRestarts': MOST_RESTARTS},
      'replicatedJobs': [{'name': 'hosts', 'replicas': 1, 'template': {'spec': job}}],
    },
  }


def kubectl(*arguments: str, content: str | None = None) -> subprocess.CompletedProcess:
  """Runs kubectl; what it says of errors goes to the terminal."""
  return subprocess.run(['kubectl', *arguments], input=content, stdout=subprocess.PIPE, text=True, check=False)


def run(name: str, content: str) -> int:
  """Starts the JobSet, waits for its end, and deletes it on a signal; returns the exit code."""

  def stop(number, _):
    raise SystemExit(128 + number)

  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
  state = ''
  try:
    if kubectl('create', '--filename=-', content=content).returncode:
      cli.say(f'error: no JobSet was started, for the reason above; if {name} is there, choose another --name')
      state = 'Failed'
      return 1
    cli.say(f'started; its log: kubectl logs -f -l jobset.sigs.k8s.io/jobset-name={name}')
    while state not in ('Completed', 'Failed'):
      time.sleep(LOOKS_SECONDS)
      looked = kubectl('get', 'jobset', name, '--ignore-not-found', '--output=json')
      if looked.returncode == 0:  # else the cluster does not answer: look again
        state = json.loads(looked.stdout).get('status', {}).get('terminalState', '') if looked.stdout else 'Failed'
  finally:
    if not state:
      kubectl('delete', 'jobset', name, '--ignore-not-found')
  cli.say(f'{name}: {state}')
  return 0 if state == 'Completed' else 1


def main() -> int:
  """Does what the flags say; returns the exit code."""
  parser = cli.Parser(__doc__)
  parser.add_argument('--image', required=True, help='of launch/docker/Dockerfile, where the cluster finds it')
  parser.add_argument('--hosts', required=True, type=int, metavar='N', help='how many, at least 2')
  parser.add_argument('--gpus', type=int, default=1, metavar='N', help='of each host; 0: its CPU trains')
  parser.add_argument('--name', default='e2e-affect', help='of the JobSet')
  parser.add_argument('--dry_run', action='store_true', help='print the command and do nothing')
  asked = sys.argv[1:]
  end = asked.index('--') if '--' in asked else len(asked)
  args, flags = parser.parse_args(asked[:end]), asked[end + 1 :]
  if args.hosts < 2 or args.gpus < 0:
    parser.error(f'found --hosts={args.hosts} --gpus={args.gpus}, expected two or more; one host: kubernetes.yaml')
  if not re.fullmatch('[a-z]([-a-z0-9]{0,38}[a-z0-9])?', args.name):
    parser.error(f'found --name={args.name}, expected at most 40 of a-z, 0-9 and -, and a letter first')
  wrong = [flag for flag in flags if not flag.startswith('--') or flag.split('=')[0] in OWN_FLAGS]
  if wrong or not any(flag.startswith('--workdir=runs/') for flag in flags):
    parser.error(
      f'found {" ".join(wrong or flags) or "nothing"} after --, expected flags of e2e_affect.main with '
      f'--workdir=runs/…, and none of {", ".join(OWN_FLAGS)}'
    )
  content = yaml.safe_dump(
    manifest(args.name, args.image, args.hosts, args.gpus, flags), sort_keys=False, allow_unicode=True, width=1000
  )
  if args.dry_run:
    cli.say(f"kubectl create --filename=- <<'EOF'\n{content}EOF")
    return 0
  return run(args.name, content)


if __name__ == '__main__':
  cli.script(main)
