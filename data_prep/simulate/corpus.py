"""The simulated corpus, in the folder layout and the file formats of RECOLA's full release, or of AVEC 2016.

    RECOLA-Annotation/emotional_behaviour/{arousal,valence}/P16.csv   six raters, a row per 40 ms from t = 0
    RECOLA-Audio-recordings/P16.wav                                   44.1 kHz, 16 bit, mono
    RECOLA-Video-recordings/P16.mp4                                   25 fps h264, the voice as its sound track
    RECOLA-Biosignals-recordings/P16.csv                              time;EDA;ECG at 1 kHz
    RECOLA-Audio_timings/P16.csv                                      start;stop of every turn of speech, seconds
    RECOLA-Face_boxes/P16.csv                                         x;y;width;height in the first frame, pixels
    simulation.json                                                   what the corpus was made with

The last two are our addition: RECOLA has neither. (The paper starts its face tracker from a box in the first frame,
which its authors drew by hand.) AVEC 2016 has the same files under other names, `train_1` for P16, see `LAYOUTS`; the
people are those of its split. P53 wore no electrodes on the chest, P17 no sensor at all.

It stands in for RECOLA where there is no licence: it exercises every stage with data of the same shape, in which
arousal shows mostly in the voice and valence mostly in the face, as the paper found. It says nothing about people.
"""

import contextlib
import functools
import io
import json
import pathlib
import sys

import av
import cv2
import numpy as np
import soundfile
import tqdm

from data_prep.core import atomic, cli, json_text, lock, pool
from data_prep.core.errors import DataError, UserError
from data_prep.simulate import face, physiology, portrait, processes, raters, voice
from data_prep.simulate.layouts import LAYOUTS

TARGETS = ('arousal', 'valence')
PARAMETERS = 'simulation.json'
_LOCK_FILE = '.lock'

_VERSION = 5  # raise it when the same seed gives other data
# Streams of random numbers, see `processes.generator`.
_LATENTS, _VOICE, _MOTION, _LOOKS, _RATERS, _HABITS, _BODY = range(7)
_SHARES = {'train': 4, 'validation': 1.5, 'test': 1.5}
_NO_ECG, _NO_SENSORS = ('P53',), ('P17',)  # people of test and of train


def simulate(out, subjects: int, seconds: int, seed: int, jobs: int, layout: str = 'recola') -> None:
  """Makes the corpus, one process per subject; a subject that is already there, whole, is not made again.

  Args:
    out: folder to write to.
    subjects: 3 to 46, of AVEC 2016 to 27; shared out over the partitions of its split, see `subject_ids`.
    seconds: length of every recording, at least 4.
    seed: of all randomness; the same seed gives the same corpus.
    jobs: number of processes.
    layout: of `LAYOUTS`.

  Raises:
    UserError: a number is out of its range.
    DataError: `out` holds something else.
    WorkdirError, DiskFullError: `out` cannot be written.
  """
  for name, value, least in (('seconds', seconds, 4), ('seed', seed, 0), ('jobs', jobs, 1)):
    if value < least:
      raise UserError(f'--{name}={value}: expected at least {least}')
  ids = [subject for partition in subject_ids(subjects, layout).values() for subject in partition]
  out = pathlib.Path(out)
  parameters = {'version': _VERSION, 'seed': seed, 'seconds': seconds, 'subjects': ids}
  # Corpora that were made before there was a choice stay valid.
  _claim(out, parameters | ({'layout': layout} if layout != 'recola' else {}))
  made = 0
  if _missing(out, ids, layout):  # nothing is written to a corpus that is whole: its folder may be read-only
    with _locked(out, layout):
      made = _make_missing(out, ids, seconds, seed, jobs, layout)
  cli.say(f'{out}: {len(ids)} subjects of {seconds} s, {made} of them made now')


@contextlib.contextmanager
def _locked(out, layout):
  """Holds the corpus against a second simulation, and removes what killed ones left."""

  def in_use(holder):
    return f'{out}: in use by {holder or "another simulation"}; wait for it, or choose another --out'

  with lock.held(out / _LOCK_FILE, out, in_use):
    for folder in {out, *(path.parent for path in files(out, '', layout).values())}:
      if folder.is_dir():
        atomic.sweep(folder)
    yield


