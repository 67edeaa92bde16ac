"""A trained network as a callable, and the folder that it travels in.

The folder, written by `python -m e2e_affect.export`, needs neither Orbax nor the training data:

    parameters.safetensors   float32, named `params/…` and `batch_stats/…`
    config.json              the run's whole config
    network.json             targets, label scale, post-processing, checkpoint, data, commit, SHA-256 of the parameters
    README.md                the model card
"""

from collections.abc import Mapping
import dataclasses
import functools
import hashlib
import json
import pathlib
import warnings

from flax import traverse_util
import jax
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from data_prep.core import atomic, json_text
from data_prep.core.errors import CheckpointError, UserError
from data_prep.media import sound_levels
from data_prep.streams import speech
from e2e_affect.config import stored
from e2e_affect.evaluate import chunks
from e2e_affect.layers import recurrent
from e2e_affect.models import affect
from e2e_affect.run import workdir
from e2e_affect.traces import postprocess
from e2e_affect.traces.traces import Trace
from e2e_affect.train import train_state

# What every output of such a network says.
SIMULATED = (
  'this network learnt from a simulated corpus, from drawings of people and not from people: its values say '
  'nothing about a person'
)
PARAMETERS_FILE, CONFIG_FILE, ABOUT_FILE = 'parameters.safetensors', 'config.json', 'network.json'
FORMAT_VERSION = 1
_FIELDS = {'targets': list, 'label_scale': dict, 'postprocessing': dict, 'checkpoint': dict, 'commit': str}


@dataclasses.dataclass(frozen=True)
class Recording:
  """What a network reads of a recording; whatever is long may be mapped from a file.

  Attributes:
    steps: T.
    samples: [N] int16, mono at the grid's rate, N ≤ S · T, silence after it; None: no sound.
    audio_mean, audio_std: of all samples, int16 units.
    audio_gain: that they were multiplied by, see `data_prep.streams.speech`.
    faces: T crops, a slice of which is uint8 [n, H, W, 3] RGB; None: no picture.
    face_found: [T] float32 in [0, 1]; 0: no face.
  """

  steps: int
  samples: np.ndarray | None
  audio_mean: float
  audio_std: float
  faces: object
  face_found: np.ndarray
  audio_gain: float = 1.0


