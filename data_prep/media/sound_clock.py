"""Where the samples of a sound track belong on the clock of its file.

Samples follow each other without a gap, and now and then a timestamp says where they are. The two differ by the
rounding of timestamps, which means nothing; by holes, where nothing was recorded or a packet was lost; and by a drift,
where the clock of the sound card was not that of the timestamps.
"""

import dataclasses

import numpy as np

from data_prep.core.errors import DataError

_JUMP_SECONDS = 0.008  # the shortest packets that get lost have 10 ms; rounded timestamps jump by one or two
_CONFIRMED_BY = 5  # frames on either side of a jump, whose medians differ by it: a single timestamp may be wrong
_MOST_BACK_SECONDS = 1.0
_WINDOW_SECONDS = 2.0  # of the medians: a single timestamp is rounded
_DRIFT_SECONDS = 0.002  # a steady drift that adds up to more is followed
_BENT_DRIFT_SECONDS = 0.02  # so is one that is no line, if it adds up to more
_BEND_SECONDS = 8.0  # between its knots
_TOLD_SECONDS = 0.2  # holes of less in all get no note: it may have been a single packet
_MOST_DRIFT = 0.03  # a larger drift is no clock's


@dataclasses.dataclass(frozen=True)
class Piece:
  """Consecutive samples.

  Attributes:
    place: of its first sample, in samples after time zero; may be negative.
    knots: (sources, places), both counted from the first sample, where the clocks drift apart; None: they agree.
  """

  place: int
  knots: tuple[np.ndarray, np.ndarray] | None

  def length(self, count: int) -> int:
    """Length on the clock, in samples, of the first `count` samples."""
    return count if self.knots is None else int(np.interp(count, *self.knots))


def pieces(
  path, rate: int, firsts: np.ndarray, times: np.ndarray, count: int, longest: float
) -> tuple[dict[int, Piece], int, list[str]]:
  """Places a track on the clock.

  Args:
    path: for messages.
    rate: Hz.
    firsts: [F] int64, samples before each decoded frame.
    times: [F] float64, its timestamp in seconds after time zero; NaN where there is none.
    count: samples of the track.
    longest: seconds that a hole may last.

  Returns:
    the number of the frame that begins it -> piece; where the last piece ends, in samples after time zero; and what a
    person should know of it.

  Raises:
    DataError: the timestamps jump back, too far ahead, or are no clock at all.
  """
  offsets = _offsets(rate, firsts, times)
  tolerance = _JUMP_SECONDS * rate
  begins = [0]
  for frame in np.flatnonzero(np.abs(np.diff(offsets)) > tolerance) + 1:
    before = np.median(offsets[max(begins[-1], frame - _CONFIRMED_BY) : frame])
    if abs(np.median(offsets[frame : frame + _CONFIRMED_BY]) - before) > tolerance:
      begins.append(int(frame))
  result: dict[int, Piece] = {}
  holes: list[float] = []
  cuts: list[float] = []
  drifts, end = [], 0
  for begin, stop in zip(begins, [*begins[1:], len(firsts)]):
    last = count if stop == len(firsts) else int(firsts[stop])
    knots = _drift(
      path, rate, firsts[begin:stop] - firsts[begin], offsets[begin:stop] - offsets[begin], last - int(firsts[begin])
    )
    piece = Piece(int(firsts[begin] + offsets[begin]), knots)
    if begin:
      jump = (piece.place - end) / rate
      if not -_MOST_BACK_SECONDS <= jump <= longest:
        raise DataError(
          f'{path}: the sound jumps from {end / rate:.2f} s to {piece.place / rate:.2f} s; the file is damaged'
        )
      (holes if jump > 0 else cuts).append(abs(jump))
    if knots is not None:
      drifts.append(knots)
    result[begin] = piece
    end = piece.place + piece.length(last - int(firsts[begin]))
  return result, end, _notes(rate, holes, cuts, drifts)


def _offsets(rate, firsts, times):
  """[F] samples by which a frame's timestamp is ahead of the samples before it; one without has that of the last."""
  offsets = np.round(times * rate) - firsts
  known = np.flatnonzero(~np.isnan(offsets))
  if not len(known) or known[0]:
    offsets[0], known = 0, np.concatenate([[0], known])
  return offsets[known[np.searchsorted(known, np.arange(len(offsets)), side='right') - 1]]


