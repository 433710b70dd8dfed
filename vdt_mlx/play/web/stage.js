// The canvas on which the scene is drawn and thrown: drawing, mouse, touch and keys.

import { WORLD, centre, holds, move, reach, resize, throwIt, turn } from './scene.js';

/** @typedef {import('./scene.js').Body} Body @typedef {import('./scene.js').Model} Model */

const ARROW = 0.45; // metres of arrow for 1 m/s

export class Stage {
  /**
   * @param {HTMLCanvasElement} canvas @param {Model} model
   * @param {() => void} onRelease called when a gesture has ended and the scene may be dreamt
   */
  constructor(canvas, model, onRelease) {
    this.canvas = canvas;
    this.model = model;
    this.onRelease = onRelease;
    /** @type {Map<string, string>} what is wrong with a thing */ this.faulty = new Map();
    /** @type {{kind: string, x: number, y: number, moved: boolean} | null} */ this.grip = null;
    canvas.addEventListener('pointerdown', (event) => this.#down(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    canvas.addEventListener('pointerup', () => this.#up());
    canvas.addEventListener('pointercancel', () => this.#up());
    canvas.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener('keydown', (event) => this.#key(event));
    this.wheelTimer = 0;
  }

  // ---- drawing

  draw() {
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext('2d'));
    const side = this.canvas.width;
    const scale = side / WORLD;
    const { scene } = this.model;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = `rgb(${scene.background.join(',') || '226,231,237'})`;
    context.fillRect(0, 0, side, side);
    context.setTransform(scale, 0, 0, -scale, 0, side);
    const order = ['static', 'distractor', 'patient', 'agent'];
    for (const body of [...scene.bodies].sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role))) {
      this.#drawBody(context, body);
    }
    for (const body of scene.bodies) if (!body.fixed) this.#drawArrow(context, body);
    for (const body of scene.bodies) {
      const text = this.faulty.get(body.name);
      if (text) this.#drawLabel(context, body, text);
    }
  }

