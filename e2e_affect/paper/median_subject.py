"""Gold standard and prediction of a typical test subject (paper, Fig. 3)."""

from collections.abc import Sequence
import pathlib

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from data_prep.core import atomic, remote
from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from e2e_affect import heads
from e2e_affect.evaluate import results
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import figures, metrics, table
from e2e_affect.traces.traces import Trace


def figure(workdir: str | pathlib.Path, out_png: str | pathlib.Path) -> dict:
  """Draws the test recording whose CCC, a mean over targets, is the median; a panel a target.

  Predictions are post-processed where the run has that, as its scores in the tables are.

  Args:
    workdir: of a network that was evaluated on test.
    out_png: the file to write.

  Returns:
    For JSON: `caption`, `recording`, `subject`, `stage` ('raw' or 'postprocessed') and `ccc` by target.

  Raises:
    UserError: no run there.
    DataError: it was not evaluated on test, or test has no labels.
  """
  config = workdirs.read_config(workdir)
  remote.fetch(config.data.dir)
  manifest = Manifest.read(config.data.dir).of_fold(config.data.fold)
  folder = pathlib.Path(workdir)
  if 'test' not in results.read_results(folder):
    raise DataError(f'{folder}: its test partition was not evaluated; do so with --mode=evaluate')
  stage = 'postprocessed' if results.read_results(folder)['test']['postprocessed'] else 'raw'
  traces = table.read_traces(
    folder / results.PREDICTIONS_FOLDER / 'test.csv',
    heads.of(config).outputs(manifest.targets),
    manifest.targets,
    partition='test',
    subjects={shard.recording: shard.subject for shard in manifest.shards},
    grid=manifest.grid,
    postprocessed=stage == 'postprocessed',
  )
  if not any(t.scored.any() for t in traces):
    raise DataError(f'{folder}: its test partition has no labels, so that no recording is the median')
  shown = traces[figures.typical_recording(traces)]
  cccs = {
    target: round(metrics.ccc(shown.prediction[shown.scored, k], shown.gold[shown.scored, k]), 4)
    for k, target in enumerate(manifest.targets)
  }
  atomic.write(pathlib.Path(out_png), figures.png(_draw(shown, manifest.targets, cccs)))
  letters = ', '.join(f'({chr(ord("a") + k)}) {target}' for k, target in enumerate(manifest.targets))
  words = {'raw': 'raw prediction', 'postprocessed': 'post-processed prediction'}[stage]
  return {
    'caption': (
      f'Gold standard and {words} over the test recording whose CCC is the median ({shown.recording}): {letters}.'
    ),
    'recording': shown.recording,
    'subject': shown.subject,
    'stage': stage,
    'ccc': cccs,
  }


def _draw(shown: Trace, targets: Sequence[str], cccs):
  seconds = np.arange(len(shown.prediction)) * shown.grid.step_seconds
  with matplotlib.rc_context(figures.STYLE):
    drawn = Figure(figsize=(6, 0.8 + 2.5 * len(targets)), layout='constrained')
    panels = drawn.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    for k, (axes, target) in enumerate(zip(panels, targets, strict=True)):
      gold = np.where(shown.scored, shown.gold[:, k], np.nan)
      axes.plot(seconds, gold, color=figures.GOLD, lw=1.2, ls=(0, (4, 1.5)), label='gold standard')
      axes.plot(seconds, shown.prediction[:, k], color=figures.FINAL, lw=1.8, label='prediction')
      axes.set_title(f'({chr(ord("a") + k)}) {target.capitalize()}   CCC {cccs[target]:z.2f}')
      axes.set_ylabel(target)
    panels[-1].set(xlabel='time [s]', xlim=(0, len(seconds) * shown.grid.step_seconds))
    drawn.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=2)
  return drawn
