"""Several people in a picture: drawn faces that are moved by known amounts, and speakers of GRID."""

import pathlib

import cv2
import numpy as np
import pytest

from data_prep.face import likeness, people, tracker
from data_prep.media import video_track

GRID = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'grid'
HEIGHT, WIDTH = 240, 480
RED, GREEN = (
  ((1.25, 0.8, 0.7), (190, 40, 40)),
  ((0.75, 1.0, 0.9), (30, 120, 60)),
)  # tint of a face, colour of its clothes


def scene(face, *placed, size=130):
  """A frame with people, the last one in front: (looks, x, y) each, of the face's centre; others see none of it."""
  rng = np.random.default_rng(1)
  small = rng.integers(70, 110, (12, 24, 3), dtype=np.uint8)
  frame = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float32)
  scale = size / face.shape[0]
  for (tint, clothes), x, y in placed:
    matrix = np.array([[scale, 0, x - size / 2], [0, scale, y - size / 2]])
    oval = np.zeros(face.shape[:2], np.float32)
    cv2.ellipse(oval, (118, 118), (66, 86), 0, 0, 360, 1, -1)
    body = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.ellipse(body, (round(x), round(y + 0.95 * size)), (round(0.42 * size), round(0.6 * size)), 0, 0, 360, 1, -1)
    frame = frame * (1 - body[..., None]) + np.float32(clothes) * body[..., None]
    moved = cv2.warpAffine((face * np.float32(tint)).clip(0, 255), matrix, (WIDTH, HEIGHT))
    weight = cv2.warpAffine(oval, matrix, (WIDTH, HEIGHT))[..., None]
    frame = frame * (1 - weight) + moved * weight
  return frame.astype(np.uint8)


def run(frames):
  """Person -> picture -> sighting."""
  of_all = people.PeopleTracker()
  found: dict[int, dict[int, people.Sighting]] = {}
  for i, frame in enumerate(frames):
    for sighting in of_all.step(frame):
      found.setdefault(sighting.person, {})[i] = sighting
  return found


def middle(sighting):
  x, _, side = sighting.box
  return x + side / 2


def test_two_faces_keep_their_numbers(face):
  frames = [scene(face, (RED, 110 + i, 110), (GREEN, 360 - i, 120)) for i in range(40)]
  found = run(frames)
  assert set(found) == {1, 2}  # from left to right
  for person, start, way in ((1, 110, 1), (2, 360, -1)):
    assert set(found[person]) == set(range(40))
    assert all(0.6 < sighting.confidence <= 1 for sighting in found[person].values())
    offsets = np.array([middle(found[person][i]) - start - way * i for i in range(40)])
    assert np.abs(offsets - offsets.mean()).max() < 4


def test_who_leaves_and_comes_back_is_the_same_and_another_is_not(face):
  alone = [scene(face, (RED, 110, 115))] * 30
  both = [scene(face, (RED, 110, 115), (GREEN, 350, 115))] * 30
  other = [scene(face, (RED, 110, 115), (((0.55, 0.6, 1.3), (230, 230, 60)), 350, 115))] * 30
  found = run(both + alone + both + alone + other)
  assert set(found) == {1, 2, 3}
  assert set(found[1]) == set(range(150))
  seen = np.array([i in found[2] for i in range(150)])
  assert seen[:30].all() and not seen[31:60].any() and not seen[91:].any()
  again = 60 + int(np.flatnonzero(seen[60:])[0])
  assert again - 60 <= tracker.RETRY_EVERY + people.RECOGNISED and seen[again:90].all()
  first = min(found[3])
  assert first - 120 <= tracker.RETRY_EVERY + people.NEW and set(found[3]) == set(range(first, 150))


@pytest.mark.parametrize('behind, before', [(RED, GREEN), (GREEN, RED)])
def test_faces_that_cross_are_not_swapped(face, behind, before):
  frames = [scene(face, (behind, 90 + 3 * i, 115), (before, 390 - 3 * i, 115)) for i in range(101)]
  found = run(frames)
  assert set(found) == {1, 2}
  assert set(found[2]) == set(range(101)) and max(found[1]) == 100  # the one in front is seen all the time
  assert all(abs(middle(s) - 390 + 3 * i) < 20 for i, s in found[2].items())
  assert all(abs(middle(s) - 90 - 3 * i) < 20 for i, s in found[1].items() if not 35 < i < 65)
  assert 5 < 101 - len(found[1]) < 40  # hidden by the other for 300 / 6 pictures at most


def test_dim_light(face):
  noise = np.random.default_rng(0).normal(0, 1.5, (HEIGHT, WIDTH, 3))
  dim = (0.12 * scene(face, (RED, 110, 110), (GREEN, 360, 120)) + noise).clip(0, 255).astype(np.uint8)
  found = run([dim] * 4)
  assert set(found) == {1, 2} and set(found[1]) == {0, 1, 2, 3}
  _, confidence, _ = tracker.FaceTracker().step(dim)
  assert confidence == 0  # the cascade alone sees nothing there


