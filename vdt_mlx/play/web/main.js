// The page: the scene, the wish that goes to the server, and what comes back.

import { bitmap, dream, get, getBlob, post, sendVideo } from './api.js';
import { Player, still } from './film.js';
import { Model, throwIt } from './scene.js';
import { Stage } from './stage.js';
import { openTour } from './tour.js';

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const page = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
const about = await get('api/about');
const model = new Model();
let seed = 0;
let number = 0;
/** @type {string | null} */ let video = null;
/** @type {AbortController | null} */ let running = null;
/** @type {any} */ let truthTold = null;
const score = { asked: 0, you: 0, model: 0 };
let first = true;

const stage = new Stage($('stage'), model, () => { video = null; request(); });
const player = new Player(
  { truth: $('truth'), dream: $('dream'), strip: $('strip'), errors: $('errors'), clock: $('clock'), text: $('clock-text'), button: $('playpause'), screens: $('screens') },
  about, () => { $('task').value = ''; request(); });
model.onChange = () => { stage.draw(); showThings(); };

// ---- the scene's controls

for (const { name, title } of about.presets) $('preset').append(new Option(title, name));
$('preset').addEventListener('change', () => { number = 0; load($('preset').value); });
$('another').addEventListener('click', () => { number += 1; load($('preset').value); });
$('undo').addEventListener('click', () => { model.undo(); request(); });
$('redo').addEventListener('click', () => { model.redo(); request(); });
$('delete').addEventListener('click', () => { model.remove(); request(); });
document.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== 'z') return;
  event.preventDefault();
  if (event.shiftKey) model.redo(); else model.undo();
  request();
});
for (const button of document.querySelectorAll('[data-add]')) {
  button.addEventListener('click', () => { model.add(/** @type {HTMLElement} */ (button).dataset.add ?? 'ball'); $('stage').focus(); request(); });
}
for (const button of document.querySelectorAll('[data-role]')) {
  button.addEventListener('click', () => { model.setRole(/** @type {HTMLElement} */ (button).dataset.role ?? ''); request(); });
}
for (const key of ['elasticity', 'friction', 'density']) {
  slide($(key), () => { const body = model.chosen; if (body) /** @type {any} */ (body)[key] = Number($(key).value); });
}
for (const key of ['speed', 'heading']) {
  slide($(key), () => {
    const angle = Number($('heading').value) * Math.PI / 180;
    const speed = Number($('speed').value);
    if (model.chosen) throwIt(model.chosen, [speed * Math.cos(angle), speed * Math.sin(angle)]);
  });
}
slide($('gravity'), () => { model.scene.gravity = Number($('gravity').value); });

/** @param {HTMLInputElement} input @param {() => void} change */
function slide(input, change) {
  let begun = false;
  input.addEventListener('input', () => { if (!begun) model.mark(); begun = true; change(); model.onChange(); });
  input.addEventListener('change', () => { begun = false; request(); });
}

function showThings() {
  const { bodies, gravity } = model.scene;
  $('things').replaceChildren(...bodies.filter((body) => body.role !== 'static' || !body.name.startsWith('ground')).map((body) => {
    const button = document.createElement('button');
    button.textContent = body.name;
    button.setAttribute('role', 'option');
    button.setAttribute('aria-selected', String(body.name === model.selected));
    button.style.setProperty('--c', `rgb(${body.colour.join(',')})`);
    button.addEventListener('click', () => { model.selected = body.name; model.onChange(); $('stage').focus(); });
    return button;
  }));
  $('undo').disabled = !model.past.length;
  $('redo').disabled = !model.future.length;
  write($('gravity'), gravity, `${gravity.toFixed(1)} m/s²`);
  const body = model.chosen;
  $('inspector').hidden = !body;
  if (!body) return;
  $('inspector-title').textContent = body.name;
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll('[data-role]'))) {
    button.setAttribute('aria-pressed', String(button.dataset.role === body.role));
    button.disabled = body.fixed;
  }
  write($('elasticity'), body.elasticity, body.elasticity.toFixed(2));
  write($('friction'), body.friction, body.friction.toFixed(2));
  write($('density'), body.density, `${body.density.toFixed(1)} kg/m²`);
  const [u, v] = body.parts[0].velocity;
  write($('speed'), Math.hypot(u, v), `${Math.hypot(u, v).toFixed(1)} m/s`);
  const angle = Math.hypot(u, v) ? Math.atan2(v, u) * 180 / Math.PI : Number($('heading').value);
  write($('heading'), angle, `${Math.round(angle)}°`);
  for (const key of ['speed', 'heading']) $(key).disabled = body.fixed;
}

