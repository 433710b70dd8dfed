// The page: the scene, the wish that goes to the server, and what comes back.

import { bitmap, dream, get, getBlob, post, sendVideo } from './api.js';
import { Player, still } from './film.js';
import { Inspector } from './inspector.js';
import { Model } from './scene.js';
import { pack, save, unpack } from './share.js';
import { Stage } from './stage.js';
import { openTour } from './tour.js';

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
/** @type {string} */
const page = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
/** @type {import('./types.js').Known} */
const about = JSON.parse($('known').textContent);
const model = new Model();
let seed = 0;
let number = 0;
/** @type {string | null} */ let video = null;
/** @type {AbortController | null} */ let running = null;
/** @type {boolean | null} */ let truthTouches = null;
let kept = page; // the name under which the server keeps the dream that is shown
const score = { asked: 0, you: 0, model: 0 };
let first = true;

const stage = new Stage($('stage'), model, () => { video = null; request(); });
const player = new Player(
  {
    truth: $('truth'), dream: $('dream'), strip: $('strip'), errors: $('errors'),
    clock: $('clock'), text: $('clock-text'), button: $('playpause'),
  },
  about, () => { nameTask(); request(); }, (text) => { $('status').textContent = text; });
const inspector = new Inspector(model, request);
model.onChange = () => { stage.draw(); inspector.show(); };

// ---- the scene's controls

for (const group of new Set(about.presets.map((preset) => preset.group))) {
  const options = document.createElement('optgroup');
  options.label = group;
  options.append(...about.presets.filter((preset) => preset.group === group).map(({ name, title }) => new Option(title, name)));
  $('preset').append(options);
}
for (const name of about.samplers) $('sampler').append(new Option(name, name));
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
  button.addEventListener('click', () => {
    model.add(/** @type {HTMLElement} */ (button).dataset.add ?? 'ball');
    $('stage').focus();
    request();
  });
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
      $('out-box').classList.toggle('stale', told.faults.length > 0);
      if (told.faults.length) {
        $('status').textContent = 'This is an older scene: the one that is drawn now cannot be simulated yet.';
        return;
      }
      await showTruth(told);
    } else {
      $('faults').textContent = '';
      $('out-box').classList.remove('stale');
    }
    const asks = !first && !video && $('ask').checked && truthTouches !== null && isPrediction();
    player.dreams = [];
    player.hold = asks;
    $('question').hidden = !asks;
    if (asks) player.drawErrors([]); // an older curve may tell the answer
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

/** @param {import('./types.js').Truth} told */
async function showTruth(told) {
  truthTouches = told.touch;
  player.truth = { frames: await bitmap(told.frames), paths: told.paths };
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
    if (event.type === 'done') await show(event, `${Math.round(performance.now() - began)} ms`, mine.signal);
  }, mine.signal);
}

