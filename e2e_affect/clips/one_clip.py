"""One clip, from its files to its results."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import pathlib
import sys
import tempfile
import time

import jax
import numpy as np
import tqdm

from data_prep.core import atomic
from data_prep.core.errors import DataError, UserError
from data_prep.corpora.recording import Recording
from data_prep.media import playback
from data_prep.recordings import clip as clips
from data_prep.recordings import who
from data_prep.streams import speech
from e2e_affect import streams
from e2e_affect.clips import clip_csv, clip_files, clip_page, formats, out_folder, sources
from e2e_affect.clips.baseline import Baseline
from e2e_affect.clips.formats import table
from e2e_affect.clips.network import Network
from e2e_affect.clips.signals import ClipSignals
from e2e_affect.run import version
from e2e_affect.run.origin import SIMULATED
from e2e_affect.traces import band

_LARGEST_EMBEDDED = 16 << 20  # bytes; a larger clip is embedded as its small copy


def analyse(
  network: Network,
  recording: Recording,
  out: pathlib.Path,
  embed: bool,
  channel: int | None,
  further: Sequence[str],
  wanted: who.Wanted,
  baseline: Baseline | None,
  label: str,
) -> tuple[dict, list[np.ndarray]]:
  """Analyses one clip and writes its files, all of them or none.

  Args:
    network: trained.
    recording: the clip's files; `recording` is its name among the results.
    out: folder, held.
    embed, channel, further, wanted: as in `analyse.analyse`.
    baseline: a neutral clip of the person, or None.
    label: of the progress bars.

  Returns:
    Its summary, and the final traces [T, K] of it, or of each of its people.

  Raises:
    DataError: the clip cannot be analysed, or its files would replace others.
    WorkdirError, DiskFullError: `out` cannot be written.
  """
  clip_files.check_replaceable(out, recording.recording, [])
  with atomic.writing(out):
    folder = tempfile.TemporaryDirectory(prefix=out_folder.SPOOL, dir=out, ignore_cleanup_errors=True)
  with folder as spool:  # not in /tmp, which may be memory
    try:
      return _analyse_in(pathlib.Path(spool), network, recording, out, embed, channel, further, wanted, baseline, label)
    except Exception as e:
      fault = out_folder.fault_of_output(out, pathlib.Path(spool), e)
      if fault:
        raise fault from None
      raise


def _analyse_in(spool, network, recording, out, embed, channel, further, wanted, baseline, label):
  name = recording.recording
  suffix = playback.playable_as(recording.video) if recording.audio is None else None
  if embed and recording.video.is_file() and recording.video.stat().st_size > _LARGEST_EMBEDDED:
    suffix = None
  if not embed:
    clip_files.check_replaceable(out, name, [f'{name}{end}' for end in ([suffix] if suffix else ['.mp4', '.m4a'])])
  copy = None if suffix else playback.Copy(spool, network.layout.grid)
  clip = read(network, recording, spool, channel, label, copy, wanted)
  content_now = out_folder.content_of(recording)
  found = _of_people(network, recording, clip, label)
  clip.notes.extend([baseline.note] if baseline else [])
  cost = dict(clip.cost)

  begin = time.perf_counter()
  place = spool / ('embedded' if embed else clip_files.MEDIA_FOLDER) / name
  if suffix:
    media = place.with_name(name + suffix)
    playback.link(recording.video, media)
  else:
    media = copy.finish(clip.samples, place)
  cost['preview'] = cost.get('preview', 0.0) + time.perf_counter() - begin
  played = f'{clip_files.MEDIA_FOLDER}/{media.name}'

  begin = time.perf_counter()
  describe = functools.partial(
    clip_files.summary,
    name,
    out_folder.files_of(recording),
    content_now,
    clip,
    network.targets,
    network.shows,
    found,
    _about(network, wanted),
    baseline,
  )
  folder = spool / clip_files.FURTHER if clip.people else spool
  folder.mkdir(exist_ok=True)
  for one, raw, post in found:
    path = folder / clip_files.table_of(name, one.person if clip.people else None)
    ends = band.ends(network.band, raw if post is None else post, network.targets)
    clip_csv.write(path, one, network.targets, raw, post, ends, network.simulated, baseline)
    if further:  # of the table, so that e2e_affect.convert makes the same of it
      notes = [*clip.notes, *(one.notes if clip.people else ())]
      prediction = table.read_clip(
        path,
        network.targets,
        network.shows,
        clip.grid,
        media=recording.video.resolve(),
        copy=None if embed else f'../{played}',
        length=describe(cost)['seconds'],
        notes=notes,
        held=network.held,
      )
      formats.write(further, spool / clip_files.FURTHER, prediction)
  written = clip_files.further(spool)
  clip_files.check_replaceable(out, name, [], written)
  clip_page.write_page(
    spool / f'{name}.html',
    describe(cost),
    clip,
    found,
    network,
    media if embed else played,
  )
  cost['writing'] = time.perf_counter() - begin
  content = describe(cost) | {'media': None if embed else played, 'formats': written}
  clip_files.write_json(spool / f'{name}.json', content)
  for one, *_ in found:
    if one.crops is not None:
      one.crops.close()
  clip_files.commit(spool, out, name)
  return content, [raw if post is None else post for _, raw, post in found]


def read(
  network: Network,
  recording: Recording,
  spool: pathlib.Path,
  channel: int | None,
  label: str,
  watch: Callable[[np.ndarray | None], None] | None = None,
  wanted: who.Wanted = who.Wanted(),  # noqa: B008, it is frozen
) -> clips.Clip:
  """Reads of a clip what a network takes; arguments as `analyse`, errors as `data_prep.recordings.clip.read`."""
  sees = any(stream.picture for stream in streams.of(network.config.model))
  detector = wanted.detector or network.detector
  with tqdm.tqdm(desc=f'{label}: reading', unit=' steps', leave=False, disable=not sys.stderr.isatty()) as bar:

    def each(frame):
      bar.update()
      if watch is not None:
        watch(frame)

    clip = clips.read(
      recording,
      spool,
      picture=sees,
      grid=network.layout.grid,
      crop=network.crop,
      channel=channel,
      watch=each,
      wanted=dataclasses.replace(wanted, detector=detector),
    )
  if sees and detector != network.detector:
    clip.notes.append(f'faces are found by {detector} in place of {network.detector}')
  return clip


def of_file(
  network: Network,
  path: pathlib.Path,
  folder: pathlib.Path,
  channel: int | None,
  wanted: who.Wanted = who.Wanted(),  # noqa: B008, it is frozen
) -> tuple[clips.Clip, list[clip_files.Traces]]:
  """A file alone: what was read of it, and of it or of each of its people what the network was given and says.

  Args:
    network: trained.
    path: of sound, of picture, or of both.
    folder: for the crops of the faces; it must outlast what is returned.
    channel, wanted: as in `analyse.analyse`.

  Raises:
    DataError: the file cannot be analysed.
    UserError: faces are wanted of a network that does not see.
  """
  check_sees(network, wanted)
  recording = Recording(recording=sources.safe(path.stem), subject='', partition='', video=path, audio=None)
  clip = read(network, recording, folder, channel, path.name, wanted=wanted)
  try:
    return clip, _of_people(network, recording, clip, path.name)
  finally:
    for one in clip.people or (clip,):
      if one.crops is not None:
        one.crops.close()


def check_sees(network: Network, wanted: who.Wanted) -> None:
  """Raises UserError where some of the faces are wanted of a network that does not see."""
  if wanted.faces != who.LARGEST and not any(stream.picture for stream in streams.of(network.config.model)):
    raise UserError(
      f'--faces is for networks that see, and this is a {" + ".join(network.modalities)} network; leave it out'
    )


def _of_people(network, recording, clip, label) -> list[clip_files.Traces]:
  """Traces of a clip, or of each of its people; what holds for all of them is said once, in the clip's notes."""
  found = [(one, *traces(network, recording, one, label)) for one in clip.people or (clip,)]
  _share_notes(network, clip)
  return found


