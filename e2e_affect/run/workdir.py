"""The folder of a run as its files describe it: `config.json` and `dataset.json`."""

from collections.abc import Sequence
import dataclasses
import json
import pathlib

import ml_collections

from data_prep.core import atomic, json_text, remote
from data_prep.core.errors import DataError, UserError
from data_prep.schema.fields import Field, Layout
from data_prep.schema.grid import Grid, PAPER
from data_prep.schema.manifest import Manifest, PARTITIONS
from e2e_affect import streams
from e2e_affect.config import stored

CONFIG_FILE = 'config.json'
DATASET_FILE = 'dataset.json'


def write_config(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Writes `config.json`."""
  atomic.write(workdir / CONFIG_FILE, json.dumps(stored.written(config), indent=2) + '\n')


def read_config(workdir: str | pathlib.Path) -> ml_collections.ConfigDict:
  """The config that a run was trained with.

  Raises:
    UserError: the folder holds no run, or its config is damaged.
  """
  path = pathlib.Path(workdir) / CONFIG_FILE
  try:
    content = json_text.parse(path.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(f'{path}: not found; expected the workdir of a training run') from None
  except OSError as e:
    raise UserError(f'{path}: cannot be read ({e.strerror}); mend that, and run again') from None
  except ValueError as e:
    raise stored.damaged(path, e) from None
  return stored.complete(content, path)


def write_dataset(workdir: pathlib.Path, manifest: Manifest) -> None:
  """Writes `dataset.json`: what a network of this run predicts, and how much data it comes from."""
  atomic.write(workdir / DATASET_FILE, json.dumps(describe(manifest), indent=1) + '\n')


def read_dataset(workdir: str | pathlib.Path) -> dict:
  """What `describe` said of the data that a run was trained on; asks the data where an older run did not write it.

  Raises:
    DataError: neither the run nor its data folder tells.
  """
  path = pathlib.Path(workdir) / DATASET_FILE
  try:
    content = json_text.parse(path.read_text(encoding='utf-8'))
    if not (
      isinstance(content, dict)
      and isinstance(content.get('targets'), list)
      and all(isinstance(content.get(name), dict) for name in ('label_scale', 'preparation', 'partitions'))
    ):
      raise ValueError('expected targets, label_scale, preparation and partitions')
    if {'grid', 'streams'} <= set(content):
      _stored_layout(content, content['targets'])
    return content
  except FileNotFoundError:
    data = read_config(workdir).data
    remote.fetch(data.dir)
    return describe(Manifest.read(data.dir).of_fold(data.fold))
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror}); mend that, and run again') from None
  except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as e:
    raise DataError(f'{path}: damaged ({e}); remove it, and the data folder will be asked') from None


def dataset_if_written(workdir: str | pathlib.Path) -> dict:
  """As `read_dataset`; nothing where an older run did not write it."""
  return read_dataset(workdir) if (pathlib.Path(workdir) / DATASET_FILE).exists() else {}


def describe(manifest: Manifest) -> dict:
  """What a run says of its data.

  Targets, their scale ([gain, offset]: predicted = gain · original + offset), the preparation, per partition the
  numbers of recordings, subjects and hours, the grid, the fields of the streams, and the classes of targets that have
  any.
  """
  partitions = {}
  for partition in PARTITIONS:
    of = [shard for shard in manifest.shards if shard.partition == partition]
    partitions[partition] = {
      'recordings': len({shard.recording for shard in of}),
      'subjects': len({shard.subject for shard in of}),
      'hours': round(sum(shard.steps for shard in of) * manifest.grid.step_seconds / 3600, 3),
    }
  return {
    'targets': list(manifest.targets),
    'label_scale': manifest.label_scale,
    'preparation': manifest.preparation,
    'partitions': partitions,
    'grid': dataclasses.asdict(manifest.grid),
    'streams': {name: [*map(dataclasses.asdict, fields)] for name, fields in manifest.streams.items()},
    **({'classes': {target: list(names) for target, names in manifest.classes.items()}} if manifest.classes else {}),
  }


def layout_of(dataset: dict, config: ml_collections.ConfigDict, targets: Sequence[str]) -> Layout:
  """What the records held that a network was trained on.

  Args:
    dataset: what `describe` said. Runs of earlier versions left grid and streams unsaid: they were the paper's.
    config: of the network.
    targets: that it predicts.
  """
  if 'grid' not in dataset:
    return streams.layout_of_paper(config.model, targets)
  return _stored_layout(dataset, targets)


def _stored_layout(dataset, targets):
  fields = {name: tuple(map(Field.parse, stored)) for name, stored in dataset['streams'].items()}
  classes = {target: tuple(names) for target, names in dataset.get('classes', {}).items()}
  return Layout(list(targets), grid_of(dataset), fields, classes=classes)


def grid_of(dataset: dict) -> Grid:
  """The grid of what a network was trained on; see `layout_of`."""
  return Grid(**dataset['grid']) if 'grid' in dataset else PAPER