/** @param {import('./types.js').Done} event @param {string} waited @param {AbortSignal} [signal] */
async function show(event, waited, signal) {
  const films = await Promise.all(event.dreams.map(async (one) => ({ ...one, frames: await bitmap(one.frames) })));
  if (signal?.aborted) return;
  player.dreams = films;
  player.shown = Math.min(player.shown, films.length - 1);
  if (signal) kept = page;
  document.body.dataset.dreamt = String(Number(document.body.dataset.dreamt ?? 0) + 1);
  const final = lastError(films[player.shown]);
  document.body.dataset.error = String(final ?? '');
  const answer = () => {
    const told = event.touch === null ? '' : ` Touch: truth ${event.touch ? 'yes' : 'no'}, dream ${said(films[player.shown].touch)}.`;
    const off = final === undefined ? '' : ` In the last frame the dream is ${final.toFixed(1)} px from the truth.`;
    $('status').textContent = `${event.calls} network calls, ${waited}.${off}${told}`;
    player.drawErrors(films.map((film) => film.errors), player.shown);
    player.draw();
    player.drawStrip();
    showFan(films);
  };
  if (player.hold) {
    $('status').textContent = 'The dream is ready. What do you think?';
    pending = { answer, touch: event.touch === true, dreamt: films[0].touch };
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
const isPrediction = () => {
  const end = player.given.indexOf(false);
  return end > 0 && !player.given.slice(end).includes(true) && !player.holes.any;
};

/** In the last frame in which the truth shows anything. @param {{errors: (number | null)[]}} film */
const lastError = (film) => film.errors.filter((value) => value !== null).pop();

/** @param {(import('./film.js').Film & {errors: (number | null)[]})[]} films */
function showFan(films) {
  $('fan').replaceChildren(...(films.length < 2 ? [] : films.map((film, index) => {
    const button = document.createElement('button');
    const last = lastError(film);
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
  player.holes.clear();
  if ($('task').value === 'spatial') player.holes.middle();
  player.drawStrip();
  request();
});
/** Says which task the given frames are, where they were chosen by hand. */
function nameTask() {
  $('task').value = isPrediction() ? 'predict' : '';
  if (isPrediction()) $('given').value = String(player.given.indexOf(false));
  $('given').nextElementSibling.textContent = $('given').value;
}

$('given').max = String(Math.min(12, about.frames - 1));
$('given').value = String(about.given);
$('given').addEventListener('input', () => { $('given').nextElementSibling.textContent = $('given').value; });
$('given').addEventListener('change', () => { $('task').value = 'predict'; $('task').dispatchEvent(new Event('change')); });
$('hole').addEventListener('click', () => {
  const on = !player.holes.painting;
  player.holes.paint(on);
  $('hole').setAttribute('aria-pressed', String(on));
  $('hole-bar').hidden = !on;
  if (on && player.view !== 'side') document.querySelector('[data-view="side"]')?.dispatchEvent(new Event('click'));
  if (on) $('truth').focus({ preventScroll: true });
  player.draw();
});
choose('hole', (name) => {
  player.holes.everywhere = name === 'every';
  if (!player.holes.everywhere) player.play(false);
});
$('hole-clear').addEventListener('click', () => {
  player.holes.clear();
  player.draw();
  player.drawStrip();
  nameTask();
  request();
});

/** Buttons of which one is chosen. @param {string} key @param {(name: string) => void} change */
function choose(key, change) {
  const buttons = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[data-${key}]`));
  for (const button of buttons) {
    button.addEventListener('click', () => {
      for (const other of buttons) other.setAttribute('aria-checked', String(other === button));
      change(button.dataset[key] ?? '');
    });
  }
}
for (const key of ['futures', 'sampler', 'steps']) $(key).addEventListener('change', request);
$('again').addEventListener('click', () => { seed += Number($('futures').value); request(); });
choose('view', (name) => {
  player.view = name;
  $('screens').className = name === 'side' ? 'side' : 'one';
  $('dream-name').textContent = {
    side: 'dream', ghosts: 'truth, with the dream as its ghost', difference: 'what differs, four times as strong',
  }[name] ?? '';
  player.draw();
});
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
  if (kind === 'json') {
    save(new Blob([JSON.stringify(model.scene, null, 1)], { type: 'application/json' }), 'scene.json');
  } else save(await getBlob(`api/download/${kind}?page=${kept}`), `dream.${kind}`);
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
  await showTruth({ ...told, touch: null });
  await run();
  if (told.warning) $('status').textContent += ` ${told.warning}`;
}

// ---- the beginning

/** @param {string} name */
async function load(name) {
  try {
    video = null;
    const { scene, note } = await get(`api/preset/${name}/${number}`);
    model.replace(scene);
    showNote(note);
    request();
  } catch (error) { say(error); }
}

$('model-name').textContent = `model: ${about.model}, ${about.frames} frames of ${about.size} × ${about.size}`;
$('tour-open').addEventListener('click', openTour);
$('preset').value = about.preset;

/** @param {string} text */
function showNote(text) {
  $('note').textContent = text;
  $('note').hidden = !text;
}

/** What the page begins with: the scene in its address, or a dream that was made before anybody came. */
async function begin() {
  if (location.hash.length > 1) {
    try {
      const scene = await unpack(location.hash.slice(1));
      await post('api/simulate', { scene });
      model.replace(scene);
      request();
      return;
    } catch { say(new Error('The link holds no scene that can be read.')); }
  }
  if (!about.first) { await load(about.preset); return; }
  const { scene, truth, dream: done } = about.first;
  model.replace(scene);
  await showTruth(truth);
  kept = 'first';
  await show(done, `${done.ms} ms, when the playground started`);
  first = false;
  performance.mark('dreamt');
}

await begin();
model.past = [];
inspector.show();
if (!localStorage.getItem('toured')) openTour();
