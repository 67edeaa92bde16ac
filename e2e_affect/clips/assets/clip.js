// The page of one clip: a clock (the media element), and everything that follows it.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const element = id => document.getElementById(id);
const unpack = packed => packed && Array.from(
  new Int16Array(Uint8Array.from(atob(packed.data), c => c.charCodeAt(0)).buffer), v => v * packed.scale);
for (const of of data.people) {
  for (const target of Object.values(of.targets)) {
    Object.assign(target, { raw: unpack(target.raw), post: unpack(target.post) });
  }
  if (of.crops) Object.assign(of, { found: unpack(of.found), boxes: unpack(of.boxes) });
}
const steps = data.steps, STEP = data.step_seconds, length = steps * STEP;
// Numbers of every step, probabilities of every step, or nothing but sound: bars stand beside it.
const SHARES = data.shows !== 'numbers';
const people = data.people, several = people[0].number !== null;  // of one alone nobody says who it is
const names = data.shows === 'recording' ? [] : Object.keys(people[0].targets);
const shown = (name, of = people[0]) => of.targets[name].post || of.targets[name].raw;  // what the reader came for
const halfOf = name => data.band ? data.band[name] : 0;  // of the band around what is shown
const TAIL = Math.max(1, Math.round(3 / STEP));  // steps of the point's tail: 3 s
const PLOT = { left: 44, right: 12, top: 10, bottom: 26 };
const LANE_GAP = 18;

// The smallest of these that holds every trace, and its band as far as the scale reaches; the same for the plane, so
// that both tell the same.
const largest = SHARES ? 1 : people.reduce((of_all, of) => names.reduce(
  (most, name) => shown(name, of).concat(of.targets[name].raw).reduce(
    (a, v) => Math.max(a, Math.abs(v), Math.min(1, Math.abs(v) + halfOf(name))), most), of_all), 0);
const limit = [0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.6].find(x => x >= largest) || Math.ceil(largest);

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = name => css(SHARES ? '--class-' + names.indexOf(name) % 8 :
  ['arousal', 'valence'].includes(name) ? '--' + name : '--other');
const ownColour = of => several ? css('--person-' + (of.number - 1) % 6) : css('--accent');
const signed = v => SHARES ? v.toFixed(2) : (v < -0.005 ? '−' : '+') + Math.abs(v).toFixed(2);
// In whole tenths: 59.96 s is 1:00.0, where minutes and seconds rounded apart would be 0:60.0.
const clock = t => {
  const tenths = Math.round(10 * t);
  return Math.floor(tenths / 600) + ':' + (tenths % 600 / 10).toFixed(1).padStart(4, '0');
};

// ---- the clip: beside the page, or inside it as text
const media = element('media');
const inside = element('embedded');
if (media && inside) {
  const bytes = Uint8Array.from(atob(inside.textContent), c => c.charCodeAt(0));
  media.src = URL.createObjectURL(new Blob([bytes], { type: inside.dataset.type }));
}
let still = 0;  // where the cursor stands when there is nothing to play
let playable = Boolean(media);
const now = () => Math.min(playable ? media.currentTime : still, length);
const stepAt = t => Math.max(0, Math.min(steps - 1, Math.floor(t / STEP + 1e-6)));

function seek(t) {
  still = Math.max(0, Math.min(length, t));
  if (playable) media.currentTime = still;
  follow();
}

function toggle() {
  if (!playable) return;
  if (!media.paused) { media.pause(); return; }
  if (media.ended || media.currentTime >= length) media.currentTime = 0;
  media.play().catch(refused);
}

function refused() {
  playable = false;
  element('play').disabled = true;
  (media.closest('.frame') || media).hidden = true;
  element('message').hidden = false;
  follow();
}

// ---- canvases: drawn in CSS pixels, sharp on every screen
function prepared(canvas) {
  const { width, height } = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
  return { context, width, height };
}