/** @param {HTMLInputElement} input @param {number} value @param {string} text */
function write(input, value, text) {
  if (document.activeElement !== input) input.value = String(value);
  const output = /** @type {HTMLElement} */ (input.nextElementSibling);
  if (output) output.textContent = text;
}

// ---- dreaming

let timer = 0;
/** Asks for the truth and the dream of what is on the page, shortly: quick changes make one request. */
function request() {
  clearTimeout(timer);
  timer = window.setTimeout(() => run().catch(say), 30);
}

async function run() {
  running?.abort();
  const mine = running = new AbortController();
  $('again').classList.add('busy');
  try {
    if (!video) {
      const told = await post('api/simulate', { scene: model.scene }, mine.signal);
      stage.faulty = new Map(told.faults.map((/** @type {any} */ fault) => [fault.body, fault.text]));
      $('faults').textContent = told.faults.map((/** @type {any} */ fault) => fault.body ? `${fault.body}: ${fault.text}` : fault.text).join(' ');
      stage.draw();
      if (told.faults.length) return;
      truthTold = told;
      player.truth = { frames: await bitmap(told.frames), paths: told.paths };
    } else $('faults').textContent = '';
    const asks = !first && !video && $('ask').checked && truthTold?.touch !== null && isPrediction();
    player.dreams = [];
    player.hold = asks;
    $('question').hidden = !asks;
    player.show(0);
    player.drawStrip();
    if (!mine.signal.aborted) await receive(mine);
    first = false;
  } catch (error) {
    if (/** @type {Error} */ (error).name !== 'AbortError') throw error;
  } finally {
    if (running === mine) $('again').classList.remove('busy');
  }
}

/** @param {AbortController} mine */
async function receive(mine) {
  const count = Number($('futures').value);
  const wish = {
    page, scene: video ? null : model.scene, video, mask: player.mask(),
    seeds: [...Array(count)].map((_, index) => seed + index),
    sampler: $('sampler').value || null, steps: $('steps').value ? Number($('steps').value) : null,
  };
  const began = performance.now();
  await dream(wish, async (event) => {
    if (mine.signal.aborted) return;
    if (event.type === 'error') say(new Error(event.error));
    if (event.type === 'queued' && event.ahead) $('status').textContent = `${event.ahead} dreams are before this one.`;
    if (event.type === 'step') {
      $('status').textContent = `Dreaming: ${event.calls} network calls, ${event.ms} ms.`;
      const frames = await bitmap(event.preview);
      if (mine.signal.aborted || player.dreams.length) return;
      player.dreams = [{ frames, paths: [], errors: event.errors }];
      player.draw();
      player.drawStrip();
      if (!player.hold) player.drawErrors([event.errors]);
      player.dreams = [];
    }
    if (event.type === 'done') await show(event, Math.round(performance.now() - began), mine);
  }, mine.signal);
}

