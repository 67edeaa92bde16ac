"""A folder as `e2e-affect reproduce` leaves it, of made traces: no network is trained."""

import hashlib
import json

import numpy as np

from data_prep.schema.grid import PAPER
from data_prep.schema.manifest import Manifest, Shard
from e2e_affect.evaluate import results
from e2e_affect.heads import HEADS
from e2e_affect.paper import plan
from e2e_affect.paper.experiments import EXPERIMENTS, FIGURE, RIVAL, TOOL
from e2e_affect.traces.traces import Trace

TARGETS = ['arousal', 'valence']
PEOPLE = {'train': 3, 'validation': 4, 'test': 5}
STEPS = 75


def make_data(folder, simulated=True):
  """A data folder without shards: the manifest alone."""
  shards = []
  for partition, people in PEOPLE.items():
    for i in range(people):
      name = f'{partition}_{i}'
      shards.append(Shard(f'{name}.tfrecord', 9, STEPS // 25, 'a' * 64, name, f'S{name}', partition, 0, STEPS))
  preparation = {'corpus': 'recola', 'simulated': simulated}
  folder.mkdir(parents=True, exist_ok=True)
  manifest = Manifest(
    targets=TARGETS,
    grid=PAPER,
    streams={},
    label_scale={target: [1.0, 0.0] for target in TARGETS},
    preparation=preparation,
    shards=shards,
  )
  manifest.write(folder)
  return folder


def traces(partition, noise, seed):
  """Gold standard, which is the same for all, and predictions that are as noisy as is asked for."""
  made, rng = [], np.random.default_rng(seed)
  for i in range(PEOPLE[partition]):
    gold = np.random.default_rng([i, len(partition)]).normal(size=(STEPS, 2)).cumsum(axis=0) / 20
    prediction = gold + rng.normal(size=gold.shape) * noise
    one = np.ones(STEPS, np.float32)
    name = f'{partition}_{i}'
    made.append(Trace(name, f'S{name}', partition, prediction.astype(np.float32), gold.astype(np.float32), one, one))
  return made


def quality(name):
  """A noise for each experiment, the same whenever it is asked for."""
  return 0.05 + int(hashlib.sha256(name.encode()).hexdigest()[:4], 16) / 65536 / 2


def make_run(run, noise=None):
  """What a finished run leaves that the page reads."""
  spec = EXPERIMENTS[run.experiment]
  run.folder.mkdir(parents=True, exist_ok=True)
  if spec.kind == FIGURE:
    run.done.with_suffix('.png').write_bytes(b'\x89PNG not a real image')
    run.done.write_text(json.dumps({'caption': f'What {run.experiment} shows.'}))
    return
  if spec.kind == TOOL:
    run.done.write_text('{}')
    return
  noise = quality(run.experiment) if noise is None else noise
  partitions = ('test',) if spec.validation_of else ('validation', 'test')
  of = {partition: traces(partition, noise, [run.seed, len(run.experiment)]) for partition in partitions}
  head = HEADS['regression']
  content = results.evaluate_traces(of, head, TARGETS, 0, {'step': 7})
  without = (spec.fields['without'],) if 'without' in spec.fields else ()
  results.write_results(run.folder, content, of, head, TARGETS, without)
  (run.folder / 'report.html').write_text('a report')
  if spec.kind == RIVAL:
    tried = [{'complexity': c, 'ccc': {'arousal': 0.3 + c, 'valence': 0.2}} for c in (0.001, 0.01)]
    chosen = {'arousal': {'complexity': 0.01}, 'valence': {'complexity': 0.001}}
    record = {'searches': [{'what': 'SVR', 'chosen': chosen, 'tried': tried}]}
    (run.folder / 'search.json').write_text(json.dumps(record))


def make(out, skip=(), noise=None, **options):
  """Data and finished runs; returns the options and the runs of the plan.

  Args:
    out: the folder.
    skip: experiments that are not there.
    noise: experiment -> noise of its predictions.
    **options: of `plan.Options`.
  """
  simulated = options.pop('simulated', True)
  asked = plan.Options(data=make_data(out.parent / 'data', simulated), out=out, **options)
  if asked.data_avec:
    make_data(asked.data_avec, simulated)
  plan.write(asked, lambda config: 4.0)
  asked, runs = plan.read(out)
  for run in runs:
    if run.experiment not in skip:
      make_run(run, (noise or {}).get(run.experiment))
  return asked, runs