def _drift(path, rate, firsts, offsets, count):
  """Knots of the map from samples to the clock; None where they agree."""
  slack = _DRIFT_SECONDS * rate
  centres, medians = _medians(firsts, offsets, _WINDOW_SECONDS * rate)
  if len(medians) < 3 or np.ptp(medians) <= slack:
    return None
  slope, start = np.polyfit(centres, medians, 1)
  if abs(slope) > _MOST_DRIFT:
    raise DataError(
      f'{path}: the timestamps of the sound run {100 * abs(slope):.0f} % '
      f'{"slower" if slope < 0 else "faster"} than its samples; at least one of them is wrong: convert '
      'the file, to wav for instance'
    )
  if np.abs(start + slope * centres - medians).max() <= slack:
    sources, drift = np.array([0.0, count]), np.array([0.0, slope * count])
  elif np.ptp(medians) <= _BENT_DRIFT_SECONDS * rate:
    return None
  else:
    centres, medians = _medians(firsts, offsets, _BEND_SECONDS * rate)
    sources = np.concatenate([[0.0], centres[1:], [count]])
    drift = np.concatenate([[0.0], medians[1:], medians[-1:]])
  return sources, sources + drift


def _medians(firsts, offsets, window):
  """Means of the frames' places, and medians of their offsets, in windows of that many samples."""
  edges = np.flatnonzero(np.diff(firsts // window)) + 1
  return (
    np.array([part.mean() for part in np.split(firsts, edges)]),
    np.array([np.median(part) for part in np.split(offsets, edges)]),
  )


def _notes(rate, holes, cuts, drifts):
  notes = []
  if sum(holes) > _TOLD_SECONDS:
    notes.append(f'the sound has {len(holes)} hole{"s" * (len(holes) > 1)}, {sum(holes):.2f} s in all: silence there')
  if sum(cuts) > _TOLD_SECONDS:
    notes.append(f'{sum(cuts):.2f} s of sound overlap what is before them by their timestamps: left out')
  if drifts:
    apart = max(np.abs(places - sources).max() for sources, places in drifts) / rate
    length = max(sources[-1] for sources, _ in drifts) / rate
    notes.append(
      f'the clock of the sound drifts by {1000 * apart:.0f} ms in {length:.0f} s against the timestamps: '
      'they are followed'
    )
  return notes


class Stretch:
  """Moves the samples of a piece to where its knots say, by band-limited interpolation; memory is constant."""

  _TAPS = 16  # on either side
  _PHASES = 512

  def __init__(self, knots: tuple[np.ndarray, np.ndarray]):
    self._sources, self._places = knots
    self._buffer = np.zeros(self._TAPS, np.float32)  # from sample −16 of the piece on
    self._first = -self._TAPS
    self._done = 0  # samples given back
    distance = np.arange(self._PHASES + 1)[:, None] / self._PHASES - np.arange(1 - self._TAPS, self._TAPS + 1)
    window = np.i0(8.0 * np.sqrt(np.maximum(0, 1 - (distance / self._TAPS) ** 2)))
    kernel = np.sinc(distance) * window
    self._kernel = kernel / kernel.sum(axis=1, keepdims=True)

  def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
    """Takes float32 [n]; returns what is known by then, float32."""
    self._buffer = np.concatenate([self._buffer, samples, np.zeros(self._TAPS * last, np.float32)])
    known = self._first + len(self._buffer) - self._TAPS - (0 if last else 1)
    stop = max(self._done, int(np.interp(known, self._sources, self._places)))
    position = np.interp(np.arange(self._done, stop), self._places, self._sources)
    whole = np.floor(position).astype(np.int64)
    phase = (position - whole) * self._PHASES
    row = phase.astype(np.int64)
    share = (phase - row)[:, None]
    weights = self._kernel[row] * (1 - share) + self._kernel[np.minimum(row + 1, self._PHASES)] * share
    taken = self._buffer[(whole - self._first)[:, None] + np.arange(1 - self._TAPS, self._TAPS + 1)]
    self._done = stop
    keep = int(np.interp(stop, self._places, self._sources)) - self._TAPS - self._first
    self._buffer, self._first = self._buffer[keep:], self._first + keep
    return (taken * weights).sum(axis=1).astype(np.float32)
