"""Geometric features for prepared data.

    python -m data_prep.landmarks --data=data/recola --out=data/recola_geometric [--source=mtcnn]

Reads a data folder and writes another that has landmarks, too: Procrustes-aligned, beside every step (paper, section
V-D). `--source` is `mtcnn` (five points, by a detector that ships with its model), a folder of `<recording>.csv` (as
OpenFace writes them) or `.npz`, the CSV manifest of own data with a column `landmarks`, or a model file of your own:
YuNet's .onnx, dlib's .dat, mediapipe's .task. Detectors look at the face crops.

The mean shape and the deviations are those of the train partition and stand in the manifest. Stored is how far each
point of the aligned shape is from the mean's, in these deviations; 0 where no landmarks were found.
"""

from absl import flags

from data_prep.core import cli, pool
from data_prep.face import landmark_providers


def _define_flags():
  cli.define_path('data', None, 'Data folder, as data_prep.prepare wrote it.', required=True)
  cli.define_path('out', None, 'Data folder to write.', required=True)
  cli.define_path(
    'source',
    landmark_providers.MTCNN,
    'mtcnn, a folder of CSV or NPZ files, a manifest, or a model file (.onnx, .dat, .task).',
  )
  flags.DEFINE_integer('jobs', pool.cores(), 'How many processes look for landmarks.', lower_bound=1)


def main() -> None:
  """Does what the flags say."""
  from data_prep.shards import landmarks

  asked = flags.FLAGS
  landmarks.add_landmarks(asked.data, asked.source, asked.out, jobs=asked.jobs)


if __name__ == '__main__':
  cli.run(main, _define_flags)
