"""Preparation as a pipeline of Apache Beam, whose runners spread the recordings over many machines.

The machines see the same folders under the same paths: each reads the recordings, and writes shards, sidecars and what
became of each recording itself. Through the pipeline run the recordings' descriptions, and nothing comes out of it.
So it takes no more of a runner than its simplest transforms: Dask's loses what `BatchElements` holds back, and
PySpark's knows no `Reshuffle`.
"""

from collections.abc import Generator, Sequence
import contextlib
import functools
import importlib
import io
import json
import math
import pathlib
import shutil

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.core import atomic, cli
from data_prep.core.errors import UserError
from data_prep.shards import runners, write

_FOLDER = 'beam'  # in `.parts`, while a pipeline runs: what became of the recordings
_GROUPS = 1000  # at most so many starts of a process, which take seconds: recordings may be short


def runner(options: Sequence[str]):
  """A `runners.Run`.

  Args:
    options: of Beam and of its runner, as `--runner=FlinkRunner`.

  Raises:
    UserError: an option has another value than Beam expects.
  """
  said, wrong = io.StringIO(), [option for option in options if not option.startswith('--')]
  if wrong:
    raise UserError(
      f'--runner_options: found {wrong[0]!r}, expected options of Beam with their dashes, as --name=value'
    )
  for module in (option.partition('=')[2].rpartition('.')[0] for option in options if option.startswith('--runner=')):
    if module:  # a runner by its whole name, as Dask's: its own options are known once it is imported
      try:
        importlib.import_module(module)
      except ImportError as e:
        raise UserError(f'--runner_options={",".join(options)}: {module} cannot be imported ({e})') from None
  try:
    with contextlib.redirect_stderr(said):
      parsed = PipelineOptions(list(options))
      known = parsed.get_all_options()
  except SystemExit as e:
    if not e.code:  # --help
      raise
    raise UserError(f'--runner_options={",".join(options)}: {said.getvalue().splitlines()[-1]}') from None
  for name in sorted(set(parsed.get_all_options(retain_unknown_options=True)) - set(known)):
    # A cluster has options of its own.
    cli.warn(f'--{name} is no option of Beam itself; {cli.nearest(name, known, "--")}the runner is asked for it')
  return functools.partial(_run, parsed)


def _run(options, work, recordings, out, jobs) -> Generator[tuple, None, None]:
  """Yields (recording, result) once all are done."""
  if not recordings:
    return
  jobs = 1 if jobs is None else jobs
  size = max(jobs, 1, math.ceil(len(recordings) / _GROUPS))
  numbered = [(number // size, recording) for number, recording in enumerate(recordings)]
  folder = pathlib.Path(out) / write.PARTS / _FOLDER
  shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
  try:
    with runners.unlogged(), _failing_in_one_line(), apache_beam.Pipeline(options=options) as pipeline:
      pipeline | apache_beam.Create(numbered) | apache_beam.GroupByKey() | apache_beam.Map(_prepare, work, jobs, folder)
    yield from _results(folder, recordings)
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def _prepare(group, work, jobs, folder):
  """Prepares a group of recordings on the machine that this runs on, and writes into a file what became of them."""
  number, recordings = group
  lines = []
  try:
    with contextlib.closing(work(list(recordings), jobs=jobs)) as results:
      for recording, result in results:
        lines.append(json.dumps([recording.recording, result]))
  except UserError as e:  # as of a full disk; a pipeline would try again, and wrap it in pages of its own
    lines.append(json.dumps([None, {'error': str(e), 'exit_code': e.exit_code}]))
  atomic.write(folder / f'{number}.jsonl', '\n'.join(lines) + '\n')  # a runner may do a group twice


@contextlib.contextmanager
def _failing_in_one_line():
  try:
    yield
  except Exception as e:
    last = next((line.strip() for line in reversed(str(e).splitlines()) if line.strip()), type(e).__name__)
    raise UserError(
      f'--runner=beam: the pipeline failed ({last}); mend that, then run again: what is done is kept'
    ) from None


def _results(folder, recordings):
  lines = [line for path in sorted(folder.glob('*.jsonl')) for line in path.read_text(encoding='utf-8').splitlines()]
  results = {}
  for name, result in map(json.loads, lines):
    if name is None:
      error = UserError(result['error'])
      error.exit_code = result['exit_code']
      raise error
    results[name] = result
  missing = [recording.recording for recording in recordings if recording.recording not in results]
  if missing:
    raise UserError(
      f'{folder}: {len(missing)} of {len(recordings)} recordings without a result, the first is {missing[0]}; '
      'expected all: --out must be a folder that every machine sees under the same path'
    )
  for recording in recordings:
    yield recording, results[recording.recording]
