"""Every field with its default, unit and meaning: the whole truth about defaults.

The values are the paper's (sections III and V) where it states one. The files in configs/, and your own
anywhere, change what their experiment needs; `--config.field=value` changes one field for one run.
"""

import ml_collections

PATHS = (  # fields that are one, or a tuple of them
  'data.dir',
  'pretrained',
  'postprocessing_from',
  'init_from.speech',
  'init_from.visual',
  'init_from.physiology',
  'features.first_runs',
)


def get_config() -> ml_collections.ConfigDict:
  """The paper's values, for both modalities."""
  c = ml_collections.ConfigDict()
  c.name = 'fused'  # the run's folder under runs/ where --workdir is not given
  c.seed = 0  # of parameters, order, dropout and augmentation

  c.data = ml_collections.ConfigDict()
  c.data.dir = 'data/simulated'  # shards and manifest.json, as data_prep.prepare writes them
  c.data.fold = ''  # of the data's folds: a speaker-disjoint division with a name; '': as they were prepared
  c.data.train_on = ('train',)  # partitions; with 'validation' among them the newest checkpoint counts as the best
  c.data.sequence_steps = 150  # T: steps, whole records of 25; the paper's have 40 ms (Table II: 150 is best)
  # Raters react late. At step t the network learns the label of step t + delay; what it says of t is the trace at
  # t + delay, in evaluation and prediction alike, so that gold standard and scores stay where they are.
  c.data.label_delay_steps = 0  # steps; 0 as in the paper, which shifts predictions in post-processing instead
  c.data.cache = ''  # train partition decoded once, into 'host' or 'device' memory (RECOLA: 4 GB); '': every epoch
  c.data.read_threads = 2  # sequences that are read and decoded at once, per host
  c.data.max_bad_records = 0  # damaged records that are left out and named; above 0 all shards are read at the start

  c.features = ml_collections.ConfigDict()
  c.features.window_seconds = 0.0  # that a step's hand-crafted features are taken over; 0: each set's own length
  c.features.hop_seconds = 0.0  # between two such windows; 0: each set's own
  c.features.first_runs = ()  # workdirs of runs whose traces are the modality 'first_runs' (strength modelling)

  c.batch_size = 25  # B: sequences a global batch
  c.epochs = 60  # passes over the train partition; 0 evaluates `pretrained` as it is
  c.total_steps = 0  # updates; 0: as many as `epochs` makes
  c.learning_rate = 1e-4  # of Adam, fixed
  c.weight_decay = 0.0  # half the sum of the squares of convolution kernels, times this, is added to the loss
  c.average_decay = 0.0  # of the parameters' moving average, which evaluation uses: share kept at an update; 0: none
  c.head = 'regression'  # a head of e2e_affect/heads: what is predicted of the labels
  c.loss = 'ccc'  # of the head; of regression 'ccc' or 'mse', of classes 'cross_entropy'
  c.class_weights = 'inverse'  # of a loss of classes: 'inverse' of how often train has them, or 'none'
  c.label_smoothing = 0.0  # share of the label of a class that is spread over all classes
  c.dtype = 'float32'  # of the computation: 'float32' or 'bfloat16'; parameters and loss stay float32

  c.log_every_steps = 10  # updates between two lines of the log
  c.evaluate_every_epochs = 1.0  # epochs between two evaluations on the validation partition, with a checkpoint each
  c.evaluate_chunk_seconds = 10  # how much of each recording is on a device at once; changes no result
  c.postprocessing_from = ''  # workdir of a run whose post-processing to apply; '': fitted on the validation partition

  c.pretrained = ''  # folder of published weights, as `python -m e2e_affect.import_weights` wrote it
  c.init_from = ml_collections.ConfigDict()
  c.init_from.speech = ''  # workdir of a trained speech or fused network, whose speech features to start from
  c.init_from.visual = ''  # workdir of a trained visual or fused network, whose visual features to start from
  c.init_from.physiology = ''  # workdir of a trained network whose features of ECG and EDA to start from

  c.model = ml_collections.ConfigDict()
  c.model.modalities = ('speech', 'visual')  # in the order of their features; 'geometric', 'physiology', … may follow
  c.model.modality_dropout = 0.0  # probability that a training sequence loses one of its modalities, never the last
  c.model.frozen = ()  # modalities whose parameters and statistics training leaves as they are

  c.model.speech = ml_collections.ConfigDict()
  c.model.speech.variant = 'paper'  # or 'released', the authors' code; 'filterbank', begins as a mel spectrogram
  c.model.speech.filters = 40  # channels of both convolutions; 'filterbank': mel bands
  c.model.speech.taps = 80  # of the first convolution, at 16 kHz: 5 ms
  c.model.speech.long_taps = 4000  # of the second convolution, at 8 kHz: 500 ms
  c.model.speech.pool_channels = 10  # adjacent channels that one maximum is taken over
  c.model.speech.normalise = 'recording'  # waveform: 'recording': its mean 0, variance 1; 'none': samples in [−1, 1]
  c.model.speech.dropout = 0.5  # share of the features ('released': of the waveform) dropped in training
  c.model.speech.channels = 96  # 'filterbank' alone: of the convolutions over frames
  c.model.speech.mask_bands = 0  # 'filterbank' alone: most neighbouring bands that a training sequence loses

  c.model.visual = ml_collections.ConfigDict()
  c.model.visual.width = 64  # maps of the first convolution; 64 is ResNet-50
  c.model.visual.image_size = 96  # pixels, square
  # 'auto', 0 and (): what the weights need that the run starts from; from scratch, the value named first.
  c.model.visual.stride_on = 'auto'  # '1x1' or '3x3': which convolution of a unit is strided
  c.model.visual.stem_padding = 'auto'  # 'SYMMETRIC' (three pixels on every side) or 'SAME': two before, three after
  c.model.visual.stem_pool_padding = 'auto'  # 'SAME', 'SYMMETRIC' (one pixel on every side) or 'VALID' (none)
  c.model.visual.batch_norm = 'auto'  # 'train', or 'frozen' (with `pretrained`): running statistics in training, too
  c.model.visual.batch_norm_epsilon = 0.0  # 1e-5; added to variances
  c.model.visual.batch_norm_momentum = 0.9  # share of the running statistics that is kept at an update
  c.model.visual.mean = ()  # (0.485, 0.456, 0.406), ImageNet's; subtracted from RGB in [0, 1]
  c.model.visual.std = ()  # (0.229, 0.224, 0.225), ImageNet's; what it is divided by then
  c.model.visual.remat = False  # recompute activations in the backward pass: longer sequences in less memory

  c.model.geometric = ml_collections.ConfigDict()
  c.model.geometric.landmarks = 68  # points a step, as data_prep.landmarks wrote them; the paper names no number

  c.model.physiology = ml_collections.ConfigDict()
  c.model.physiology.filters = 16  # channels of the first convolution, which sees the ECG
  c.model.physiology.taps = 25  # of the first convolution, at 250 Hz: 100 ms, a QRS complex
  c.model.physiology.long_taps = 41  # of the second convolution, steps: 1.6 s, two beats, or the rise of a response
  c.model.physiology.features = 64  # channels of the second convolution
  c.model.physiology.dropout = 0.5  # share of the features dropped in training

  c.model.features = ml_collections.ConfigDict()
  c.model.features.project_to = 0  # outputs of a linear layer behind each feature set wider than that; 0: none

  c.model.recurrent = ml_collections.ConfigDict()
  c.model.recurrent.layers = 2  # LSTM layers; 0: the head takes the features
  c.model.recurrent.units = 256  # cells a layer
  c.model.recurrent.input_scale = 0.2  # range of the fresh input kernels over Glorot's; 1 is the paper's
  c.model.recurrent.peepholes = False  # gates see the cell, as in the authors' code
  c.model.recurrent.warm_up = 0  # times that the LSTM reads a training sequence before the reading that it learns from
  c.model.recurrent.cell_clip = 0.0  # the cell is kept in ± this; 0: no clip
  c.model.recurrent.pool = False  # heads of whole recordings alone: they take mean and maximum over the steps
  c.model.recurrent.bidirectional = False  # layers read backwards, too: networks of feature sets, recordings whole
  c.model.recurrent.restart_steps = 0  # evaluation starts again from zero every so many steps of a recording; 0: never

  c.augment = ml_collections.ConfigDict()
  c.augment.resize = 110 / 96  # faces are enlarged by this before a crop of image_size
  c.augment.tf1_resize = False  # as TensorFlow 1 does: pixels lie at corners, and shrinking skips some
  c.augment.whole_face = False  # evaluation sees the whole face, not the centre at the scale of training's crops
  c.augment.per_frame = False  # crop and colours are drawn for every frame, not once a sequence
  c.augment.saturation_first = False  # saturation is changed before brightness, not after
  c.augment.brightness = 32 / 255  # largest shift of RGB in [0, 1] (the paper gives no number)
  c.augment.saturation = 0.5  # largest relative change of saturation (the paper gives no number)
  c.augment.speed = 0.0  # largest relative change of the speed of speech, its pitch with it; speech networks alone
  c.augment.gain = 0.0  # dB: largest change of loudness
  c.augment.noise_snr = ()  # dB: lowest and highest ratio of speech to the white noise that is added; (): none
  c.augment.time_mask = 0  # steps: longest gap that is cut into the sound of a sequence
  return c.lock()


def apply_argument(c: ml_collections.ConfigDict, arg: str, **variants) -> None:
  """Applies what follows the colon in `--config=configs/x.py:arg`.

  Raises:
    ValueError: there is no such variant.
  """
  if arg and arg not in variants:
    raise ValueError(f'unknown config argument {arg!r}; known: {", ".join(sorted(variants))}')
  if arg:
    variants[arg](c)


def small_visual(c: ml_collections.ConfigDict) -> None:
  """What two CPU cores can train in minutes: a quarter of the width and a third of the image's side.

  Sequences are shorter, and a batch has more of them, for the same work. From scratch the network first has to tell
  expressions from people, and twelve pieces of 2 s show more people than four of 6 s.
  """
  c.data.sequence_steps = 50  # 2 s
  c.model.recurrent.warm_up = 8  # 16 s: recordings last 96 s
  c.batch_size = 12  # of the sixteen people to train on
  c.data.cache = 'host'  # 1 GB
  c.model.visual.width = 16  # a sixteenth of the work
  c.model.visual.image_size = 32  # a ninth of it
