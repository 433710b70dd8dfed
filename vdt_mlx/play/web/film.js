// Truth and dream on one clock: the screens, the film strip, the holes, and the error as it grows.

import { Holes } from './holes.js';

/**
 * @typedef {import('./types.js').Paths} Paths
 * @typedef {{frames: ImageBitmap, paths: Paths, errors?: (number | null)[], touch?: boolean | null}} Film
 */

const FPS = 8;
const COLOURS = ['#dc322f', '#b58a00'];
export const still = window.matchMedia('(prefers-reduced-motion: reduce)');

export class Player {
  /**
   * @param {{truth: HTMLCanvasElement, dream: HTMLCanvasElement, strip: HTMLElement, errors: SVGSVGElement,
   *   clock: HTMLInputElement, text: HTMLElement, button: HTMLButtonElement}} parts
   * @param {import('./types.js').About} about
   * @param {() => void} onMask called when frames or holes were changed by hand
   * @param {(text: string) => void} say
   */
  constructor(parts, about, onMask, say) {
    this.parts = parts;
    this.about = about;
    this.onMask = onMask;
    /** @type {Film | null} */ this.truth = null;
    /** @type {Film[]} */ this.dreams = [];
    this.shown = 0;
    this.view = 'side';
    this.trails = true;
    this.hold = false; // until a question is answered, nothing of the answer is shown
    this.frame = 0;
    this.playing = !still.matches;
    /** @type {boolean[]} */
    this.given = [...Array(about.frames)].map((_, index) => index < about.given);
    this.holes = new Holes(parts.truth, about, {
      frame: () => this.frame,
      given: () => this.given,
      redraw: () => { this.draw(); this.drawStrip(); },
      done: onMask,
      say,
    });
    this.last = 0;
    this.#buildStrip();
    parts.clock.max = String(about.frames - 1);
    parts.clock.addEventListener('input', () => { this.play(false); this.show(Number(parts.clock.value)); });
    parts.button.addEventListener('click', () => this.play(!this.playing));
    this.play(this.playing);
    requestAnimationFrame((now) => this.#tick(now));
  }

  // ---- the clock

  /** @param {number} now */
  #tick(now) {
    if (this.playing && now - this.last > 1000 / FPS) {
      this.last = now;
      const end = this.hold ? this.lastGiven() + 1 : this.about.frames;
      // The last frame is held for a moment, so that the end can be seen.
      this.pause = this.frame >= end - 1 ? (this.pause ?? 0) + 1 : 0;
      if (this.frame < end - 1) this.show(this.frame + 1);
      else if (this.pause > 6) { this.pause = 0; this.show(0); }
    }
    requestAnimationFrame((later) => this.#tick(later));
  }

  /** @param {boolean} on */
  play(on) {
    this.playing = on;
    this.parts.button.textContent = on ? 'Pause' : 'Play';
    this.parts.button.setAttribute('aria-label', on ? 'Pause' : 'Play');
  }

  /** @param {number} frame */
  show(frame) {
    if (this.hold) frame = Math.min(frame, this.lastGiven());
    this.frame = frame;
    this.parts.clock.value = String(frame);
    this.parts.text.textContent = `frame ${frame + 1}`;
    this.draw();
    this.#mark();
  }

  lastGiven() { return Math.max(0, this.given.lastIndexOf(true)); }

  // ---- what is on the screens

  draw() {
    const { truth, dream } = this.parts;
    const ours = this.dreams[this.shown];
    paintFrame(truth, this.truth, this.frame, this.about.size);
    if (this.view === 'side') paintFrame(dream, ours ?? null, this.frame, this.about.size);
    else this.#together(dream, ours);
    if (this.trails) {
      if (this.truth) this.#trails(truth, [this.truth], false);
      if (ours) {
        const films = this.view === 'side' ? [ours] : this.dreams;
        this.#trails(dream, films, true);
        if (this.view !== 'side' && this.truth) this.#trails(dream, [this.truth], false);
      }
    }
    if (this.given[this.frame]) this.holes.draw(truth, this.frame);
  }

  /** @param {HTMLCanvasElement} canvas @param {Film | undefined} ours */
  #together(canvas, ours) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    paintFrame(canvas, this.truth, this.frame, this.about.size);
    if (!ours) return;
    context.globalAlpha = this.view === 'ghosts' ? 0.5 : 1;
    context.globalCompositeOperation = this.view === 'difference' ? 'difference' : 'source-over';
    put(context, ours, this.frame, this.about.size);
    context.globalAlpha = 1;
    if (this.view === 'difference') { // twice as strong, twice; and white where nothing differs
      context.globalCompositeOperation = 'lighter';
      for (let i = 0; i < 2; i += 1) context.drawImage(canvas, 0, 0);
      context.globalCompositeOperation = 'difference';
      context.fillStyle = '#fff';
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
    context.globalCompositeOperation = 'source-over';
  }

  /** @param {HTMLCanvasElement} canvas @param {Film[]} films @param {boolean} dashed */
  #trails(canvas, films, dashed) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const scale = canvas.width / this.about.size;
    const end = this.hold ? this.lastGiven() : this.frame;
    context.lineWidth = 2;
    context.setLineDash(dashed ? [5, 4] : []);
    films.forEach((film, place) => film.paths.forEach((path, role) => {
      context.globalAlpha = films.length > 1 && place !== this.shown ? 0.4 : 0.9;
      context.strokeStyle = COLOURS[role];
      context.beginPath();
      let begun = false;
      path.slice(0, end + 1).forEach((point) => {
        if (!point) { begun = false; return; }
        if (begun) context.lineTo(scale * point[0], scale * point[1]);
        else context.moveTo(scale * point[0], scale * point[1]);
        begun = true;
      });
      context.stroke();
    }));
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  /** @param {(number | null)[][]} lines error by frame of every dream, the shown one first @param {number} [shown] */
  drawErrors(lines, shown = 0) {
    const width = 320;
    const height = 96;
    const left = 26;
    const bottom = 80;
    const top = Math.max(1, ...lines.flat().map((value) => value ?? 0));
    /** @param {number} frame */
    const x = (frame) => left + (width - left - 6) * frame / (this.about.frames - 1);
    /** @param {number} value */
    const y = (value) => bottom - (bottom - 10) * value / top;
    const shades = this.given.map((on, frame) => on
      ? `<rect class="given" x="${x(frame - 0.5)}" y="10" width="${x(1) - x(0)}" height="${bottom - 10}"/>` : '').join('');
    const curves = lines.map((line, place) => `<polyline class="line${place === shown ? '' : ' other'}" points="${line
      .map((value, frame) => value === null ? '' : `${x(frame).toFixed(1)},${y(value).toFixed(1)}`).join(' ')}"/>`).join('');
    this.parts.errors.innerHTML = `${shades}<line class="axis" x1="${left}" x2="${width - 6}" y1="${bottom}" y2="${bottom}"/>`
      + `<text x="2" y="14">${top.toFixed(1)} px</text><text x="14" y="${bottom + 3}">0</text>`
      + `<text x="${width / 2}" y="${height - 2}" text-anchor="middle">distance from the truth by frame</text>${curves}`
      + `<line class="now" y1="10" y2="${bottom}"/>`;
    this.#mark();
  }

  #mark() {
    const line = this.parts.errors.querySelector('.now');
    const x = 26 + (320 - 32) * this.frame / (this.about.frames - 1);
    line?.setAttribute('x1', String(x));
    line?.setAttribute('x2', String(x));
    this.parts.strip.querySelectorAll('button').forEach((button, index) => button.classList.toggle('now', index === this.frame));
  }

