"""The page of a clip, in a browser: it loads, plays, follows and seeks, and asks the network for nothing."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from data_prep.recordings import who
from e2e_affect.clips import analyse, clip_page
from e2e_affect.report.page import asset
from tests import browser, clips
from tests.data_prep.recordings.test_clip import portrait
from tests.data_prep.recordings.test_people import TURNS, two_people
from tests.networks import BAND, network_with_band, small_network

needs_browser = pytest.mark.skipif(browser.BINARY is None, reason='no Chromium in the PATH: the page is not tested')
WHERE = 'parseFloat(document.getElementById("cursor").style.left)'
PLOT_LEFT, PLOT_RIGHT = 44, 12  # as clip.js has them


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
  """A video of 3 s, whose face is given by its box and soon lost, beside its page and inside of another; a sound."""
  folder = tmp_path_factory.mktemp('pages')
  (folder / 'box.csv').write_text('x,y,width,height\n40,30,50,54\n')
  noise = np.random.default_rng(0).normal(0, 0.1, 48_000)
  clips.write_clip(
    folder / 'v.mp4', portrait(75, blank=range(50, 75)), sound=noise, rate=16_000, codec='libx264', sound_codec='aac'
  )
  clips.write_clip(folder / 'a.wav', sound=noise, rate=16_000)
  name = 'face </script><b>&'
  (folder / 'list.csv').write_text(f'recording,video,boxes\n{name},v.mp4,box.csv\n')
  network = small_network('visual')
  analyse.analyse(network, [str(folder / 'list.csv')], folder / 'beside')
  analyse.analyse(network, [str(folder / 'list.csv')], folder / 'inside', embed=True)
  analyse.analyse(small_network('speech'), [str(folder / 'a.wav')], folder / 'sound')
  return folder


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  with browser.Browser(tmp_path_factory.mktemp('profile')) as opened:
    yield opened


def expected_cursor(page, seconds, length=3.0):
  width = page.run('document.getElementById("plot").getBoundingClientRect().width')
  return PLOT_LEFT + (width - PLOT_LEFT - PLOT_RIGHT) * seconds / length


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize('kind', ['beside', 'inside', 'sound'])
@pytest.mark.parametrize('width, height, scheme', [(1280, 900, 'light'), (390, 844, 'dark')])
def test_the_page(pages, page, kind, width, height, scheme, tmp_path):
  path = next((pages / kind).glob('*.html'))
  page.size(width, height, scheme)
  page.open(path)
  page.wait('media.readyState >= 2')
  assert page.run('document.documentElement.scrollWidth <= document.documentElement.clientWidth')  # nothing sticks out
  # The cursor follows the clip's own clock.
  for seconds in (1.2, 2.6):
    page.run(f'media.currentTime = {seconds}')
    page.wait(f'Math.abs({WHERE} - {expected_cursor(page, seconds)}) < 1')
  assert page.run('document.getElementById("time").textContent').startswith('0:02.6')
  # A click seeks.
  page.run('void plot.scrollIntoView()')
  left, top, width_of = page.run('(r => [r.left, r.top, r.width])(plot.getBoundingClientRect())')
  page.click(left + PLOT_LEFT + (width_of - PLOT_LEFT - PLOT_RIGHT) / 2, top + 40)
  page.wait('Math.abs(media.currentTime - 1.5) < 0.02')
  # The values are those of the step.
  traces = json.loads((pages / kind / f'{path.stem}.json').read_text())['targets']
  shown = page.run('document.getElementById("value-arousal").textContent').replace('−', '-')
  assert shown == f'{page.run("shown(names[0])[37]"):+.2f}' and 'arousal' in traces
  # Keys: arrows move by a second, with shift by five; space plays and stops.
  page.key('ArrowRight')
  page.wait('Math.abs(media.currentTime - 2.5) < 0.02')
  page.key('ArrowLeft', shift=True)
  page.wait('media.currentTime < 0.02')
  page.key(' ')
  page.wait('media.currentTime > 0.3')
  before = page.run(WHERE)
  assert before > PLOT_LEFT
  page.key(' ')
  page.wait('media.paused')
  page.wait(f'Math.abs({WHERE} - xOf(media.currentTime)) < 1')
  page.screenshot(tmp_path / 'page.png')
  assert page.complaints() == []
  assert all(re.match('file:|data:|blob:', url) for url in page.requests())


@needs_browser
@pytest.mark.slow
def test_face_and_shading(pages, page):
  page.size(1280, 900)
  page.open(next((pages / 'beside').glob('*.html')))
  page.wait('media.readyState >= 2')
  page.run('seek(0.2)')
  page.wait('document.getElementById("box-0").style.display === "block"')
  assert page.run('document.getElementById("confidence-0").textContent').startswith('confidence')
  page.wait('seen[0].shown >= 0 && document.getElementById("crop-0").width === 32')
  page.run('seek(2.8)')
  page.wait('document.getElementById("seen-0").classList.contains("lost")')
  assert page.run('document.getElementById("box-0").style.display') == 'none'
  rows = next((pages / 'beside').glob('*.csv')).read_text().splitlines()[1:]
  lost = [k for k, row in enumerate(rows) if row.endswith(',0.000,,,')]
  assert page.run('people[0].lost') == [[lost[0], 75]] and lost == list(range(lost[0], 75)) and 8 < lost[0] < 53
  # A page whose clip has gone says so, and its traces can still be read.
  page.run('media.src = "media/gone.mp4"')
  page.wait('!document.getElementById("message").hidden')
  page.run('seek(1.5)')
  assert abs(page.run(WHERE) - expected_cursor(page, 1.5)) < 1


@needs_browser
@pytest.mark.slow
def test_the_band_is_shaded(page, tmp_path):
  soundfile.write(tmp_path / 'a.wav', np.zeros(48_000), 16_000)  # silence: no waveform is drawn
  analyse.analyse(network_with_band('speech'), [str(tmp_path / 'a.wav')], tmp_path / 'out')
  page.size(1280, 900)
  page.open(tmp_path / 'out' / 'a.html')
  page.wait('traces.width > 600')
  assert page.complaints() == []  # to read pixels is one
  # Opacity of the canvas at step 37 and a value; 10 and 26 pixels are the margins.
  opacity = (
    'value => { const height = traces.getBoundingClientRect().height, half = (height - 36) / 2;'
    'const y = 10 + half - half * value / limit, ratio = window.devicePixelRatio || 1;'
    'return traces.getContext("2d").getImageData(xOf(37.5 * STEP) * ratio, y * ratio, 1, 1).data[3]; }'
  )
  inside, outside = (
    page.run(f'({opacity})({value})') for value in ('shown("valence")[37] + 0.7 * halfOf("valence")', '0.8')
  )
  assert 20 < inside < 60 and outside == 0  # 0.14 · 255 = 36; lines are stronger
  assert page.run('limit') >= BAND['half_width']['valence']


@needs_browser
@pytest.mark.slow
def test_the_index_sorts(pages, page, tmp_path):
  analyse.analyse(small_network('speech'), [str(pages / 'a.wav'), str(pages / 'v.mp4')], tmp_path)
  page.size(390, 844)
  page.open(tmp_path / 'index.html')
  names = '[...document.querySelectorAll("tbody tr")].map(row => row.cells[0].textContent)'
  assert page.run(names) == ['a', 'v']
  page.run('document.querySelector("th button").click()')
  page.run('document.querySelector("th button").click()')
  assert page.run(names) == ['v', 'a']
  assert page.complaints() == [] and page.run('document.querySelectorAll("svg.spark").length') == 4
  assert page.run('document.querySelector(".scroll").scrollWidth <= document.querySelector(".scroll").clientWidth')


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize('width, height, scheme', [(1280, 900, 'light'), (390, 844, 'dark')])
def test_several_people(page, tmp_path, face, width, height, scheme):
  """A lane, a frame and a box for each, in one colour; the sound where the person speaks."""
  noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
  clips.write_clip(tmp_path / 'duo.mp4', two_people(face), sound=noise, rate=16_000, codec='libx264', sound_codec='aac')
  (tmp_path / 'duo.rttm').write_text(TURNS)
  analyse.analyse(
    small_network('speech', 'visual'),
    [str(tmp_path / 'duo.mp4')],
    tmp_path / 'out',
    wanted=who.wanted('all', str(tmp_path / 'duo.rttm')),
  )
  page.size(width, height, scheme)
  page.open(tmp_path / 'out' / 'duo.html')
  page.wait('media.readyState >= 2')
  assert page.run('document.documentElement.scrollWidth <= document.documentElement.clientWidth')
  page.run('seek(0.4)')
  page.wait('seen.every(one => one.shown >= 0) && document.getElementById("crop-1").width === 32')
  colours = 'k => [["box-", "borderTopColor"], ["seen-", "borderTopColor"]].map(([id, of]) => '
  colours += 'getComputedStyle(document.getElementById(id + k))[of])'
  first, second = (page.run(f'({colours})({k})') for k in (0, 1))
  assert len(set(first)) == len(set(second)) == 1 and first != second
  assert page.run('people.map(of => of.speaks)') == [[[0.25, 0.75]], [[1, 1.5]]]
  assert page.run('people.map(unheard)') == [[[0, 0.25], [0.75, 2]], [[0, 1], [1.5, 2]]]
  overlapping = {'speaks': [[0, 1], [0.2, 0.5], [1, 1.5]]}
  assert page.run(f'[unheard({json.dumps(overlapping)}), unheard({{"speaks": []}})]') == [[[1.5, 2]], [[0, 2]]]
  legend = page.run('document.querySelector(".legend").innerText')
  assert 'not heard' in legend and 'first value, held' in legend
  # 5 steps of 0.04 s, as the network's post-processing shifts by.
  assert page.run('people[1].targets.valence.held') == {'raw': 0, 'post': 5}
  # Whoever gets the page learns nothing of the disk, and sees every column.
  assert str(tmp_path) not in (tmp_path / 'out' / 'duo.html').read_text()
  assert page.run('[...document.querySelectorAll(".scroll")].every(of => of.scrollWidth <= of.clientWidth)')
  said = page.run('plot.getAttribute("aria-valuetext")')
  assert re.fullmatch(r'person 1: arousal .0\.\d\d, valence .0\.\d\d; person 2: arousal .*', said), said
  assert page.run('document.getElementById("value-valence-2").textContent') == said.split('valence ')[-1]
  assert page.run('document.getElementById("crop-1").getAttribute("aria-label")') == 'Face crop of person 2'
  page.run('seek(1.9)')  # the second has left
  page.wait('document.getElementById("seen-1").classList.contains("lost")')
  assert page.run('document.getElementById("box-1").style.display') == 'none'
  assert page.run('document.getElementById("box-0").style.display') == 'block'
  page.key('End')
  page.wait('Math.abs(media.currentTime - 2) < 0.02')
  assert page.complaints() == []
  assert all(re.match('file:|data:|blob:', url) for url in page.requests())


def test_numbers_are_packed_to_a_part_in_65000_of_the_largest():
  rng = np.random.default_rng(0)
  for values in (rng.normal(0, 0.3, 500).astype(np.float32), rng.uniform(-9, 700, (40, 3)), np.zeros(4), np.ones(3)):
    of = clip_page.packed(values)
    read = np.frombuffer(base64.b64decode(of['data']), '<i2') * of['scale']
    np.testing.assert_allclose(read, values.ravel(), atol=np.abs(values).max() / 65_000, rtol=0)


def test_waveform_and_spans():
  samples = np.zeros(80 * 7 + 3, np.int16)
  samples[100], samples[-1] = 32767, -32768
  low, high = clip_page.waveform(samples, 16_000)
  assert len(low) == 8 and high.tolist() == [0, 127, 0, 0, 0, 0, 0, 0] and low.tolist() == [0] * 7 + [-127]
  quiet = np.random.default_rng(0).integers(-20, 20, 1600).astype(np.int16)
  np.testing.assert_array_equal(clip_page.waveform(quiet, 16_000), clip_page.waveform(1000 * quiet, 16_000))
  assert len(clip_page.waveform(np.zeros(16_000 * 900, np.int16), 16_000)[0]) <= clip_page.MAX_PIECES
  assert clip_page.lost_spans(np.array([0, 0, 0.5, 1, 0, 0.1, 0])) == [[0, 2], [4, 5], [6, 7]]
  assert clip_page.lost_spans(np.ones(3)) == []


def test_the_clock_never_shows_sixty_seconds():
  node = shutil.which('node')
  if not node:
    pytest.skip('no node in the PATH: the clock is not tested')
  lines = asset('clips/assets/clip.js').split('const clock = ')[1].split('};')[0]
  script = f'const clock = {lines}}}; console.log([0, 9.94, 59.94, 59.96, 60, 119.99, 3599.97].map(clock).join(" "))'
  done = subprocess.run([node, '-e', script], capture_output=True, text=True, check=True)
  assert done.stdout.split() == ['0:00.0', '0:09.9', '0:59.9', '1:00.0', '1:00.0', '2:00.0', '60:00.0']
