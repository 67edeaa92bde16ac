"""Published weights -> weights this program starts from.

    python -m e2e_affect.import_weights resnet50.pth --out=weights/imagenet
    python -m e2e_affect.main --config=visual --config.pretrained=weights/imagenet

    python -m e2e_affect.import_weights FER_static_ResNet50_AffectNet.pt FER_dinamic_LSTM_IEMOCAP.pt --out=weights/faces
    python -m e2e_affect.predict --checkpoint=weights/faces --out=DIR CLIP

ResNet-50 of torchvision, timm, Hugging Face, Keras and TF-slim, the authors' released network, and End2You's visual
one where it was built with an LSTM. Of a training script's checkpoint the state dict is taken. The content of a file
tells its format. The settings that the network needs are stored with the weights.

EMO-AffectNet's static file is such a start and, alone or with a temporal file, a network that predicts at once.
"""

from absl import flags, logging

from data_prep.core import cli
from data_prep.core.errors import UserError


def _define_flags():
  cli.define_path('out', None, 'Folder to write.', required=True)


def main(*files: str) -> None:
  """Imports one weight file, or two that belong together, as the flags say."""
  logging.set_verbosity(logging.WARNING)  # without JAX's lines about accelerators that are absent
  if not 1 <= len(files) <= 2:
    raise UserError('expected one weight file: python -m e2e_affect.import_weights FILE --out=DIR')
  from e2e_affect.clips import import_weights

  first, *others = [str(cli.argument(file)) for file in files]
  import_weights.import_weights(first, flags.FLAGS.out, *others)


if __name__ == '__main__':
  cli.run(main, _define_flags, max_arguments=2)