const traces = element('traces');
let plotWidth = 0;
const xOf = t => PLOT.left + (plotWidth - PLOT.left - PLOT.right) * t / length;

// A lane for each person, one above the other, with the time below all of them.
function drawTraces() {
  const { context: c, width, height } = prepared(traces);
  plotWidth = width;
  const lane = (height - PLOT.top - PLOT.bottom + LANE_GAP) / people.length;
  people.forEach((of, k) => drawLane(c, of, width, PLOT.top + k * lane, PLOT.top + (k + 1) * lane - LANE_GAP));
  const bottom = height - PLOT.bottom;
  [c.textBaseline, c.textAlign, c.fillStyle] = ['alphabetic', 'center', css('--soft')];
  const spacings = [0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200];
  const every = spacings.find(s => (width - PLOT.left) * s / length > 58) || 3600;
  for (let i = 0; i * every <= length + 1e-9; i++) {
    const t = i * every, x = xOf(t);
    c.fillText(every < 1 ? t.toFixed(1) + ' s' : length < 60 ? t + ' s' : clock(t).replace(/\.\d$/, ''),
      Math.min(x, width - PLOT.right - 14), height - 8);
    c.strokeStyle = css('--grid');
    c.lineWidth = 1;
    c.beginPath(); c.moveTo(x, bottom); c.lineTo(x, bottom + 5); c.stroke();
  }
}

function drawLane(c, of, width, top, bottom) {
  const middle = (top + bottom) / 2, half = (bottom - top) / 2;
  const yOf = v => SHARES ? bottom - 2 * half * v : middle - half * v / limit;
  for (const [first, end] of of.lost) hatch(c, xOf(first * STEP), top, xOf(end * STEP), bottom);
  for (const [begin, end] of unheard(of)) hatch(c, xOf(begin), top, xOf(end), bottom, true);
  drawSound(c, of, middle, half);
  // Grid and numbers.
  c.lineWidth = 1;
  [c.textBaseline, c.textAlign] = ['middle', 'right'];
  for (const part of !SHARES ? [-1, -0.5, 0, 0.5, 1] : names.length ? [0, 0.25, 0.5, 0.75, 1] : []) {
    const y = Math.round(yOf(part * limit)) + 0.5;
    c.strokeStyle = part ? css('--grid') : css('--soft');
    c.globalAlpha = part ? 1 : 0.5;
    c.beginPath(); c.moveTo(PLOT.left, y); c.lineTo(width - PLOT.right, y); c.stroke();
    c.globalAlpha = 1;
    c.fillStyle = css('--soft');
    if (!several || part * 2 % 2 === 0) {  // lanes have room for three numbers, each inside of its own
      c.textBaseline = !several || !part ? 'middle' : part > 0 ? 'top' : 'bottom';
      c.fillText(part ? signed(part * limit).replace(/(\.\d)0$/, '$1') : '0', PLOT.left - 6, y);
    }
  }
  // Bands, then traces: post-processed strong, raw faint below it.
  for (const name of names) if (halfOf(name)) shade(c, shown(name, of), halfOf(name), yOf, top, bottom, colourOf(name));
  c.lineJoin = 'round';
  for (const name of names) {
    const { raw, post, held } = of.targets[name];
    c.strokeStyle = colourOf(name);
    if (SHARES && names.indexOf(name) > 3) c.setLineDash([6, 3]);  // as in the legend: colours alone tell too few apart
    if (post && !SHARES) { c.globalAlpha = 0.5; line(c, raw, yOf, 1, held.raw); c.globalAlpha = 1; }
    line(c, post || raw, yOf, 2.2, post ? held.post : held.raw);
    c.setLineDash([]);
  }
  if (!several) return;
  // Whose lane it is, in the colour of the frame around the face.
  const text = 'Person ' + of.number;
  [c.textBaseline, c.textAlign] = ['middle', 'left'];
  c.fillStyle = css('--card');
  c.globalAlpha = 0.8;
  c.fillRect(PLOT.left + 3, top + 2, c.measureText(text).width + 8, 17);
  c.globalAlpha = 1;
  c.fillStyle = ownColour(of);
  c.fillText(text, PLOT.left + 7, top + 11);
  c.fillRect(0, top, 4, bottom - top);
}

