"""What a network reads of a data folder: its records, and the feature sets that lie beside them."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

from absl import logging
import ml_collections
import numpy as np

from data_prep.core.errors import UserError
from data_prep.features import FEATURES, store
from data_prep.schema.fields import Field
from data_prep.schema.manifest import Manifest
from data_prep.shards import mend
from e2e_affect.input import first_runs
from e2e_affect.input.recordings import read_manifest, StoredRecording
from e2e_affect.streams.features import FIRST_RUNS

_MENDED = 'mended'  # folder in a workdir


@dataclasses.dataclass(frozen=True)
class ManifestWithFeatures(Manifest):
  """A manifest whose layout has the feature sets of a network, too.

  Attributes:
    of_records: what the records hold, without them.
    features: of each set, by its name.
  """

  of_records: Manifest
  features: Mapping[str, store.Features | first_runs.FirstRuns]


def read(config: ml_collections.ConfigDict, workdir) -> Manifest:
  """The manifest of `config.data.dir`, with the feature sets of the network, which are made where they are not there.

  Args:
    config: `data.dir`, `data.fold`, `data.max_bad_records`, `features` and `model.modalities` are read.
    workdir: of the run; copies of damaged shards lie there, see `data_prep.shards.mend`.

  Raises:
    DataError: more than `data.max_bad_records` records are damaged, where that is above 0.
    UserError: `config.features` has an option that no set of the network takes, or runs that it does not see.
    DataError, UserError: as `recordings.read_manifest`, `store.load` and `first_runs.read`.
  """
  manifest = read_manifest(config.data.dir, config.data.fold)
  if config.data.max_bad_records:
    manifest, faults = mend.mended(
      config.data.dir, manifest, config.data.max_bad_records, pathlib.Path(workdir) / _MENDED
    )
    for fault in faults:
      logging.warning('left out: %s', fault)
    logging.info('%d bad records left out, at most %d may be', len(faults), config.data.max_bad_records)
  runs = config.features.first_runs
  if bool(runs) != (FIRST_RUNS in config.model.modalities):
    raise UserError(
      f'config.features.first_runs names {len(runs)} runs, and the modalities are '
      f'{", ".join(config.model.modalities)}; expected runs with the modality {FIRST_RUNS}, and none without it'
    )
  names = [name for name in config.model.modalities if name in FEATURES]
  if not names and not runs:
    return manifest
  asked = {option: value for option, value in config.features.items() if value and option != FIRST_RUNS}
  for option, value in asked.items():
    if not any(option in FEATURES[name].defaults for name in names):
      raise UserError(
        f'config.features.{option} = {value!r}, and {" and ".join(names)} have no such option; leave it at 0'
      )
  features: dict[str, store.Features | first_runs.FirstRuns] = {
    name: store.load(config.data.dir, manifest, name, {o: v for o, v in asked.items() if o in FEATURES[name].defaults})
    for name in names
  }
  if runs:
    features[FIRST_RUNS] = first_runs.read(runs, manifest, config.data.dir)
  fields = {name: (Field(name, (len(of.columns),)),) for name, of in features.items()}
  shallow = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(Manifest)}
  return ManifestWithFeatures(
    **shallow | {'streams': {**manifest.streams, **fields}}, of_records=manifest, features=features
  )


def of_records(manifest: Manifest) -> Manifest:
  """The manifest of what the records hold, without feature sets."""
  return manifest.of_records if isinstance(manifest, ManifestWithFeatures) else manifest


def features_of(
  manifest: Manifest, cut: Sequence[tuple[StoredRecording, int] | None], length: int
) -> dict[str, np.ndarray]:
  """The feature sets of windows, each [b, T, D] float32, 0 past both ends of a recording; none of a plain manifest.

  Args:
    manifest: of `read`.
    cut: (recording, first record) of each window; None: a blank one.
    length: records of a window.
  """
  if not isinstance(manifest, ManifestWithFeatures):
    return {}
  per_record = manifest.grid.steps_per_record
  found = {}
  for name, of in manifest.features.items():
    values = found[name] = np.zeros((len(cut), length * per_record, len(of.columns)), np.float32)
    for row, window in enumerate(cut):
      if window is not None:
        recording, first = window[0], window[1] * per_record
        begin, end = max(first, 0), min(first + length * per_record, recording.steps)
        if begin < end:
          values[row, begin - first : end - first] = of.standardised(recording.name, slice(begin, end))
  return found
