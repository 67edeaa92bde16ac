"""Finds and follows every face in a video; each is a person, whose number lasts.

All share one detection, whose boxes are given to the faces by overlap (the Hungarian method). Between detections each
is carried by the flow of its own corners, as by `FaceTracker`. A face that comes is held against the people who are not
in the picture: where its likeness says so, it is one of them again, else somebody new. Where two faces cross, the one
behind is lost until it is seen again.
"""

from collections.abc import Iterable, Iterator
import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment

from data_prep.face import cropping, detectors, jpeg, likeness, tracker
from data_prep.schema.grid import Grid, PAPER

WORK_SIZE = 480  # pixels, as tracker.WORK_SIZE; faces of several people are smaller
MIN_FACE = 1 / 12  # of the shorter side of the image
CROSSING = 0.1  # overlap of two faces from which on one may hide a part of the other
HIDDEN = 0.2  # the same, from which on a face that is not found is hidden: cheek to cheek it is about 0.14
RECOGNISED = 3  # sights of a face that comes, before it is taken for a person who left
NEW = 8  # sights after which it is somebody new, if it is like none of those who left
BRIEFLY = 25  # pictures: who was lost for no longer may look more unlike, at the same place
SIGHT_EVERY = 2  # detections between two sights that are kept of a person


@dataclasses.dataclass(frozen=True)
class Sighting:
  """A person in a frame.

  Attributes:
    person: number, from 1, in the order of appearance.
    confidence: float in (0, 1].
    box: (x, y, side) of the face, pixels of the frame.
  """

  person: int
  confidence: float
  box: tuple[float, float, float]


class _Person:
  """Somebody who was seen: sights of the face and the clothes, and where and when the face was seen last."""

  def __init__(self, number: int, sights: list[np.ndarray]):
    self.number, self.sights = number, list(sights)
    self._every, self._skipped = SIGHT_EVERY, 0
    self.last_box, self.last_picture = np.zeros(3), 0

  def add(self, sight) -> None:
    """Keeps a sight now and then, over the whole time that the person is seen."""
    self._skipped += 1
    if self._skipped < self._every:
      return
    self._skipped = 0
    self.sights.append(sight)
    if len(self.sights) > likeness.GALLERY:
      self.sights, self._every = self.sights[::2], 2 * self._every


class _Track:
  """A face in the picture; `person` is None while nobody knows whose it is."""

  def __init__(self, face: tracker.Face, person: _Person | None = None):
    self.face, self.person = face, person
    self.confidence = 1.0
    self.sights: list[np.ndarray] = []  # while nobody knows
    self.crosses = False