// Lowest and highest sample of each piece, where the person speaks.
function drawSound(c, of, middle, half) {
  if (!data.wave) return;
  const pieces = data.wave.low.length, w = (xOf(data.wave.seconds) - xOf(0)) / pieces;
  const peak = data.wave.low.reduce((most, v, i) => Math.max(most, -v, data.wave.high[i]), 1) / 0.85;
  c.save();
  if (of.speaks) {
    c.beginPath();
    for (const [begin, end] of of.speaks) c.rect(xOf(begin), middle - half, xOf(end) - xOf(begin), 2 * half);
    c.clip();
  }
  c.fillStyle = css('--wave');
  for (let i = 0; i < pieces; i++) {
    const top = middle - half * data.wave.high[i] / peak, low = middle - half * data.wave.low[i] / peak;
    c.fillRect(xOf(0) + i * w, top, Math.max(w, 0.6), Math.max(low - top, 0.8));
  }
  c.restore();
}

// Where others are heard, or nobody: between a person's own turns.
function unheard(of) {
  if (!of.speaks) return [];
  const ends = [0, ...of.speaks.map(turn => turn[1])], begins = [...of.speaks.map(turn => turn[0]), length];
  return ends.map((end, k) => [Math.max(...ends.slice(0, k + 1)), begins[k]]).filter(([begin, end]) => begin < end);
}

// Steps without a face, or thin and leaning to the left without the voice: stripes, so that sound and traces stay
// visible on them.
function hatch(c, left, top, right, bottom, thin = false) {
  c.save();
  c.beginPath(); c.rect(left, top, right - left, bottom - top); c.clip();
  c.strokeStyle = css('--lost');
  c.lineWidth = thin ? 1.2 : 3;
  const [from, to] = thin ? [top, bottom] : [bottom, top];
  c.beginPath();
  for (let x = left - (bottom - top); x < right; x += 9) { c.moveTo(x, from); c.lineTo(x + bottom - top, to); }
  c.stroke();
  c.restore();
}

// From half below to half above the values, inside of the plot.
function shade(c, values, half, yOf, top, bottom, colour) {
  const inside = v => Math.max(top, Math.min(bottom, yOf(v)));
  c.beginPath();
  values.forEach((v, k) => c.lineTo(xOf((k + 0.5) * STEP), inside(v + half)));
  for (let k = values.length - 1; k >= 0; k--) c.lineTo(xOf((k + 0.5) * STEP), inside(values[k] - half));
  c.closePath();
  [c.fillStyle, c.globalAlpha] = [colour, 0.14];
  c.fill();
  c.globalAlpha = 1;
}

// A line that is dotted in the first `held` steps, which repeat the first value of a shifted trace.
function line(c, values, yOf, width, held) {
  const draw = (first, end) => {
    c.beginPath();
    for (let k = first; k < Math.min(end, values.length); k++) c.lineTo(xOf((k + 0.5) * STEP), yOf(values[k]));
    c.stroke();
  };
  c.lineWidth = width;
  draw(held, values.length);
  if (!held) return;
  c.save();
  c.setLineDash([1.5, 4]);
  draw(0, held + 1);
  c.restore();
}

// ---- the valence–arousal plane
const plane = element('plane');
let ground = null;  // all that does not move

