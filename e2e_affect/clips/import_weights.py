"""Published weights -> weights this program starts from, with what is said of them."""

from collections.abc import Callable
import functools
import pathlib

import numpy as np

from data_prep.core import cli
from data_prep.core.errors import UserError
from data_prep.schema.grid import PAPER
from e2e_affect.clips import exported, expression_network
from e2e_affect.config import switches
from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.resnet import ResNet50
from e2e_affect.layers.speech import ReleasedSpeechNetwork
from e2e_affect.weights import detect, emo_affectnet, emo_affectnet_origin, emo_affectnet_temporal, store
from e2e_affect.weights.tensors import Imported


def import_weights(file: str, out: str, temporal: str | None = None) -> Imported:
  """Imports a file and says what it found.

  Args:
    file: published weights.
    out: folder to write `weights.safetensors` into, and, of EMO-AffectNet, the network that predicts.
    temporal: EMO-AffectNet's temporal file, where `file` is its static one.

  Raises:
    UserError, DataError: see `detect.import_file` and `store.write`; or the two files do not belong together.
  """
  imported, second = detect.import_file(file), detect.import_file(temporal) if temporal else None
  if imported.format == emo_affectnet_temporal.FORMAT:
    raise UserError(f'{file}: {imported.format}, which needs the static one; name both files, the static one first')
  predicts = imported.format == emo_affectnet.FORMAT
  if second and (not predicts or second.format != emo_affectnet_temporal.FORMAT):
    raise UserError(
      f'{file}: {imported.format}, and {temporal}: {second.format}; of two files the first must be '
      f'{emo_affectnet.FORMAT}, the second {emo_affectnet_temporal.FORMAT}'
    )
  for path, of in ((file, imported), (temporal, second)):
    if of:
      _say_what(path, of)
  for line in check(imported):
    cli.say(f'check: {line}')
  if predicts:
    origin = emo_affectnet_origin.of(pathlib.Path(file).name, pathlib.Path(temporal).name if temporal else None)
    exported.save(expression_network.make(imported, second, origin), out)
    exported.load(out)
    for line in (*origin['scores'], origin['licence']):
      cli.say(line)
    cli.say(f'written: {out}, a network for predict --checkpoint; read its README.md first')
  cli.say(f'written: {store.write(out, imported, file)}' + (', a start for --config.pretrained' if predicts else ''))
  return imported


def _say_what(file, imported):
  cli.say(f'{file}: {imported.format}')
  for note in imported.notes:
    cli.say(f'  {note}')
  parts: dict[str, list] = {}
  for row in imported.mapping:
    parts.setdefault(row[1].partition('/')[0], []).append(row)
  for part, rows in parts.items():
    size = sum(np.prod(shape, dtype=int) for _, _, shape in rows)
    cli.say(f'{part}: {len(rows)} arrays, {size:,} parameters and statistics')
    for theirs, ours, shape in (rows[0], rows[-1]):
      cli.say(f'  {theirs} {list(shape)} -> {ours}')
  cli.say(f'ignored: {len(imported.ignored)}' + (f' ({", ".join(imported.ignored[:3])} …)' if imported.ignored else ''))
  if imported.switches:
    cli.say('the network is set to:')
  for field, value in sorted(imported.switches.items()):
    cli.say(f'  config.model.{field} = {value!r}')


def check(imported: Imported) -> list[str]:
  """Runs the networks of the features on noise: a person sees whether their numbers are plausible.

  Raises:
    UserError: features are not finite, or all the same.
  """
  lines, rng = [], np.random.default_rng(0)
  for part, features_of in _CHECKED.items():
    if part in imported.params:
      variables = {'params': imported.params[part], 'batch_stats': imported.batch_stats[part]}
      what, features = features_of(variables, imported.switches, rng)
      lines.append(_says(what, features))
  return lines


def _of_squares(variables, settings, rng):
  network, normalise = visual_network(settings)
  pixels = rng.uniform(0, 1, (1, 12, 12, 3)).repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
  return 'one frame of coloured squares', network.apply(variables, normalise(pixels), np.ones(1), False)


def _of_noise(variables, settings, rng):
  network = ReleasedSpeechNetwork(norm=MaskedBatchNorm)
  audio = rng.normal(0, 0.1, (1, 3, PAPER.samples_per_step)).astype(np.float32)
  return 'three steps of noise', network.apply(variables, audio, np.ones((1, 3)), train=False, keys=None)


_CHECKED = {'visual': _of_squares, 'speech': _of_noise}


def visual_network(settings: dict) -> tuple[ResNet50, Callable[[np.ndarray], np.ndarray]]:
  """The network and the normalisation of RGB in [0, 1] that these switches ask for."""
  visual = {
    name: settings.get(f'visual.{name}', default)
    for name, default in ((field.split('.')[1], value) for field, value in switches.DEFAULTS.items())
  }
  norm = functools.partial(MaskedBatchNorm, epsilon=visual['batch_norm_epsilon'])
  network = ResNet50(norm=norm, **{name: visual[name] for name in ('stride_on', 'stem_padding', 'stem_pool_padding')})
  return network, lambda pixels: (pixels - np.float32(visual['mean'])) / np.float32(visual['std'])


def _says(what, features):
  features = np.asarray(features)
  if not np.isfinite(features).all() or features.std() == 0:
    raise UserError(
      f'the features of {what} are {features.ravel()[:3]}, …: these weights are of no trained network; '
      'get the file again, or another one'
    )
  return (
    f'features {list(features.shape)} of {what}: mean {features.mean():.4g}, deviation {features.std():.4g}, '
    f'{100 * (features == 0).mean():.0f} % zero'
  )
