"""Hand-crafted features of prepared recordings, one set a name, cached beside the shards."""

from data_prep.core import registry
from data_prep.features.acoustic import Descriptors, Functionals, WholeFunctionals
from data_prep.features.appearance import Appearance
from data_prep.features.base import FeatureSet
from data_prep.features.geometry import Geometry

FEATURES: dict[str, FeatureSet] = {}


def register(feature_set: FeatureSet) -> None:
  """Adds a set behind those that there are.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(FEATURES, 'feature set', feature_set.name, feature_set)


for _set in (
  Functionals('egemaps', 'eGeMAPSv02', hop_seconds=0.2),
  Descriptors('egemaps_lld', 'eGeMAPSv02'),
  Functionals('compare', 'ComParE_2016', hop_seconds=1.0),
  Descriptors('compare_lld', 'ComParE_2016'),
  Appearance(),
  Geometry(),
  WholeFunctionals('egemaps_whole', 'eGeMAPSv02'),
  WholeFunctionals('compare_whole', 'ComParE_2016'),
):
  register(_set)