/** @param {any} event @param {number} waited @param {AbortController} mine */
async function show(event, waited, mine) {
  const films = await Promise.all(event.dreams.map(async (/** @type {any} */ one) => ({ ...one, frames: await bitmap(one.frames) })));
  if (mine.signal.aborted) return;
  player.dreams = films;
  player.shown = Math.min(player.shown, films.length - 1);
  document.body.dataset.dreamt = String(Number(document.body.dataset.dreamt ?? 0) + 1);
  const final = films[player.shown].errors.filter((/** @type {number | null} */ value) => value !== null).pop();
  document.body.dataset.error = String(final ?? '');
  const answer = () => {
    const told = event.touch === null ? '' : ` Touch: truth ${event.touch ? 'yes' : 'no'}, dream ${said(films[player.shown].touch)}.`;
    const off = final === undefined ? '' : ` In the last frame the dream is ${final.toFixed(1)} px from the truth.`;
    $('status').textContent = `${event.calls} network calls, ${waited} ms.${off}${told}`;
    player.drawErrors(films.map((film) => film.errors), player.shown);
    player.draw();
    player.drawStrip();
    showFan(films);
  };
  if (player.hold) {
    $('status').textContent = 'The dream is ready. What do you think?';
    pending = { answer, touch: event.touch, dreamt: films[0].touch };
  } else {
    if (still.matches) player.show(about.frames - 1);
    answer();
  }
}

/** @type {{answer: () => void, touch: boolean, dreamt: boolean | null} | null} */
let pending = null;
for (const button of document.querySelectorAll('[data-guess]')) {
  button.addEventListener('click', () => {
    const guess = /** @type {HTMLElement} */ (button).dataset.guess;
    const reveal = () => {
      const now = pending;
      if (!now) return false;
      pending = null;
      if (guess !== 'skip') {
        score.asked += 1;
        score.you += Number((guess === 'yes') === now.touch);
        score.model += Number(now.dreamt === now.touch);
        $('score-you').textContent = `${score.you} of ${score.asked}`;
        $('score-model').textContent = `${score.model} of ${score.asked}`;
      }
      player.hold = false;
      if (still.matches) player.show(about.frames - 1);
      now.answer();
      return true;
    };
    $('question').hidden = true;
    if (reveal()) return;
    const wait = setInterval(() => { if (reveal() || !player.hold) clearInterval(wait); }, 50);
  });
}

/** @param {boolean | null} touch */
const said = (touch) => touch === null ? 'unclear' : touch ? 'yes' : 'no';
const isPrediction = () => { const end = player.given.indexOf(false); return end > 0 && !player.given.slice(end).includes(true) && !player.hole.size; };

/** @param {any[]} films */
function showFan(films) {
  $('fan').replaceChildren(...(films.length < 2 ? [] : films.map((film, index) => {
    const button = document.createElement('button');
    const last = film.errors.filter((/** @type {number | null} */ value) => value !== null).pop();
    button.textContent = `future ${index + 1}${last === undefined ? '' : `: ${last.toFixed(1)} px`}`;
    button.setAttribute('role', 'radio');
    button.setAttribute('aria-checked', String(index === player.shown));
    button.addEventListener('click', () => {
      player.shown = index;
      player.drawErrors(films.map((one) => one.errors), index);
      player.draw();
      player.drawStrip();
      showFan(films);
    });
    return button;
  })));
}

/** @param {unknown} error */
function say(error) { $('status').textContent = /** @type {Error} */ (error).message ?? String(error); }

// ---- which frames are given

$('task').addEventListener('change', () => {
  const { frames } = about;
  const count = Number($('given').value);
  const one = Math.floor(Math.random() * frames);
  /** @type {Record<string, (index: number) => boolean>} */
  const rules = {
    predict: (index) => index < count, backward: (index) => index >= frames - count,
    interpolate: (index) => index % 4 === 0, unconditional: () => false, 'single-frame': (index) => index === one,
    arbitrary: () => Math.random() < 0.2, spatial: () => true,
  };
  const rule = rules[$('task').value];
  player.given = player.given.map((_, index) => rule(index));
  player.hole.clear();
  if ($('task').value === 'spatial') {
    const [rows, columns] = about.cells;
    for (let row = 2; row < rows - 2; row += 1) for (let column = 2; column < columns - 2; column += 1) player.hole.add(row * columns + column);
  }
  player.drawStrip();
  request();
});
$('given').max = String(Math.min(12, about.frames - 1));
$('given').value = String(about.given);
$('given').addEventListener('input', () => { $('given').nextElementSibling.textContent = $('given').value; });
$('given').addEventListener('change', () => { $('task').value = 'predict'; $('task').dispatchEvent(new Event('change')); });
$('hole').addEventListener('click', () => {
  player.painting = !player.painting;
  if (!player.painting && player.hole.size) { player.hole.clear(); request(); }
  $('hole').setAttribute('aria-pressed', String(player.painting));
  $('hole').textContent = player.painting ? 'Remove the hole' : 'Paint a hole';
  $('truth').classList.toggle('painting', player.painting);
  player.draw();
  if (player.painting) $('status').textContent = 'Paint on the truth what the model is not to see.';
});
for (const key of ['futures', 'sampler', 'steps']) $(key).addEventListener('change', request);
$('again').addEventListener('click', () => { seed += Number($('futures').value); request(); });
for (const button of document.querySelectorAll('[data-view]')) {
  button.addEventListener('click', () => {
    player.view = /** @type {HTMLElement} */ (button).dataset.view ?? 'side';
    for (const other of document.querySelectorAll('[data-view]')) other.setAttribute('aria-checked', String(other === button));
    $('screens').className = player.view === 'side' ? 'side' : 'one';
    $('dream-name').textContent = { side: 'dream', ghosts: 'truth, with the dream as its ghost', difference: 'what differs' }[player.view] ?? '';
    player.draw();
  });
}
$('trails').addEventListener('change', () => { player.trails = $('trails').checked; player.draw(); });

