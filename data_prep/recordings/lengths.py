"""The length of a recording whose labels, sound and picture end apart."""

from data_prep.core.errors import DataError
from data_prep.schema.grid import LENGTH_SLACK_SECONDS, PAPER


def common_length(
  name,
  label_end,
  interval,
  ends,
  *,
  one_file,
  annotated_seconds=None,
  max_difference=None,
  held=False,
  grid=PAPER,
) -> float:
  """The length that labels and media share, seconds: the shortest, if they differ by `max_difference` at most.

  A file of half a length decodes without an error, so differing lengths are an error, with three exceptions:
  * without labels, the sound track of a video may end before the picture, as its container says (silence follows);
  * labels that reach `annotated_seconds` say which part of longer media was annotated;
  * labels that hold until the next one do not say where they end.
  A recording without any media is as long as its labels.

  Args:
    name: of the recording, for messages.
    label_end: seconds; None where there are no labels.
    interval: seconds between two labels.
    ends: of each medium that may not end early, seconds: 'sound', 'picture' and others; None where there is none.
    one_file: the sound is the video's own track.
    annotated_seconds: see `Corpus`.
    max_difference: seconds; None: one step.
    held: the last label holds to the end.
    grid: whose steps count.
  """
  step = grid.step_seconds + LENGTH_SLACK_SECONDS
  allowed = (max_difference or grid.step_seconds) + LENGTH_SLACK_SECONDS
  ends = {'labels': label_end, **ends}
  present = {kind: end for kind, end in ends.items() if end is not None}
  if not present:
    raise DataError(f'{name}: no sound, no picture and no labels; expected one of them')
  if set(present) == {'labels'}:
    return label_end
  media_end = min(end for kind, end in present.items() if kind != 'labels')
  if label_end is None and one_file and {'sound', 'picture'} <= set(present):
    sound, picture = present['sound'], present['picture']
    if sound <= picture + step:
      return picture if sound < picture - step else media_end
  if (
    label_end is not None
    and annotated_seconds is not None
    and label_end >= annotated_seconds - step
    and media_end >= label_end - allowed
  ):
    return min(label_end, media_end)
  if label_end is not None and held and label_end <= media_end + allowed:
    present.pop('labels')
  elif label_end is not None and interval > step:  # labels coarser than the grid end up to one interval early
    if -allowed <= media_end - label_end <= interval + allowed:
      present.pop('labels')
  if max(present.values()) - min(present.values()) > allowed:
    numbers = ', '.join('no ' + kind if end is None else f'{kind} {end:.2f} s' for kind, end in ends.items())
    limit = (
      f'one step of {grid.step_seconds:g} s'
      if max_difference in (None, grid.step_seconds)
      else f'{max_difference:g} s (--max_difference)'
    )
    raise DataError(
      f'{name}: the lengths differ by more than {limit}: {numbers}; '
      f'{_length_hint(label_end, interval, media_end, step)}'
    )
  return min(present.values())


def _length_hint(label_end, interval, media_end, step) -> str:
  """What mends lengths that differ."""
  if label_end is not None and 0.9 < label_end / 1000 / media_end < 1.1:
    return 'are the times of the labels milliseconds? name their column time_ms'
  if label_end is not None and label_end < media_end and interval > step:
    return 'cut the longer ones, or give --labels=hold where a label holds until the next one'
  return 'cut the longer ones, or copy the file that was cut off'


def check_begun(name: str, seconds: float, steps: int) -> None:
  """Raises DataError where a recording has no step."""
  if not steps:
    raise DataError(
      f'{name}: {seconds:.3f} s long; expected more than {LENGTH_SLACK_SECONDS:g} s, the beginning of a step'
    )
