// The list of things, and the sliders of the chosen one.

import { area, throwIt } from './scene.js';

/** @param {string} id @returns {HTMLElement} */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ ($(id));
/** @param {string} id */
const button = (id) => /** @type {HTMLButtonElement} */ ($(id));

export class Inspector {
  /** @param {import('./scene.js').Model} model @param {() => void} onRelease the scene has changed and may be dreamt */
  constructor(model, onRelease) {
    this.model = model;
    this.onRelease = onRelease;
    const value = (/** @type {string} */ id) => Number(input(id).value);
    this.#slide('elasticity', (body) => { body.elasticity = value('elasticity'); });
    this.#slide('friction', (body) => { body.friction = value('friction'); });
    this.#slide('mass', (body) => { body.density = value('mass') / area(body); });
    for (const id of ['speed', 'heading']) {
      this.#slide(id, (body) => {
        const angle = value('heading') * Math.PI / 180;
        throwIt(body, [value('speed') * Math.cos(angle), value('speed') * Math.sin(angle)]);
      });
    }
    this.#slide('gravity', () => { model.scene.gravity = value('gravity'); }, false);
    for (const role of this.#roles()) {
      role.addEventListener('click', () => { model.setRole(role.dataset.role ?? ''); onRelease(); });
    }
  }

  #roles() { return /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll('[data-role]')); }

  /**
   * @param {string} id @param {(body: import('./scene.js').Body) => void} change
   * @param {boolean} [ofBody] whether it is a property of the chosen thing
   */
  #slide(id, change, ofBody = true) {
    let begun = false;
    input(id).addEventListener('input', () => {
      const body = this.model.chosen;
      if (ofBody && !body) return;
      if (!begun) this.model.mark();
      begun = true;
      change(/** @type {import('./scene.js').Body} */ (body));
      this.model.onChange();
    });
    input(id).addEventListener('change', () => { begun = false; this.onRelease(); });
  }

  show() {
    const { model } = this;
    const { bodies, gravity } = model.scene;
    $('things').replaceChildren(...bodies.filter((body) => body.role !== 'static' || !body.name.startsWith('ground')).map((body) => {
      const entry = document.createElement('button');
      entry.textContent = body.name;
      entry.setAttribute('role', 'option');
      entry.setAttribute('aria-selected', String(body.name === model.selected));
      entry.style.setProperty('--c', `rgb(${body.colour.join(',')})`);
      entry.addEventListener('click', () => { model.selected = body.name; model.onChange(); $('stage').focus(); });
      return entry;
    }));
    button('undo').disabled = !model.past.length;
    button('redo').disabled = !model.future.length;
    write('gravity', gravity, `${gravity.toFixed(1)} m/s²`);
    const body = model.chosen;
    $('inspector').hidden = !body;
    if (body) this.#showBody(body);
  }

  /** @param {import('./scene.js').Body} body */
  #showBody(body) {
    $('inspector-title').textContent = body.name;
    for (const role of this.#roles()) {
      role.setAttribute('aria-pressed', String(role.dataset.role === body.role));
      role.disabled = body.fixed;
    }
    write('elasticity', body.elasticity, body.elasticity.toFixed(2));
    write('friction', body.friction, body.friction.toFixed(2));
    const size = area(body);
    // From a tenth to five times what a thing of this size weighs at 1 kg/m²; a heavier one widens the slider.
    Object.assign(input('mass'), { min: 0.1 * size, max: Math.max(5, body.density) * size, step: 0.02 * size });
    write('mass', body.density * size, body.fixed ? 'fixed' : `${(body.density * size).toFixed(2)} kg`);
    input('mass').title = `${body.density.toFixed(2)} kg/m² on ${size.toFixed(2)} m²`;
    const [u, v] = body.parts[0].velocity;
    const speed = Math.hypot(u, v);
    write('speed', speed, `${speed.toFixed(1)} m/s`);
    const angle = speed ? Math.atan2(v, u) * 180 / Math.PI : Number(input('heading').value);
    write('heading', angle, `${Math.round(angle)}°`);
    for (const id of ['mass', 'speed', 'heading']) input(id).disabled = body.fixed;
  }
}

/** @param {string} id @param {number} value @param {string} text */
function write(id, value, text) {
  const slider = input(id);
  if (document.activeElement !== slider) slider.value = String(value);
  slider.setAttribute('aria-valuetext', text);
  if (slider.nextElementSibling) slider.nextElementSibling.textContent = text;
}
