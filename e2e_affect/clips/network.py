"""A trained network as a callable."""

from collections.abc import Callable
import functools

import jax
import ml_collections
import numpy as np

from data_prep.core.errors import UserError
from data_prep.face import cropping, detectors
from e2e_affect import heads, streams
from e2e_affect.clips import arrays
from e2e_affect.clips.signals import ClipSignals
from e2e_affect.evaluate import chunks
from e2e_affect.layers import recurrent
from e2e_affect.models import affect
from e2e_affect.run import origin, workdir
from e2e_affect.traces import band, postprocess, seen
from e2e_affect.traces.traces import Trace


class Network:
  """A trained network: arrays in, traces out.

      network = e2e_affect.load('exported')
      traces = network(audio=samples, faces=crops)

  From a file: `data_prep.recordings.clip.read(…, picture=True)` has them as `.samples`, `.crops[:]` and
  `.face_found`.

  Attributes:
    config: of the run it comes from.
    about: `targets`, `label_scale`, `postprocessing`, `checkpoint`, `dataset`, `simulated`, `results`, `commit`;
      of a network that others trained also `published` and `origin`.
    variables: `params` and `batch_stats`.
    layout: of the records that it was trained on: its grid, and the shapes of what it takes.
  """

  def __init__(self, config: ml_collections.ConfigDict, variables: dict, about: dict):
    known = [name for name, stream in streams.STREAMS.items() if stream.track]
    unknown = sorted(set(config.model.modalities) - set(known))
    if unknown:
      raise UserError(
        f'the network reads {", ".join(unknown)}, which corpora alone have; '
        f'analyse clips by a network of {", ".join(known)} or several of them'
      )
    self.config, self.variables, self.about = config, variables, about
    frozen = ml_collections.FrozenConfigDict(config)
    self.layout = workdir.layout_of(about.get('dataset') or {}, config, about['targets'])
    self._prepare(config, frozen)

  def _prepare(self, config, frozen):
    """Makes what `predict` runs."""
    model = affect.make_model(config, self.layout, axis_name=None)
    self._context = chunks.context_steps(config.model, self.layout.grid)
    self._eval_step = jax.jit(functools.partial(chunks.eval_step, model=model, config=frozen, context=self._context))

  @classmethod
  def shapes(cls, config: ml_collections.ConfigDict, about: dict) -> dict:
    """Shapes of the variables of such a network, `params` and `batch_stats`; arguments as those of the class."""
    layout = workdir.layout_of(about.get('dataset') or {}, config, about['targets'])
    return jax.eval_shape(lambda: affect.init_variables(config, layout))

  @property
  def head(self) -> heads.Head:
    """What its outputs mean."""
    return heads.of(self.config)

  @property
  def targets(self) -> list[str]:
    """Names of the traces: `arousal` and `valence` for instance, or those of classes."""
    return list(self.head.outputs(heads.Targets.of(self.layout)))

  @property
  def shows(self) -> str:
    """What its traces are; see `Head`."""
    return str(self.head.shows)

  @property
  def modalities(self) -> tuple[str, ...]:
    """What it takes: 'speech', 'visual' or both."""
    return tuple(self.config.model.modalities)

  @property
  def crop(self) -> cropping.Crop:
    """What it sees of a frame."""
    return cropping.STORED

  @property
  def detector(self) -> str:
    """That found the faces of its training; one of `data_prep.face.detectors`."""
    return str((self.about.get('dataset') or {}).get('preparation', {}).get('detector', detectors.CASCADE))

  @property
  def origin(self) -> origin.Origin:
    """On whom it was trained."""
    about = self.about
    return origin.of(about.get('dataset') or {}, about.get('origin'), about.get('simulated'), self.config.data.train_on)

  @property
  def simulated(self) -> bool:
    """Whether it learnt from a simulated corpus."""
    return self.origin.simulated

  def __call__(
    self, *, audio: np.ndarray | None = None, faces: np.ndarray | None = None, face_found: np.ndarray | None = None
  ) -> dict[str, np.ndarray]:
    """Predicts a whole recording.

    Args:
      audio: [N] mono at the rate of `layout.grid` (the paper's: 16 kHz), int16, or float with full scale at 1 (up to 16
        is taken). Needed by a speech network; a fused one does without.
      faces: [T, H, W, 3] uint8 RGB, a crop every step, as `data_prep.face.cropping` makes them (96×96, every 40 ms).
        Needed by a visual network; a fused one does without.
      face_found: [T] in [0, 1], 0 where the crop shows no face; default: 1 everywhere.

    Returns:
      `time` [T] seconds, where each step starts; each target [T] float32, on the scale −1 … 1 of the training's gold
      standard, or the probability of each class; `<target>_post` [T], after the post-processing, where the run fitted
      one; `<target>_low` and `<target>_high` [T], the ends of the band, where it has one. Without faces, T counts every
      step that the sound begins. With both, T is that of the faces; silence follows a shorter sound.

    Raises:
      ValueError: an array has another shape or type; a modality that the network needs is missing; one that it has no
        part for is given; or `face_found` comes without `faces`.
    """
    given = {'audio': audio, 'faces': faces, 'face_found': face_found}
    raw = self.predict(arrays.signals(given, self.config.model, self.layout))
    return self.traces(raw, self.postprocess(raw))

  def traces(self, raw: np.ndarray, post: np.ndarray | None) -> dict[str, np.ndarray]:
    """What calling the network returns, of raw and post-processed traces [T, K]."""
    traces = {'time': np.arange(len(raw)) * self.layout.grid.step_seconds}
    traces |= {target: raw[:, k] for k, target in enumerate(self.targets)}
    if post is not None:
      traces |= {f'{target}_post': post[:, k] for k, target in enumerate(self.targets)}
    return traces | band.ends(self.band, raw if post is None else post, self.targets)

  def predict(
    self,
    signals: ClipSignals,
    chunk_seconds: int | None = None,
    progress: Callable[[int], object] = lambda steps: None,
  ) -> np.ndarray:
    """Raw traces [T, K] float32; the memory beside them does not grow with T.

    Args:
      signals: of at least one of the network's streams.
      chunk_seconds: how much is on the device at once; no trace depends on it. Default: the config's, or less.
      progress: called with the number of steps done since the last call.
    """
    options = self.config.model.recurrent
    chunk = self._chunk_steps(signals.steps, chunk_seconds)
    carry = recurrent.initial_carry(1, options.layers + options.pool, options.units)
    rows = []
    inputs = (self._inputs(signals, first, chunk) for first in range(0, signals.steps, chunk))
    for prediction in chunks.predict(self._eval_step, self.variables, inputs, carry):
      rows.append(prediction[0])
      progress(min(chunk, signals.steps - chunk * (len(rows) - 1)))
    outputs = postprocess.time_shift(np.concatenate(rows)[: signals.steps], self.config.data.label_delay_steps)
    return self.head.prediction(outputs)

  def postprocess(self, raw: np.ndarray) -> np.ndarray | None:
    """[T, K] raw traces of a whole recording -> [T, K] after post-processing, or None where the run fitted none."""
    if not self.about['postprocessing'].get('fitted_on'):
      return None
    still = np.zeros(len(raw), np.float32)
    trace = Trace(
      recording='',
      subject='',
      partition='new',
      prediction=raw,
      gold=np.zeros((len(raw), len(self.about['targets'])), np.float32),
      mask=still,
      face_found=still,
      grid=self.layout.grid,
    )
    fitted = self.head.of_targets(self.about['postprocessing'], heads.Targets.of(self.layout))
    return self.head.apply(fitted, [trace])[0].prediction

  @property
  def band(self) -> dict:
    """What `traces.band.fit` found, or {}; it is around what `postprocess` returns, or else around raw traces."""
    return self.head.band(self.about['postprocessing'])

  @property
  def held(self) -> dict[str, int]:
    """Output -> by how many steps its final trace is shifted later, in which it holds its first value."""
    fitted, delay = self.about['postprocessing'], self.config.data.label_delay_steps
    return {target: delay + postprocess.shifted(fitted, target) for target in self.targets}

  def unlike(self, loudness: float, face: float | None, size: float, raw: np.ndarray) -> list[str]:
    """A note where a recording is unlike those of validation; arguments as those of `traces.seen.notes`."""
    known = self.about['results'].get(postprocess.FITTED_ON, {}).get('seen', {})
    return seen.notes(known, loudness, face, size, raw, self.targets)

  def _chunk_steps(self, num_steps, seconds):
    """Steps of a chunk: whole records, for short clips a power of two of them, since each length is compiled once."""
    grid = self.layout.grid
    records = max(1, round((seconds or self.config.evaluate_chunk_seconds) / grid.record_seconds))
    if not seconds:
      records = min(records, 1 << (grid.records(num_steps) - 1).bit_length())
    return records * grid.steps_per_record

  def _inputs(self, signals, first, chunk):
    """What `chunks.eval_step` takes of steps first … first + chunk − 1."""
    end = first + chunk
    around = np.arange(first - self._context, end + self._context)
    inputs = {'valid': ((around >= 0) & (around < signals.steps)).astype(np.float32)[None]}
    for stream in streams.of(self.config.model):
      for field in self.layout.streams[stream.name]:
        if field.per == 'recording':
          value = signals.of_recording(field)
        elif field.name in stream.wide:
          value = signals.of_steps(field, first - self._context, end + self._context)
        else:
          value = signals.of_steps(field, first, end)
        inputs[field.name] = value[None]
    return inputs