class PeopleTracker:
  """Follows all faces of a video, one frame at a time."""

  def __init__(self, detector: str = detectors.CASCADE):
    """
    Args:
      detector: name, of `detectors.DETECTORS`.
    """
    self._detector = detectors.make(detector, MIN_FACE)
    self._tracks: list[_Track] = []
    self._people: list[_Person] = []
    self._grey: np.ndarray | None = None
    self._wait = 0
    self._picture = 0

  def step(self, frame: np.ndarray | None) -> list[Sighting]:
    """Takes the next frame, uint8 [H, W, 3] RGB, or None where nothing is shown; returns who is seen in it."""
    self._picture += 1
    if frame is None:
      self._tracks, self._wait = [], 0
      return []
    grey, scale = tracker.grey_image(frame, WORK_SIZE)
    for track in self._tracks:
      track.confidence = track.face.follow(self._grey, grey)
    self._keep_confident(lambda track: track.confidence)
    self._note_crossings()
    self._wait -= 1
    if self._wait < 0 or any(track.crosses or track.person is None for track in self._tracks):
      self._detect(frame, grey, scale)
    self._grey = grey
    self._keep_confident(lambda track: track.face.trusted(track.confidence))
    seen = []
    for track in self._tracks:
      x, y, side = track.face.settle() / scale
      if track.person is not None:
        track.person.last_box, track.person.last_picture = track.face.box.copy(), self._picture
        box = float(x - side / 2), float(y - side / 2), float(side)
        seen.append(Sighting(track.person.number, float(track.face.trusted(track.confidence)), box))
    return sorted(seen, key=lambda sighting: sighting.person)

  def _keep_confident(self, confidence) -> None:
    """Gives up the other faces, and looks for faces at once."""
    kept = [track for track in self._tracks if confidence(track) >= tracker.MIN_CONFIDENCE]
    if len(kept) < len(self._tracks):
      self._tracks, self._wait = kept, 0

  def _note_crossings(self) -> None:
    for track in self._tracks:
      others = (other.face.box for other in self._tracks if other is not track)
      track.crosses = any(tracker.overlap(track.face.box, box) > CROSSING for box in others)

  def _absent(self) -> list[_Person]:
    """Those who are not in the picture."""
    present = [track.person for track in self._tracks]
    return [person for person in self._people if person not in present]

  def _detect(self, frame, grey, scale) -> None:
    """Confirms the faces that are followed, and begins to follow others."""
    boxes, sure = self._detector.find(frame, detectors.lit(grey))
    sights: dict[int, np.ndarray] = {}

    def sight(j):
      if j not in sights:
        sights[j] = likeness.describe(frame, *(boxes[j] / scale))
      return sights[j]

    given = self._assign(boxes, sight)
    for track in self._tracks:
      if track in given:
        track.face.correct(boxes[given[track]], grey)
      else:
        track.face.miss()
    found = [track for track in given if track.person is not None]
    self._tracks = [track for track in self._tracks if track in given or not self._is_over(track, given, boxes)]
    for track in found:
      if not track.crosses:
        self._check(track, sight(given[track]))
    # From left to right, so that people who appear together are numbered as one reads.
    for j in sorted(set(range(len(boxes))) - set(given.values()), key=lambda j: boxes[j][0]):
      if all(tracker.overlap(boxes[j], track.face.box) <= tracker.SAME_FACE for track in self._tracks):
        track = _Track(tracker.Face(boxes[j], grey))
        self._tracks.append(track)
        given[track] = j
        if sure[j] and not self._absent():
          self._name(track, sight(j))
    self._note_crossings()
    for track in [track for track in self._tracks if track.person is None and track in given]:
      self._recognise(track, sight(given[track]))
    all_well = given.keys() >= set(self._tracks) and not self._absent()
    self._wait = tracker.DETECT_EVERY if self._tracks and all_well else tracker.RETRY_EVERY

  def _assign(self, boxes, sight) -> dict[_Track, int]:
    """Which box is whose: the Hungarian method on overlap and, where faces cross, on likeness."""
    if not boxes or not self._tracks:
      return {}
    impossible = 10.0
    cost = np.full((len(self._tracks), len(boxes)), impossible)
    for i, track in enumerate(self._tracks):
      for j, box in enumerate(boxes):
        common = tracker.overlap(track.face.box, box)
        if common > tracker.SAME_FACE:
          unlike = likeness.distance(sight(j), track.person.sights) if track.crosses and track.person else 0.0
          cost[i, j] = 1 - common + unlike
    pairs = zip(*linear_sum_assignment(cost))
    return {self._tracks[i]: int(j) for i, j in pairs if cost[i, j] < impossible}

  def _is_over(self, track, given, boxes) -> bool:
    """Whether a face without a box is given up: one that nobody knows, or that another hides."""
    hidden = any(tracker.overlap(track.face.box, boxes[j]) > HIDDEN for j in given.values())
    return track.person is None or hidden

  def _check(self, track, sight) -> None:
    """Adds to what is known of a person, or finds that flow has gone over to another's face."""
    own = likeness.distance(sight, track.person.sights)
    others = [likeness.distance(sight, other.sights) for other in self._people if other is not track.person]
    if min(others, default=1.0) < min(own, likeness.ALIKE) and own > likeness.ALIKE:
      track.person, track.sights = None, []
    else:
      track.person.add(sight)

  def _recognise(self, track, sight) -> None:
    """One more sight of a face that came: who of the absent is it, or is it somebody new?"""
    # Nobody new is named on what was seen while another hid a part of it.
    track.sights = [*track.sights, sight][-(RECOGNISED if track.crosses else NEW) :]
    absent = self._absent()
    if len(track.sights) < (RECOGNISED if absent else 2):
      return
    # Over what each may differ: below 1 it is one of them.
    ratios = [
      float(np.median([likeness.distance(own, one.sights) for own in track.sights])) / self._allowed(track, one)
      for one in absent
    ]
    if min(ratios, default=1.0) < 1:
      track.person, track.sights = absent[int(np.argmin(ratios))], []
    elif not track.crosses and (not absent or len(track.sights) == NEW):
      self._name(track, *track.sights)

  def _allowed(self, track, person) -> float:
    """How unlike a face that came may be to be a person's: more for a face that flow lost a moment ago right there."""
    there = tracker.overlap(track.face.box, person.last_box) > tracker.SAME_FACE
    return likeness.ALIKE_THERE if there and self._picture - person.last_picture <= BRIEFLY else likeness.ALIKE

  def _name(self, track, *sights) -> None:
    """Somebody new."""
    track.person, track.sights = _Person(len(self._people) + 1, list(sights)), []
    self._people.append(track.person)


def follow(
  frames: Iterable[np.ndarray | None],
  grid: Grid = PAPER,
  crop: cropping.Crop = cropping.STORED,
  detector: str = detectors.CASCADE,
) -> Iterator[tuple[np.ndarray | None, list[tuple[Sighting, bytes]]]]:
  """Follows all faces through a video; yields for each step its own frame, and who is seen in it with the crop's JPEG.

  Args:
    frames: as for `tracker.follow`.
    grid: of the frames.
    crop: what is cut out.
    detector: name, of `detectors.DETECTORS`.
  """
  people, per_step = PeopleTracker(detector), grid.pictures_per_step
  for i, frame in enumerate(frames):
    seen = people.step(frame)
    if i % per_step == per_step // 2:
      yield frame, [(sighting, jpeg.encode(_cut(frame, sighting.box, crop))) for sighting in seen]


def _cut(frame, box, crop):
  x, y, side = box
  return cropping.cut(frame, x + side / 2, y + side / 2, side, crop)