def _missing(out, ids, layout) -> list[str]:
  """Subjects of whom not every file is there."""
  return [subject for subject in ids if not all(path.exists() for path in files(out, subject, layout).values())]


def _make_missing(out, ids, seconds, seed, jobs, layout) -> int:
  """Makes the subjects that are not there; returns how many."""
  missing = _missing(out, ids, layout)
  bar = tqdm.tqdm(
    total=len(ids), initial=len(ids) - len(missing), desc='simulate', unit='subject', disable=not sys.stderr.isatty()
  )
  with bar:
    if jobs == 1 or len(missing) < 2:
      for subject in missing:
        _make(out, subject, seconds, seed, layout)
        bar.update()
    else:
      work = functools.partial(_make, out, seconds=seconds, seed=seed, layout=layout)
      with contextlib.closing(pool.run(work, missing, jobs=jobs)) as results:
        for subject, crashed in results:
          if crashed is not None:
            raise DataError(f'{subject}: its process was killed twice, perhaps for memory; free some, or lower --jobs')
          bar.update()
  return len(missing)


def subject_ids(subjects: int, layout: str = 'recola') -> dict[str, tuple[str, ...]]:
  """Partition -> ids, the first of each list of the layout's split, shared out 4 : 1.5 : 1.5."""
  full = LAYOUTS[layout].people
  most = sum(len(ids) for ids in full.values())
  if not 3 <= subjects <= most:
    raise UserError(
      f'--subjects={subjects}: expected 3 to {most}, one for each partition up to all of {LAYOUTS[layout].title}'
    )
  counts = dict.fromkeys(full, 1)
  for _ in range(subjects - len(counts)):
    # The partition that lacks most of its share gets the next subject.
    open_ = [partition for partition in full if counts[partition] < len(full[partition])]
    counts[min(open_, key=lambda partition: (counts[partition] + 0.5) / _SHARES[partition])] += 1
  return {partition: ids[: counts[partition]] for partition, ids in full.items()}


def files(out, subject: str, layout: str = 'recola') -> dict[str, pathlib.Path]:
  """Every file of a subject: 'arousal', 'valence', 'audio', 'video'; if it has them 'sensors', 'turns', 'box'."""
  endings = {'audio': 'wav', 'video': 'mp4'}
  return {
    kind: pathlib.Path(out) / folder / f'{LAYOUTS[layout].name(subject)}.{endings.get(kind, "csv")}'
    for kind, folder in LAYOUTS[layout].folders.items()
    if kind != 'sensors' or subject not in _NO_SENSORS
  }


def latents(subject: str, seconds: int, seed: int) -> processes.Latents:
  """What the subject goes through: the truth behind the voice, the face and the ratings."""
  return processes.latents(processes.generator(seed, subject, _LATENTS), seconds)


def speech(subject: str, seconds: int, seed: int) -> voice.Voice:
  """The subject's voice."""
  return voice.speak(processes.generator(seed, subject, _VOICE), latents(subject, seconds, seed), seconds)


def motion(subject: str, seconds: int, seed: int, opening: np.ndarray) -> face.Motion:
  """How the subject's face moves, given how far the voice opens the mouth (`Voice.opening`)."""
  return face.move(processes.generator(seed, subject, _MOTION), latents(subject, seconds, seed), opening)


def body(subject: str, seconds: int, seed: int) -> physiology.Body:
  """What sensors on the subject's body measure."""
  return physiology.measure(processes.generator(seed, subject, _BODY), latents(subject, seconds, seed), seconds)


def ratings(subject: str, seconds: int, seed: int, target: str) -> np.ndarray:
  """[25 · seconds + 1, 6]: what the six raters say."""
  stream = TARGETS.index(target)
  habits = raters.traits(np.random.default_rng([seed, 0, _HABITS, stream]))
  rng = processes.generator(seed, subject, _RATERS, stream)
  return raters.rate(rng, habits, latents(subject, seconds, seed), target)


