"""The page of a clip, in a browser: it loads, plays, follows and seeks, and asks the network for nothing."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from e2e_affect.clips import analyse, clip_page
from e2e_affect.report.page import asset
from tests import browser, clips
from tests.data_prep.recordings.test_clip import portrait
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
  page.wait('document.getElementById("box").style.display === "block"')
  assert page.run('document.getElementById("confidence").textContent').startswith('confidence')
  page.wait('cropShown >= 0 && crop.width === 32')
  page.run('seek(2.8)')
  page.wait('document.getElementById("seen").classList.contains("lost")')
  assert page.run('document.getElementById("box").style.display') == 'none'
  rows = next((pages / 'beside').glob('*.csv')).read_text().splitlines()[1:]
  lost = [k for k, row in enumerate(rows) if row.endswith(',0.000,,,')]
  assert page.run('data.lost') == [[lost[0], 75]] and lost == list(range(lost[0], 75)) and 8 < lost[0] < 53
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
