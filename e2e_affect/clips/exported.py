"""The folder that a trained network travels in.

Written by `python -m e2e_affect.export`; it needs neither Orbax nor the training data:

    parameters.safetensors   float32, named `params/…` and `batch_stats/…`
    config.json              the run's whole config
    network.json             targets, label scale, post-processing, checkpoint, data, commit, SHA-256 of the parameters
    README.md                the model card
"""

from collections.abc import Mapping
import hashlib
import json
import pathlib

from flax import traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from data_prep.core import atomic, json_text
from data_prep.core.errors import CheckpointError, UserError
from e2e_affect.clips import expression_network, model_card
from e2e_affect.clips.network import Network
from e2e_affect.config import stored
from e2e_affect.traces import band

PARAMETERS_FILE, CONFIG_FILE, ABOUT_FILE = 'parameters.safetensors', 'config.json', 'network.json'
FORMAT_VERSION = 1
_FIELDS = {'targets': list, 'label_scale': dict, 'postprocessing': dict, 'checkpoint': dict, 'commit': str}


def save(network: Network, folder) -> None:
  """Writes the folder; `network.json` comes last: where it is, the rest is.

  Raises:
    WorkdirError, DiskFullError: it cannot be written.
  """
  folder = pathlib.Path(folder)
  flat = traverse_util.flatten_dict(network.variables, sep='/')
  data = safetensors.numpy.save({name: np.asarray(value, np.float32) for name, value in sorted(flat.items())})
  with atomic.writing(folder):
    (folder / ABOUT_FILE).unlink(missing_ok=True)
  atomic.write(folder / PARAMETERS_FILE, data)
  atomic.write(folder / CONFIG_FILE, json.dumps(stored.written(network.config), indent=2) + '\n')
  atomic.write(folder / 'README.md', model_card.card(network))
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
  found = about.get('format_version')
  if found != FORMAT_VERSION:
    raise UserError(f'{folder}: format version {str(found)[:30]}, this program reads {FORMAT_VERSION}; export it again')
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
  kind = _kind_of(folder / ABOUT_FILE, about)
  try:
    _check_shapes(path, flat, traverse_util.flatten_dict(kind.shapes(config, about), sep='/'))
    variables = traverse_util.unflatten_dict(flat, sep='/')
    network = kind(config, {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}, about)
  except UserError:
    raise
  except Exception as e:  # whatever the layers make of sizes that fit no network
    raise CheckpointError(
      f'{folder}: {CONFIG_FILE} and {ABOUT_FILE} describe no network ({_in_words(e)}); copy the folder again'
    ) from None
  try:
    traces = np.zeros((3, len(network.targets)), np.float32)
    network.postprocess(traces)
    band.in_words(network.band, network.targets)
    network.unlike(0.0, 0.0, 0.0, traces)
  except Exception as e:  # whatever comes of numbers, names and lengths that are none
    raise CheckpointError(
      f'{folder / ABOUT_FILE}: damaged, its postprocessing or results cannot be applied ({_in_words(e)}); '
      'export the run again'
    ) from None
  return network


def _in_words(error):
  return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'


def _kind_of(path, about):
  """The class of the network: ours, or a published one that `import_weights` wrote."""
  name = about.get('published')
  if name is None:
    return Network
  if name not in expression_network.FORMATS:
    raise UserError(
      f'{path}: published network {str(name)[:40]!r}, this program knows '
      f'{", ".join(expression_network.FORMATS)}; import the files again'
    )
  return expression_network.ExpressionClips


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