  // ---- the strip: which frames are given

  #buildStrip() {
    this.parts.strip.replaceChildren(...this.given.map((_, index) => {
      const button = document.createElement('button');
      const canvas = document.createElement('canvas');
      canvas.width = canvas.height = this.about.size;
      button.append(canvas);
      button.addEventListener('click', () => {
        this.given[index] = !this.given[index];
        this.drawStrip();
        this.onMask();
      });
      return button;
    }));
    this.drawStrip();
  }

  drawStrip() {
    this.parts.strip.querySelectorAll('button').forEach((button, index) => {
      const canvas = /** @type {HTMLCanvasElement} */ (button.firstChild);
      const on = this.given[index];
      button.setAttribute('aria-pressed', String(on));
      button.setAttribute('aria-label', `Frame ${index + 1}, ${on ? 'given to the model' : 'dreamt'}`);
      paintFrame(canvas, on ? this.truth : this.dreams[this.shown] && !this.hold ? this.dreams[this.shown] : null, index, this.about.size);
      if (on) this.holes.draw(canvas, index);
    });
  }

  /** One text a frame, a letter a cell, 1 = to be dreamt. */
  mask() {
    const whole = '1'.repeat(this.about.cells[0] * this.about.cells[1]);
    return this.given.map((on, frame) => (on ? this.holes.text(frame) : whole));
  }
}

/** @param {HTMLCanvasElement} canvas @param {Film | null} film @param {number} frame @param {number} size */
function paintFrame(canvas, film, frame, size) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.imageSmoothingEnabled = false;
  context.fillStyle = '#e2e7ed';
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (film) put(context, film, frame, size);
}

/** @param {CanvasRenderingContext2D} context @param {Film} film @param {number} frame @param {number} size */
function put(context, film, frame, size) {
  context.imageSmoothingEnabled = false;
  context.drawImage(film.frames, 0, frame * size, size, size, 0, 0, context.canvas.width, context.canvas.height);
}