// ---- keep and share

for (const button of document.querySelectorAll('[data-keep]')) {
  button.addEventListener('click', () => keep(/** @type {HTMLElement} */ (button).dataset.keep ?? '').catch(say));
}
/** @param {string} kind */
async function keep(kind) {
  if (kind === 'link') {
    const link = `${location.origin}/#${await pack(model.scene)}`;
    await navigator.clipboard?.writeText(link).catch(() => {});
    history.replaceState(null, '', link);
    $('status').textContent = 'The link is in the address bar, and copied where the browser allows it.';
    return;
  }
  const blob = kind === 'json'
    ? new Blob([JSON.stringify(model.scene, null, 1)], { type: 'application/json' })
    : await getBlob(`api/download/${kind}?page=${page}`);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = kind === 'json' ? 'scene.json' : `dream.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  if (kind === 'json') $('status').textContent = 'Saved. On a command line: vdt-mlx sample --scene scene.json';
}
$('open').addEventListener('change', () => { const file = $('open').files[0]; $('open').value = ''; if (file) open(file).catch(say); });
for (const kind of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle('dropping', kind === 'dragover');
    const file = kind === 'drop' ? /** @type {DragEvent} */ (event).dataTransfer?.files[0] : null;
    if (file) open(file).catch(say);
  });
}
/** @param {File} file */
async function open(file) {
  if (file.name.endsWith('.json')) {
    let scene;
    try { scene = JSON.parse(await file.text()); } catch { throw new Error(`${file.name} is not a scene.`); }
    await post('api/simulate', { scene });
    video = null;
    model.replace(scene);
    request();
    return;
  }
  const told = await sendVideo(file);
  video = told.video;
  truthTold = { touch: null };
  player.truth = { frames: await bitmap(told.frames), paths: told.paths };
  await run();
  if (told.warning) $('status').textContent += ` ${told.warning}`;
}

/** @param {unknown} scene */
async function pack(scene) {
  const stream = new Blob([JSON.stringify(scene)]).stream().pipeThrough(new CompressionStream('deflate-raw'));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
/** @param {string} text */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))).text());
}

// ---- the beginning

/** @param {string} name */
async function load(name) {
  try {
    video = null;
    model.replace(await get(`api/preset/${name}/${number}`));
    request();
  } catch (error) { say(error); }
}

$('model-name').textContent = `model: ${about.model}, ${about.frames} frames of ${about.size} × ${about.size}`;
$('tour-open').addEventListener('click', openTour);
$('preset').value = about.first;
if (location.hash.length > 1) {
  try {
    const scene = await unpack(location.hash.slice(1));
    await post('api/simulate', { scene });
    model.replace(scene);
    request();
  } catch { say(new Error('The link holds no scene that can be read.')); await load(about.first); }
} else await load(about.first);
model.past = [];
showThings();
if (!localStorage.getItem('toured')) openTour();