function drawPlane(step) {
  if (!plane) return;
  ground = ground || drawGround();
  if (!ground) return;  // not laid out yet
  const { context: c, width } = prepared(plane);
  c.drawImage(ground, 0, 0, width, width);
  const [x, y] = planeAxes(width);
  c.lineCap = 'round';
  for (const of of people) {
    const v = shown('valence', of), a = shown('arousal', of);
    c.strokeStyle = ownColour(of);
    for (let k = Math.max(1, step - TAIL + 1); k <= step; k++) {
      const age = (step - k) / TAIL;
      c.globalAlpha = 0.85 * (1 - age) ** 1.6;
      c.lineWidth = 1 + 3 * (1 - age);
      c.beginPath(); c.moveTo(x(v[k - 1]), y(a[k - 1])); c.lineTo(x(v[k]), y(a[k])); c.stroke();
    }
    c.globalAlpha = 1;
    [c.fillStyle, c.strokeStyle, c.lineWidth] = [ownColour(of), css('--card'), 2];
    c.beginPath(); c.arc(x(v[step]), y(a[step]), several ? 9 : 7, 0, 2 * Math.PI); c.fill(); c.stroke();
    if (!several) continue;
    [c.fillStyle, c.textAlign, c.textBaseline] = [css('--card'), 'center', 'middle'];
    c.fillText(of.number, x(v[step]), y(a[step]) + 0.5);
  }
}

function planeAxes(width) {
  const middle = width / 2, half = width / 2 - 26;
  return [v => middle + half * v / limit, a => middle - half * a / limit];
}

function drawGround() {
  const canvas = plane.cloneNode();
  const { context: c, width } = prepared(plane);
  if (!width) return null;
  const [x, y] = planeAxes(width);
  c.strokeStyle = css('--grid');
  for (const part of [-1, -0.5, 0.5, 1]) {
    c.beginPath();
    c.moveTo(x(part * limit), y(-limit)); c.lineTo(x(part * limit), y(limit));
    c.moveTo(x(-limit), y(part * limit)); c.lineTo(x(limit), y(part * limit));
    c.stroke();
  }
  c.strokeStyle = css('--soft');
  c.globalAlpha = 0.6;
  c.beginPath();
  c.moveTo(x(0), y(-limit)); c.lineTo(x(0), y(limit)); c.moveTo(x(-limit), y(0)); c.lineTo(x(limit), y(0));
  c.stroke();
  // Where the whole clip has been.
  c.globalAlpha = Math.max(0.03, Math.min(0.25, 40 / steps));
  for (const of of people) {
    c.fillStyle = several ? ownColour(of) : css('--soft');
    const a = shown('arousal', of);
    shown('valence', of).forEach((v, k) => { c.beginPath(); c.arc(x(v), y(a[k]), 2, 0, 7); c.fill(); });
  }
  c.globalAlpha = 1;
  c.fillStyle = css('--soft');
  c.textAlign = 'center';
  c.fillText('excited', width / 2, 17);
  c.fillText('calm', width / 2, width - 9);
  for (const [text, place, turn] of [['unpleasant', 14, -1], ['pleasant', width - 14, 1]]) {
    c.save();
    c.translate(place, width / 2);
    c.rotate(turn * Math.PI / 2);
    c.textBaseline = 'middle';
    c.fillText(text, 0, 0);
    c.restore();
  }
  c.textAlign = 'right';
  c.fillText('±' + limit, x(limit) - 6, y(-limit) - 6);
  canvas.width = canvas.height = plane.width;
  canvas.getContext('2d').drawImage(plane, 0, 0);
  return canvas;
}

// ---- the faces that the network saw, and their boxes in the picture
const seen = people.map(() => ({ shown: -1, pictures: new Map() }));