def traces(
  network: Network, recording: Recording, clip: clips.Clip, label: str
) -> tuple[np.ndarray, np.ndarray | None]:
  """Raw and post-processed traces [T, K] of a clip; its notes say what a person should know of them, its cost how long.

  Raises:
    DataError: the clip has none of the network's streams.
  """
  signals = _signals(network, recording, clip)
  clip.notes.extend(clip_files.length_notes(network.about['postprocessing'], clip.steps, clip.grid))
  begin = time.perf_counter()
  with tqdm.tqdm(
    desc=f'{label}: network', total=clip.steps, unit=' steps', leave=False, disable=not sys.stderr.isatty()
  ) as bar:
    raw = network.predict(signals, progress=bar.update)
  post = network.postprocess(raw)
  clip.notes.extend([] if clip.crops is None else face_notes(clip.face_found, raw))
  loudness = speech.loudness(clip.audio_std, clip.audio_gain)
  clip.notes.extend(network.unlike(loudness, clip.confidence, clip.face_size, raw))
  clip.cost['network'] = clip.cost.get('network', 0.0) + time.perf_counter() - begin
  return raw, post


def face_notes(found: np.ndarray, raw: np.ndarray) -> list[str]:
  """A note where a network that sees saw nobody.

  Args:
    found: [T] 0 where there is no face.
    raw: [T, K] what it says.
  """
  lost = float(np.mean(found == 0))
  if lost in (0, 1):
    return ['no face: the values are worth nothing'] if lost else []
  note = f'no face in {min(99, max(1, round(100 * lost)))} % of the steps'
  # What says one thing of a whole recording says it of the steps with a face, too.
  return [note if (raw == raw[0]).all() else f'{note}, where the values are worth nothing']


