"""Preparation as a pipeline of Apache Beam, whose runners spread the recordings over many machines.

The machines see the same folders under the same paths: each reads the recordings and writes shards and sidecars itself.
What runs through the pipeline is the list of recordings, and what became of each.
"""

from collections.abc import Generator, Sequence
import contextlib
import functools
import io
import json
import pathlib
import shutil

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.core import cli
from data_prep.core.errors import UserError
from data_prep.shards import runners, write

_FOLDER = 'beam'  # in `.parts`, while a pipeline runs
_RESULTS = 'results.jsonl'
_BATCH_SECONDS = 30  # of work for one start of a process, which takes seconds: recordings may be short


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
  folder = pathlib.Path(out) / write.PARTS / _FOLDER
  shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
  try:
    with runners.unlogged(), _failing_in_one_line(), apache_beam.Pipeline(options=options) as pipeline:
      (
        pipeline
        | apache_beam.Create(recordings)
        | apache_beam.Reshuffle()
        | apache_beam.BatchElements(max(jobs, 1), target_batch_duration_secs=_BATCH_SECONDS)
        | apache_beam.FlatMap(_prepare, work, jobs)
        | apache_beam.io.WriteToText(str(folder / _RESULTS), num_shards=1, shard_name_template='')
      )
    yield from _results(folder / _RESULTS, recordings)
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def _prepare(recordings, work, jobs):
  """Prepares some recordings on the machine that this runs on; yields lines of the results."""
  try:
    with contextlib.closing(work(recordings, jobs=jobs)) as results:
      for recording, result in results:
        yield json.dumps([recording.recording, result])
  except UserError as e:  # as of a full disk; a pipeline would try again, and wrap it in pages of its own
    yield json.dumps([None, {'error': str(e), 'exit_code': e.exit_code}])


@contextlib.contextmanager
def _failing_in_one_line():
  try:
    yield
  except Exception as e:
    last = next((line.strip() for line in reversed(str(e).splitlines()) if line.strip()), type(e).__name__)
    raise UserError(
      f'--runner=beam: the pipeline failed ({last}); mend that, then run again: what is done is kept'
    ) from None


def _results(path, recordings):
  lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
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
      f'{path}: {len(missing)} of {len(recordings)} recordings without a result, the first is {missing[0]}; '
      'expected all: --out must be a folder that every machine sees under the same path'
    )
  for recording in recordings:
    yield recording, results[recording.recording]