def _claim(out, parameters):
  """Writes the parameters, or checks that they are those of the corpus that lies there."""
  path = out / PARAMETERS
  if path.exists():
    try:
      found = json_text.parse(path.read_text(encoding='utf-8'))
    except ValueError:
      found = None
    if found != parameters:
      raise DataError(
        f'{path}: made with other parameters than --subjects, --seconds and --seed now say; '
        'remove the folder or give another --out'
      )
  elif out.exists() and (not out.is_dir() or not all(map(atomic.is_temporary, out.iterdir()))):
    raise DataError(f'{out}: holds something that is no simulated corpus; give another --out')
  else:
    with atomic.whole(path) as temporary:
      temporary.write_text(json.dumps(parameters) + '\n', encoding='utf-8')


def _make(out, subject, seconds, seed, layout='recola'):
  """Makes all files of one subject; runs in a process of its own."""
  cv2.setNumThreads(1)  # the other cores have their own subjects
  paths = files(out, subject, layout)
  spoken = speech(subject, seconds, seed)
  moved = motion(subject, seconds, seed, spoken.opening)
  looks_rng = processes.generator(seed, subject, _LOOKS)
  for target in TARGETS:
    with atomic.whole(paths[target]) as temporary:
      raters.write(temporary, ratings(subject, seconds, seed, target))
  # Sound and video go through memory: their libraries take no path whose name is no UTF-8, and hide the system's error
  # where an open file cannot be written.
  with atomic.whole(paths['audio']) as temporary:
    sound = io.BytesIO()
    soundfile.write(sound, spoken.samples, voice.SAMPLE_RATE, subtype='PCM_16', format='WAV')
    temporary.write_bytes(sound.getvalue())
  if 'sensors' in paths:
    with atomic.whole(paths['sensors']) as temporary:
      physiology.write(temporary, body(subject, seconds, seed), has_ecg=subject not in _NO_ECG)
  if 'turns' in paths:
    with atomic.whole(paths['turns']) as temporary:
      np.savetxt(temporary, spoken.turns, fmt='%.3f', delimiter=';', header='start;stop', comments='')
  if 'box' in paths:
    with atomic.whole(paths['box']) as temporary:
      np.savetxt(temporary, [face.box(moved, 0)], fmt='%d', delimiter=';', header='x;y;width;height', comments='')
  with atomic.whole(paths['video']) as temporary:
    video = io.BytesIO()
    _write_video(video, face.frames(looks_rng, portrait.looks(looks_rng), moved), spoken.samples)
    temporary.write_bytes(video.getvalue())


def _write_video(file, frames, samples):
  """Writes an mp4: frames (B, G, R) at 25 fps as h264, samples (int16, 44.1 kHz) as FLAC, the very sound of the wav."""
  per_frame = voice.SAMPLE_RATE // processes.STEPS_PER_SECOND
  # bitexact: no version of the encoder and no date in the file, so that the same input gives the same bytes.
  with av.open(file, 'w', format='mp4', options={'fflags': '+bitexact'}) as container:
    # mbtree=0: with it x264 0.165 lets whatever lay in memory before change the bits (seen, and reproduced).
    video = container.add_stream(
      'libx264',
      rate=processes.STEPS_PER_SECOND,
      options={'preset': 'veryfast', 'crf': '23', 'x264-params': 'threads=1:mbtree=0'},
    )
    video.width, video.height, video.pix_fmt = face.WIDTH, face.HEIGHT, 'yuv420p'
    audio = container.add_stream('flac', rate=voice.SAMPLE_RATE, layout='mono')
    for k, picture in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), format='yuv420p')
      frame.pts = k
      container.mux(video.encode(frame))
      sound = av.AudioFrame.from_ndarray(
        samples[None, k * per_frame : (k + 1) * per_frame], format='s16', layout='mono'
      )
      sound.sample_rate, sound.pts = voice.SAMPLE_RATE, k * per_frame
      container.mux(audio.encode(sound))
    container.mux(video.encode(None))
    container.mux(audio.encode(None))