def _share_notes(network, clip) -> None:
  """Says once what holds for all people of a clip, and whose its sound is."""
  if not clip.people:
    return
  first, *others = (one.notes for one in clip.people)
  common = [note for note in first if all(note in notes for notes in others)]
  clip.notes.extend(common)
  for notes in (first, *others):
    notes[:] = [note for note in notes if note not in common]
  heard = any('audio' in stream.arrays for stream in streams.of(network.config.model))
  if others and heard and clip.samples is not None and clip.people[0].speaks is None:
    clip.notes.append('the sound is taken for everybody’s: --speakers=FILE says who speaks when')


def _signals(network, recording, clip) -> ClipSignals:
  """What the network reads of the clip, which has at least one of its streams."""
  own = streams.of(network.config.model)
  found = [values for stream in own if (values := stream.of_clip(clip)) is not None]
  if not found:
    tracks = list(dict.fromkeys(str(stream.track) for stream in own))
    others = [stream for stream in streams.STREAMS.values() if stream.track and stream.track not in tracks]
    raise DataError(
      f'{recording.video}: without {" and ".join(tracks)}, and this is a '
      f'{" + ".join(network.modalities)} network; use one that {" or ".join(stream.verb for stream in others)}'
    )
  return ClipSignals(clip.steps, {name: value for values in found for name, value in values.items()})


def _about(network, wanted) -> dict:
  fitted = network.about['postprocessing']
  return {
    'model': {
      'name': network.config.name,
      'modalities': list(network.modalities),
      **({'warning': SIMULATED} if network.simulated else {}),
      'simulated': network.simulated,
      'trained_on': network.origin.for_json(),
      'checkpoint': network.about['checkpoint'],
      'exported_with': network.about['commit'],
    },
    'label_scale': network.about['label_scale'],
    'postprocessing': fitted if fitted.get('fitted_on') else {'reason': fitted.get('reason')},
    'held_steps': network.held,
    'settings': {
      'dtype': network.config.dtype,
      'device': jax.devices()[0].device_kind,
      'chunk_seconds': network.config.evaluate_chunk_seconds,
      'faces': wanted.faces,
      'detector': wanted.detector or network.detector,
      'speakers': str(wanted.speakers.resolve()) if wanted.speakers else None,
    },
    'commit': version.commit(),
  }
