"""From clips to traces and pages: real-time factors, where the time goes, and the latency of a streamed step.

    python -m benchmarks.predict --out=benchmarks/results

The clips are of a minute each, of the embedded simulator; the networks are those of the paper at full size, with random
parameters: what they say costs the same. Compilation is not counted; a first clip pays for it once.
"""

import contextlib
import io
import pathlib
import tempfile

import jax
import numpy as np

from benchmarks import measure, step
from data_prep.media import audio_track
from data_prep.simulate import corpus
from e2e_affect.clips import analyse, stream
from e2e_affect.clips.network import Network
from e2e_affect.clips.online import OnlineNetwork
from e2e_affect.streams import layout_of_paper
from e2e_affect.train import train_state


def random_network(modality: str, quick: bool) -> Network:
  """The published network with fresh parameters."""
  config = step.config_of(modality, 'float32', quick)
  if quick:
    config.model.speech.long_taps = 2000  # a short filter makes many blocks of a whole clip, each to be compiled
  state = jax.eval_shape(lambda: train_state.init_state(config, layout_of_paper(config.model, ('arousal', 'valence'))))
  rng = np.random.default_rng(0)
  # Positive, since variances must be; 0.01 keeps what comes out finite.
  variables = jax.tree.map(lambda leaf: np.abs(rng.normal(0, 0.01, leaf.shape)).astype(np.float32), state.evaluated())
  return Network(
    config,
    variables,
    {
      'targets': ['arousal', 'valence'],
      'label_scale': {},
      'postprocessing': {'fitted_on': None, 'reason': 'random'},
      'checkpoint': {'step': 0},
      'results': {},
      'commit': '',
    },
  )


def analysis(what, network, paths, out, seconds, repeats, goal=None):
  """A row: a folder of clips, of so many seconds together, from files to pages."""
  summaries = []

  def run():
    with contextlib.redirect_stdout(io.StringIO()):
      summaries.extend(analyse.analyse(network, [str(path) for path in paths], out))

  times = measure.alternate([measure.Side('ours: files to traces and pages', run)], repeats)
  middle = sorted(summaries[1:], key=lambda content: content['cost']['real_time_factor'])[(len(summaries) - 1) // 2]
  cost = middle['cost']['seconds']
  shares = {kind: round(value / sum(cost.values()), 3) for kind, value in cost.items()}
  return measure.row(
    what,
    times,
    items=(seconds, 'seconds of recordings'),
    goal=goal,
    real_time_factor=round(times[0]['median'] / seconds, 4),
    shares=shares,
  )


def streamed(network, path):
  """A row: one step of sound at a time."""
  samples = audio_track.read_audio(path).samples
  costs = []
  online = OnlineNetwork(network)
  step_seconds = online.grid.step_seconds
  count = len(list(stream.predictions(online, io.BytesIO(samples.tobytes()), costs)))
  costs = np.array(costs[online.ahead :])  # before that nothing is waited for
  side = {
    'name': f'ours: a step of {1000 * step_seconds:g} ms, streamed',
    'median': float(np.median(costs)),
    'min': float(costs.min()),
    'max': float(costs.max()),
    'repeats': len(costs),
  }
  slow = round(1e3 * float(np.quantile(costs, 0.99)), 2)
  return measure.row(
    'a step of a stream, speech',
    [side],
    ms_of_99_percent=slow,
    real_time_factor=round(float(costs.sum()) / (step_seconds * count), 4),
  )


def main(out, repeats, quick):
  """Writes `out/predict.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  seconds = 5 if quick else 60
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    corpus.simulate(folder, 3, seconds, 0, 2)
    videos, sounds = (sorted(folder.rglob(f'*.{suffix}'))[:2] for suffix in ('mp4', 'wav'))
    rows = []
    for modality, paths, goal in (('fused', videos, ('rate', 1 / 0.15)), ('speech', sounds, None)):
      network = random_network(modality, quick)
      what = f'analysis, {modality}, {len(paths)} clips of {seconds} s'
      rows.append(analysis(what, network, paths, folder / 'out', len(paths) * seconds, min(repeats, 3), goal))
    rows.append(streamed(network, sounds[0]))
  measure.write(out, 'predict', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