def test_nobody(face):
  rng = np.random.default_rng(0)
  noise = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(15)]
  assert run(noise) == {} and run([None] * 3) == {}
  frames = [None, *[scene(face, (RED, 110, 115))] * 8, None, *[scene(face, (RED, 110, 115))] * 8]
  found = run(frames)
  assert set(found) == {1} and 9 not in found[1] and 17 in found[1]


def test_steps_have_the_frame_and_the_crop_of_their_middle(face):
  frames = [scene(face, (RED, 110, 110), (GREEN, 350, 120))] * 6
  steps = list(people.follow(frames))
  assert len(steps) == 6 and all(len(seen) == 2 for _, seen in steps)
  sighting, data = steps[3][1][1]
  assert steps[3][0] is frames[3] and sighting.person == 2 and data[:2] == b'\xff\xd8'


def test_likeness(face):
  red, green = scene(face, (RED, 110, 110)), scene(face, (GREEN, 110, 110))
  of = lambda frame, x=110.0: likeness.describe(frame, x, 112, 65)
  # 58 uniform patterns and one for all others; 4 × 4 fields; 6 × 8 × 8 colours, twice.
  assert of(red).shape == (16 * 59 + 2 * 384,) and np.linalg.norm(of(red)) == pytest.approx(1)
  assert likeness.distance(of(red), [of(red)]) == pytest.approx(0, abs=1e-6)
  near, far = likeness.distance(of(red), [of(green), of(red, 113.0)]), likeness.distance(of(red), [of(green)])
  assert near < likeness.ALIKE < far


@pytest.fixture(scope='module')
def speakers():
  if not GRID.is_dir():
    pytest.skip('no real clips: ../shared/data is absent')
  return [list(video_track.Video(path)) for path in sorted(GRID.glob('*.mpg'))]


def swung(frames, count):
  """As many frames, forth and back."""
  return [frames[abs((i + 74) % 148 - 74)] for i in range(count)]


@pytest.mark.slow
def test_speakers_side_by_side_and_one_above_the_other(speakers):
  for first, second, axis in ((0, 2, 1), (1, 3, 0)):
    frames = [np.concatenate(pair, axis=axis) for pair in zip(speakers[first], speakers[second])]
    found = run(frames)
    assert set(found) == {1, 2} and all(set(found[person]) == set(range(75)) for person in (1, 2))
    assert all(s.confidence > 0.6 for person in (1, 2) for s in found[person].values())
    places = [{s.box[1 - axis] > (360, 288)[1 - axis] for s in found[person].values()} for person in (1, 2)]
    assert sorted(places, key=str) == [{False}, {True}]


@pytest.mark.slow
def test_a_speaker_who_leaves_for_five_seconds(speakers):
  stays, leaves = swung(speakers[0], 240), swung(speakers[2], 240)
  away = np.full_like(leaves[0], (40, 150, 190))
  found = run([np.hstack([stays[i], away if 60 <= i < 185 else leaves[i]]) for i in range(240)])
  assert set(found) == {1, 2} and set(found[1]) == set(range(240))
  assert set(range(60)) | set(range(193, 240)) <= set(found[2]) and not set(found[2]) & set(range(61, 185))


@pytest.mark.slow
@pytest.mark.parametrize('before, behind', [(0, 2), (2, 1), (3, 0)])
def test_speakers_who_cross(speakers, before, behind):
  frames = []
  for i, (front, back) in enumerate(zip(swung(speakers[before], 110), swung(speakers[behind], 110))):
    frame = np.full((288, 900, 3), (60, 150, 190), np.uint8)
    way = round(540 * np.clip((i - 10) / 90, 0, 1))
    for picture, x in ((back, 540 - way), (front, way)):
      frame[:, x + 20 : x + 340] = picture[:, 20:340]
    frames.append(frame)
  found = run(frames)
  assert set(found) == {1, 2} and set(found[1]) == set(range(110))
  assert middle(found[1][0]) < 300 and middle(found[1][109]) > 600
  assert middle(found[2][0]) > 600 and middle(found[2][109]) < 300
  assert all(s.confidence > 0.6 for i, s in found[2].items() if i < 30 or i > 90)


@pytest.mark.slow
def test_three_people_on_a_phone(speakers):
  frames = []
  for pictures in zip(*speakers[:3]):
    frame = np.full((1280, 720, 3), 120, np.uint8)
    for k, picture in enumerate(pictures):
      frame[10 + 424 * k : 410 + 424 * k, 110:610] = cv2.resize(picture, (500, 400))
    frames.append(frame)
  found = run(frames[:40])
  assert set(found) == {1, 2, 3} and all(set(found[person]) == set(range(40)) for person in found)