class Network:
  """A trained network: arrays in, traces out.

      network = e2e_affect.load('exported')
      traces = network(audio=samples, faces=crops)

  From a file: `data_prep.recordings.clip.read(…, picture=True)` has them as `.samples`, `.crops[:]` and
  `.face_found`.

  Attributes:
    config: of the run it comes from.
    about: `targets`, `label_scale`, `postprocessing`, `checkpoint`, `dataset`, `simulated`, `results`, `commit`.
    variables: `params` and `batch_stats`.
    layout: of the records that it was trained on: its grid, and the shapes of what it takes.
  """

  def __init__(self, config: ml_collections.ConfigDict, variables: dict, about: dict):
    unknown = set(config.model.modalities) - {'speech', 'visual'}
    if unknown:
      raise UserError(
        f'the network reads {", ".join(sorted(unknown))} features, which are made for corpora alone; '
        'analyse clips by one of speech, visual or both'
      )
    if 'geometric' in config.model.modalities:
      raise UserError(
        'this network takes landmarks, which prediction does not find in a clip; use the fused network '
        'that it was trained from'
      )
    self.config, self.variables, self.about = config, variables, about
    frozen = ml_collections.FrozenConfigDict(config)
    self.layout = workdir.layout_of(about.get('dataset') or {}, config, self.targets)
    model = affect.make_model(config, self.layout, axis_name=None)
    self._context = chunks.context_steps(config.model, self.layout.grid)
    self._eval_step = jax.jit(functools.partial(chunks.eval_step, model=model, config=frozen, context=self._context))

  @property
  def targets(self) -> list[str]:
    """Names of the traces, for instance `arousal` and `valence`."""
    return list(self.about['targets'])

  @property
  def modalities(self) -> tuple[str, ...]:
    """What it takes: 'speech', 'visual' or both."""
    return tuple(self.config.model.modalities)

  @property
  def simulated(self) -> bool:
    """Whether it learnt from a simulated corpus, from drawings; an export without the field says so in `dataset`."""
    preparation = (self.about.get('dataset') or {}).get('preparation') or {}
    return bool(self.about.get('simulated', preparation.get('simulated', False)))

  def __call__(
    self, *, audio: np.ndarray | None = None, faces: np.ndarray | None = None, face_found: np.ndarray | None = None
  ) -> dict[str, np.ndarray]:
    """Predicts a whole recording; warns where the network is `simulated`.

    Args:
      audio: [N] mono at the rate of `layout.grid` (the paper's: 16 kHz), int16, or float with full scale at 1 (up to 16
        is taken). Needed by a speech network; a fused one does without.
      faces: [T, H, W, 3] uint8 RGB, a crop every step, as `data_prep.face.cropping` makes them (96×96, every 40 ms).
        Needed by a visual network; a fused one does without.
      face_found: [T] in [0, 1], 0 where the crop shows no face; default: 1 everywhere.

    Returns:
      `time` [T] seconds, where each step starts; each target [T] float32, on the scale −1 … 1 of the
      training's gold standard; and `<target>_post` [T], after the post-processing, where the run fitted one. Without
      faces T is every step that the sound begins; with both T is that of the faces, silence following a shorter sound.

    Raises:
      ValueError: arrays of another shape or type, a modality that the network needs is missing, or one it has no part
        for is given.
    """
    if self.simulated:
      warnings.warn(SIMULATED, stacklevel=2)
    recording = self._recording(audio, faces, face_found)
    raw = self.predict(recording)
    post = self.postprocess(raw)
    traces = {'time': np.arange(len(raw)) * self.layout.grid.step_seconds}
    traces |= {target: raw[:, k] for k, target in enumerate(self.targets)}
    if post is not None:
      traces |= {f'{target}_post': post[:, k] for k, target in enumerate(self.targets)}
    return traces

  def predict(self, recording: Recording, chunk_seconds: int | None = None, progress=lambda steps: None) -> np.ndarray:
    """Raw traces [T, K] float32, in constant memory beside them.

    Args:
      recording: with at least one of the network's modalities.
      chunk_seconds: how much is on the device at once; changes no trace. Default: the config's, less for short clips.
      progress: called with the number of steps done since the last call.
    """
    options = self.config.model.recurrent
    chunk = self._chunk_steps(recording.steps, chunk_seconds)
    carry = recurrent.initial_carry(1, options.layers, options.units)
    rows = []
    inputs = (self._inputs(recording, first, chunk) for first in range(0, recording.steps, chunk))
    for prediction in chunks.predict(self._eval_step, self.variables, inputs, carry):
      rows.append(prediction[0])
      progress(min(chunk, recording.steps - chunk * (len(rows) - 1)))
    return np.concatenate(rows)[: recording.steps]

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
      gold=np.zeros_like(raw),
      mask=still,
      face_found=still,
      grid=self.layout.grid,
    )
    return postprocess.apply(postprocess.of_targets(self.about['postprocessing'], self.targets), [trace])[0].prediction

  def _chunk_steps(self, num_steps, seconds):
    """Whole records; for a clip shorter than a chunk the next power of two: each length is compiled for once."""
    grid = self.layout.grid
    records = max(1, round((seconds or self.config.evaluate_chunk_seconds) / grid.record_seconds))
    if not seconds:
      records = min(records, 1 << (grid.records(num_steps) - 1).bit_length())
    return records * grid.steps_per_record

  def _inputs(self, recording, first, chunk):
    """What `chunks.eval_step` takes of steps first … first + chunk − 1; zeros outside of the recording."""
    before, after = first - self._context, first + chunk + self._context
    steps_here, per_step = np.arange(before, after), self.layout.grid.samples_per_step
    inputs = {'valid': ((steps_here >= 0) & (steps_here < recording.steps)).astype(np.float32)[None]}
    if 'speech' in self.modalities:
      audio = np.zeros(len(steps_here) * per_step, np.int16)
      if recording.samples is not None:
        piece = recording.samples[max(0, before) * per_step : after * per_step]
        place = max(0, -before) * per_step
        audio[place : place + len(piece)] = piece
      inputs |= {
        'audio': audio.reshape(1, -1, per_step),
        'audio_mean': np.float32([recording.audio_mean]),
        'audio_std': np.float32([recording.audio_std]),
        'audio_gain': np.float32([recording.audio_gain]),
      }
    if 'visual' in self.modalities:
      face = np.zeros((chunk, *self.layout.streams['visual'][0].shape), np.uint8)
      found = np.zeros(chunk, np.float32)
      if recording.faces is not None:
        piece = recording.faces[first : min(first + chunk, recording.steps)]
        face[: len(piece)] = piece
        found[: len(piece)] = recording.face_found[first : first + len(piece)]
      inputs |= {'face': face[None], 'face_found': found[None]}
    return inputs

  def _recording(self, audio, faces, face_found):
    for name, value, modality in (('audio', audio, 'speech'), ('faces', faces, 'visual')):
      if value is not None and modality not in self.modalities:
        raise ValueError(f'{name} given to a network of {" + ".join(self.modalities)}, which has no {modality} part')
      if value is None and self.modalities == (modality,):
        raise ValueError(f'{name} missing: this is a {modality} network')
    if audio is None and faces is None:
      raise ValueError('neither audio nor faces given')
    grid = self.layout.grid
    samples, gain = (None, 1.0) if audio is None else _int16(_array('audio', audio), grid.sample_rate)
    if faces is not None:
      faces = _array('faces', faces)
      shape = self.layout.streams['visual'][0].shape
      if faces.dtype != np.uint8 or faces.shape[1:] != shape or not len(faces):
        raise ValueError(f'faces are {faces.dtype}{list(faces.shape)}, expected uint8[T, {", ".join(map(str, shape))}]')
    count = len(faces) if faces is not None else -(-len(samples) // grid.samples_per_step)
    found = np.ones(count, np.float32) if face_found is None else _array('face_found', face_found)
    if found.shape != (count,):
      raise ValueError(f'face_found is {list(found.shape)}, expected [{count}], as many as faces')
    if found.dtype.kind not in 'biuf' or not ((found >= 0) & (found <= 1)).all():
      raise ValueError(f'face_found is {_range(found)}, expected numbers in [0, 1]')
    if samples is not None and len(samples) > count * grid.samples_per_step:
      raise ValueError(
        f'{len(samples)} samples and {count} faces, expected at most '
        f'{count * grid.samples_per_step} samples, {grid.samples_per_step} a step of {1000 * grid.step_seconds:g} ms'
      )
    mean, std = speech.statistics(samples) if samples is not None else (0.0, 0.0)
    return Recording(
      steps=count,
      samples=samples,
      audio_mean=mean,
      audio_std=std,
      faces=faces,
      face_found=found.astype(np.float32),
      audio_gain=gain,
    )


def _array(name, values):
  try:
    return np.asarray(values)
  except (ValueError, TypeError):
    raise ValueError(f'{name} is no array: ragged; expected rows of the same length') from None


def _range(values):
  """Type, and for numbers the span: what an error says of an array."""
  return f'{values.dtype}' + (f' from {values.min():g} to {values.max():g}' if values.dtype.kind in 'biuf' else '')


def _int16(audio, sample_rate):
  """The samples as files give them, and their gain."""
  if audio.ndim != 1 or not len(audio):
    raise ValueError(f'audio is {audio.dtype}{list(audio.shape)}, expected [N] samples at {sample_rate / 1000:g} kHz')
  if audio.dtype == np.int16:
    return audio, 1.0
  if audio.dtype.kind != 'f' or not np.isfinite(audio).all() or np.abs(audio).max() > sound_levels.MOST:
    raise ValueError(f'audio is {_range(audio)}, expected int16, or finite float in [−1, 1] (up to 16 is taken)')
  gain = sound_levels.gain(float(np.abs(audio).max()))
  wide = audio.astype(np.promote_types(audio.dtype, np.float32), copy=False)
  return np.clip(np.rint(wide * (32768.0 * gain)), -32768, 32767).astype(np.int16), gain


def save(network: Network, folder, card: str) -> None:
  """Writes the folder; `network.json` comes last: where it is, the rest is.

  Raises:
    WorkdirError, DiskFullError: it cannot be written.
  """
  folder = pathlib.Path(folder)
  flat = traverse_util.flatten_dict(network.variables, sep='/')
  data = safetensors.numpy.save({name: np.asarray(value, np.float32) for name, value in sorted(flat.items())})
  (folder / ABOUT_FILE).unlink(missing_ok=True)
  atomic.write(folder / PARAMETERS_FILE, data)
  atomic.write(folder / CONFIG_FILE, json.dumps(json.loads(network.config.to_json()), indent=2) + '\n')
  atomic.write(folder / 'README.md', card)
  about = {'format_version': FORMAT_VERSION, 'sha256': hashlib.sha256(data).hexdigest(), **network.about}
  atomic.write(folder / ABOUT_FILE, json.dumps(about, indent=1, ensure_ascii=False) + '\n')


def load(folder) -> Network:
  """Loads an exported network.

  Raises:
    UserError: no such folder, or of another format version.
    CheckpointError: a file of it is damaged, or does not fit the others.
  """
  folder = pathlib.Path(folder)
  about = _read_json(folder / ABOUT_FILE)
  if about.get('format_version') != FORMAT_VERSION:
    raise UserError(
      f'{folder}: format version {about.get("format_version")}, this program reads {FORMAT_VERSION}; export it again'
    )
  for field, kind in _FIELDS.items():
    if not isinstance(about.get(field), kind):
      raise CheckpointError(
        f'{folder / ABOUT_FILE}: damaged, {field} is {str(about.get(field))[:30]!r}, expected a '
        f'{kind.__name__}; copy the folder again'
      )
  config = stored.complete(_read_json(folder / CONFIG_FILE), folder / CONFIG_FILE)
  path = folder / PARAMETERS_FILE
  try:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != about['sha256']:
      raise CheckpointError(f'{path}: damaged, its SHA-256 is not that of {ABOUT_FILE}; copy the folder again')
    flat = safetensors.numpy.load(data)
  except (OSError, KeyError, safetensors.SafetensorError) as e:
    raise CheckpointError(f'{path}: cannot be read ({e}); export the run again') from None
  layout = workdir.layout_of(about.get('dataset') or {}, config, about['targets'])
  state = jax.eval_shape(lambda: train_state.init_state(config, layout))
  template = {'params': state.params, 'batch_stats': state.batch_stats}
  _check_shapes(path, flat, traverse_util.flatten_dict(template, sep='/'))
  variables = traverse_util.unflatten_dict(flat, sep='/')
  network = Network(config, {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}, about)
  try:
    network.postprocess(np.zeros((3, len(network.targets)), np.float32))
  except (TypeError, AttributeError, KeyError, ValueError) as e:
    raise CheckpointError(f'{folder / ABOUT_FILE}: damaged, its postprocessing cannot be applied ({e!r})') from None
  return network


def _check_shapes(path, found: Mapping, wanted: Mapping):
  describe = lambda tree, name: f'{tree[name].dtype}{list(tree[name].shape)}' if name in tree else 'absent'
  for name in sorted(found.keys() | wanted.keys()):
    if describe(found, name) != describe(wanted, name):
      raise CheckpointError(
        f'{path}: {name} is {describe(found, name)}, {CONFIG_FILE} wants {describe(wanted, name)}; export the run again'
      )


def _read_json(path):
  try:
    content = json_text.parse(path.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError):
    hint = ' (a run: give it as --workdir)' if (path.parent / 'checkpoints').is_dir() else ''
    raise UserError(f'{path}: not found{hint}; expected a folder that `python -m e2e_affect.export` wrote') from None
  except ValueError as e:
    raise CheckpointError(f'{path}: damaged ({e}); copy the folder again') from None
  if not isinstance(content, dict):
    raise CheckpointError(f'{path}: damaged, holds {str(content)[:9]!r}, expected an object; copy the folder again')
  return content