  /** A sentence beside a thing, inside of the picture. @param {CanvasRenderingContext2D} context @param {Body} body @param {string} text */
  #drawLabel(context, body, text) {
    const side = this.canvas.width;
    const scale = side / WORLD;
    const size = side * 13 / (this.canvas.clientWidth || side); // 13 px of the page
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.font = `${size}px system-ui, sans-serif`;
    context.textBaseline = 'middle';
    context.textAlign = 'center';
    const half = context.measureText(text).width / 2 + 0.6 * size;
    const [x, y] = centre(body);
    const left = Math.min(Math.max(x * scale, half + 2), side - half - 2);
    const top = Math.min(Math.max(side - (y + reach(body)) * scale - 1.2 * size, size), side - size);
    context.fillStyle = '#8c1d18';
    context.beginPath();
    context.roundRect(left - half, top - 0.9 * size, 2 * half, 1.8 * size, 0.4 * size);
    context.fill();
    context.fillStyle = '#fff';
    context.fillText(text, left, top);
    context.setTransform(scale, 0, 0, -scale, 0, side);
  }

  /** @param {CanvasRenderingContext2D} context @param {Body} body */
  #drawBody(context, body) {
    const chosen = body.name === this.model.selected;
    for (const part of body.parts) {
      context.save();
      context.translate(part.position[0], part.position[1]);
      context.rotate(part.angle);
      for (const shape of part.shapes) {
        const path = outline(shape);
        context.fillStyle = `rgb(${body.colour.join(',')})`;
        context.fill(path);
        if (chosen || this.faulty.has(body.name)) {
          context.lineWidth = 0.1;
          context.strokeStyle = this.faulty.has(body.name) ? '#b3261e' : '#0f6b83';
          context.setLineDash(this.faulty.has(body.name) ? [0.25, 0.15] : []);
          context.stroke(path);
          context.setLineDash([]);
        }
        if (shape.kind === 'ball') { // a stripe, so that turning can be seen
          context.fillStyle = '#00000038';
          context.fillRect(-0.9 * (shape.radius ?? 0), -0.06, 1.8 * (shape.radius ?? 0), 0.12);
        }
      }
      context.restore();
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {Body} body */
  #drawArrow(context, body) {
    const [x, y] = centre(body);
    const [u, v] = body.parts[0].velocity;
    const chosen = body.name === this.model.selected;
    if (!u && !v && !chosen) return;
    const [tx, ty] = tip(body);
    const angle = Math.atan2(ty - y, tx - x);
    context.strokeStyle = context.fillStyle = chosen ? '#0f6b83' : '#1d232999';
    context.lineWidth = 0.09;
    context.beginPath();
    if (u || v) { context.moveTo(x, y); context.lineTo(tx, ty); }
    context.stroke();
    context.beginPath();
    if (u || v) {
      for (const turned of [0, 2.5, -2.5]) {
        const far = turned ? 0.32 : 0;
        context.lineTo(tx + far * Math.cos(angle + turned), ty + far * Math.sin(angle + turned));
      }
    } else context.arc(tx, ty, 0.14, 0, 7);
    context.fill();
  }

  // ---- mouse and touch

  /** @param {PointerEvent | WheelEvent} event @returns {[number, number]} */
  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [WORLD * (event.clientX - box.left) / box.width, WORLD * (1 - (event.clientY - box.top) / box.height)];
  }

  /** @param {PointerEvent} event */
  #down(event) {
    const [x, y] = this.#place(event);
    const slack = event.pointerType === 'touch' ? 0.35 : 0.12;
    const { model } = this;
    const arrows = model.scene.bodies.filter((body) => !body.fixed && (body.name === model.selected || moving(body)));
    const thrown = arrows.find((body) => Math.hypot(tip(body)[0] - x, tip(body)[1] - y) < 0.28 + slack);
    const held = thrown ?? [...model.scene.bodies].reverse().find((body) => holds(body, x, y, slack));
    model.selected = held?.name ?? null;
    if (held) {
      model.mark();
      this.grip = { kind: thrown ? 'throw' : 'move', x, y, moved: false };
      this.canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
    }
    this.canvas.focus({ preventScroll: true });
    model.onChange();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const body = this.model.chosen;
    if (!this.grip || !body) return;
    const [x, y] = this.#place(event);
    this.grip.moved = true;
    if (this.grip.kind === 'throw') throwIt(body, thrownTo(body, x, y));
    else move(this.model.scene, body, x - this.grip.x, y - this.grip.y);
    this.grip.x = x;
    this.grip.y = y;
    this.model.onChange();
  }

  #up() {
    const moved = this.grip?.moved;
    this.grip = null;
    if (moved) this.onRelease();
    else if (this.model.past.length && JSON.stringify(this.model.scene) === this.model.past[this.model.past.length - 1]) {
      this.model.past.pop(); // a click that changed nothing is not to be undone
      this.model.onChange();
    }
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    const body = this.model.chosen;
    const [x, y] = this.#place(event);
    if (!body || !holds(body, x, y, 0.6)) return;
    event.preventDefault();
    if (!this.wheelTimer) this.model.mark();
    const step = Math.max(-1, Math.min(1, (event.deltaY || event.deltaX) / 60));
    if (event.shiftKey) resize(this.model.scene, body, 1 - 0.08 * step);
    else turn(this.model.scene, body, -0.12 * step);
    this.model.onChange();
    clearTimeout(this.wheelTimer);
    this.wheelTimer = window.setTimeout(() => { this.wheelTimer = 0; this.onRelease(); }, 250);
  }

  // ---- keys

  /** @param {KeyboardEvent} event */
  #key(event) {
    const body = this.model.chosen;
    if (!body || event.ctrlKey || event.metaKey || event.altKey) return;
    /** @type {Record<string, [number, number]>} */
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const way = ways[event.key];
    const { scene } = this.model;
    /** @type {(() => void) | null} */
    let change = null;
    if (way && event.shiftKey && !body.fixed) {
      const [u, v] = body.parts[0].velocity;
      change = () => throwIt(body, [u + 0.25 * way[0], v + 0.25 * way[1]]);
    } else if (way) change = () => move(scene, body, 0.1 * way[0], 0.1 * way[1]);
    else if (event.key === '[') change = () => turn(scene, body, 0.1);
    else if (event.key === ']') change = () => turn(scene, body, -0.1);
    else if (event.key === '+' || event.key === '=') change = () => resize(scene, body, 1.08);
    else if (event.key === '-') change = () => resize(scene, body, 1 / 1.08);
    else if (event.key === 'Delete' || event.key === 'Backspace') {
      event.preventDefault();
      this.model.remove();
      this.onRelease();
      return;
    }
    if (!change) return;
    event.preventDefault();
    this.model.edit(change);
    clearTimeout(this.wheelTimer);
    this.wheelTimer = window.setTimeout(() => { this.wheelTimer = 0; this.onRelease(); }, 350);
  }
}

/** Where a body's arrow ends. @param {Body} body @returns {[number, number]} */
export function tip(body) {
  const [x, y] = centre(body);
  const [u, v] = body.parts[0].velocity;
  const speed = Math.hypot(u, v);
  if (!speed) return [x, y + reach(body) + 0.45];
  const far = (reach(body) + 0.3) / speed + ARROW;
  return [x + far * u, y + far * v];
}

/** The velocity that puts the tip of a body's arrow at a point. @param {Body} body @param {number} x @param {number} y */
function thrownTo(body, x, y) {
  const [cx, cy] = centre(body);
  const length = Math.hypot(x - cx, y - cy);
  const speed = (length - reach(body) - 0.3) / ARROW;
  if (speed < 0.1) return [0, 0];
  return [(x - cx) / length * speed, (y - cy) / length * speed];
}

/** @param {Body} body */
const moving = (body) => body.parts[0].velocity.some((value) => value !== 0);

/** @param {import('./scene.js').Shape} shape */
function outline(shape) {
  const path = new Path2D();
  const radius = shape.radius ?? 0;
  if (shape.kind === 'ball') path.arc(0, 0, radius, 0, 2 * Math.PI);
  else if (shape.kind === 'capsule' && shape.start && shape.end) {
    const angle = Math.atan2(shape.end[1] - shape.start[1], shape.end[0] - shape.start[0]);
    path.arc(shape.end[0], shape.end[1], radius, angle - Math.PI / 2, angle + Math.PI / 2);
    path.arc(shape.start[0], shape.start[1], radius, angle + Math.PI / 2, angle + 1.5 * Math.PI);
    path.closePath();
  } else {
    for (const [x, y] of shape.vertices ?? []) path.lineTo(x, y);
    path.closePath();
  }
  return path;
}