function drawFace(of, k, step) {
  if (!of.crops) return;
  const crop = element('crop-' + k), lost = of.found[step] === 0;
  element('seen-' + k).classList.toggle('lost', lost);
  element('confidence-' + k).textContent = lost ? 'no face' : 'confidence ' + of.found[step].toFixed(2);
  const box = element('box-' + k);
  if (box) {
    const place = playable && !lost && of.boxes.slice(3 * step, 3 * step + 3), [w, h] = data.frame_size;
    box.style.display = place ? 'block' : 'none';
    if (place) {
      const shares = { left: place[0] / w, top: place[1] / h, width: place[2] / w, height: place[2] / h };
      for (const [side, share] of Object.entries(shares)) box.style[side] = 100 * share + '%';
    }
  }
  const wanted = of.crops.index[Math.floor(step / of.crops.every)];
  if (wanted === seen[k].shown) return;
  seen[k].shown = wanted;
  let picture = seen[k].pictures.get(wanted);
  if (!picture) {
    picture = new Image();
    picture.src = 'data:image/jpeg;base64,' + of.crops.images[wanted];
    seen[k].pictures.set(wanted, picture);
  }
  picture.decode().then(() => {
    if (seen[k].shown !== wanted) return;  // the clip has moved on meanwhile
    // The network sees the centre, at its own size.
    const size = of.crops.size, side = picture.width / of.crops.zoom, edge = (picture.width - side) / 2;
    crop.width = crop.height = size;
    const c = crop.getContext('2d');
    c.imageSmoothingQuality = 'high';
    c.drawImage(picture, edge, edge, side, side, 0, 0, size, size);
  });
}

// ---- everything that follows the clock
function follow() {
  const t = now(), step = stepAt(t);
  element('cursor').style.left = xOf(t) + 'px';
  element('time').textContent = clock(t) + ' / ' + clock(length);
  element('plot').setAttribute('aria-valuenow', t.toFixed(2));
  const said = of => names.map(n => n + ' ' + signed(shown(n, of)[step])).join(', ');
  element('plot').setAttribute('aria-valuetext',
    people.map(of => (several ? 'person ' + of.number + ': ' : '') + said(of)).join('; '));
  for (const of of people) for (const name of names) {
    const value = element('value-' + name + (several ? '-' + of.number : ''));
    if (value) value.textContent = signed(shown(name, of)[step]);
  }
  drawPlane(step);
  people.forEach((of, k) => drawFace(of, k, step));
}

function redraw() {
  ground = null;
  drawTraces();
  follow();
}

function run() {
  follow();
  if (playable && !media.paused) requestAnimationFrame(run);
}

if (media) {
  media.addEventListener('play', () => { element('play').textContent = 'Pause'; run(); });
  media.addEventListener('pause', () => { element('play').textContent = 'Play'; follow(); });
  media.addEventListener('error', refused);
  for (const event of ['seeked', 'timeupdate', 'loadedmetadata']) media.addEventListener(event, follow);
  if (media.error) refused();
  const screen = element('screen');
  if (screen) screen.addEventListener('click', toggle);
}
element('play').addEventListener('click', toggle);

const plot = element('plot');
const seekTo = event => {
  const { left, width } = plot.getBoundingClientRect();
  seek(length * (event.clientX - left - PLOT.left) / (width - PLOT.left - PLOT.right));
};
plot.addEventListener('pointerdown', event => { plot.setPointerCapture(event.pointerId); seekTo(event); });
plot.addEventListener('pointermove', event => { if (plot.hasPointerCapture(event.pointerId)) seekTo(event); });

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(SUMMARY|A|INPUT)$/.test(event.target.tagName)) return;
  const far = event.shiftKey ? 5 : 1;
  const act = { ' ': toggle, ArrowLeft: () => seek(now() - far), ArrowRight: () => seek(now() + far),
    Home: () => seek(0), End: () => seek(length) }[event.key];
  if (!act) return;
  event.preventDefault();  // the page must not scroll, nor a focused button be pressed too
  act();
});
// A button acts on the release of the space bar.
element('play').addEventListener('keyup', event => { if (event.key === ' ') event.preventDefault(); });

window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
const resized = new ResizeObserver(redraw);
for (const canvas of [traces, plane]) if (canvas) resized.observe(canvas);
redraw();
