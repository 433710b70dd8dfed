// The scene that is drawn: plain values as the server reads them, with undo, and how things are made, moved and turned.

/**
 * @typedef {{kind: string, radius?: number, vertices?: number[][], start?: number[], end?: number[]}} Shape
 * @typedef {{position: number[], angle: number, velocity: number[], spin: number, shapes: Shape[]}} Part
 * @typedef {{name: string, role: string, colour: number[], fixed: boolean, rests: boolean, group: number,
 *   elasticity: number, friction: number, density: number, parts: Part[]}} Body
 * @typedef {{version: number, gravity: number, background: number[], bodies: Body[], joints: any[]}} Scene
 */

export const WORLD = 10;
const AGENT = [220, 50, 47];
const PATIENT = [250, 200, 40];
const OTHERS = [[66, 104, 176], [56, 138, 146], [118, 92, 168], [84, 140, 92], [86, 94, 108]];
const STATIC = [118, 130, 145];

export class Model {
  constructor() {
    /** @type {Scene} */
    this.scene = { version: 1, gravity: 3, background: [226, 231, 237], bodies: [], joints: [] };
    /** @type {string[]} */ this.past = [];
    /** @type {string[]} */ this.future = [];
    /** @type {string | null} */ this.selected = null;
    /** @type {() => void} */ this.onChange = () => {};
  }

  /** @returns {Body | undefined} */
  get chosen() { return this.scene.bodies.find((body) => body.name === this.selected); }

  /** Keeps the scene as it is, to come back to it. */
  mark() {
    const now = JSON.stringify(this.scene);
    if (this.past[this.past.length - 1] === now) return;
    this.past.push(now);
    if (this.past.length > 100) this.past.shift();
    this.future = [];
  }

  /** @param {() => void} change */
  edit(change) { this.mark(); change(); this.onChange(); }

  /** @param {Scene} scene */
  replace(scene) {
    this.edit(() => { this.scene = structuredClone(scene); this.selected = null; });
  }

  undo() { this.#step(this.past, this.future); }
  redo() { this.#step(this.future, this.past); }

  /** @param {string[]} from @param {string[]} to */
  #step(from, to) {
    const found = from.pop();
    if (found === undefined) return;
    to.push(JSON.stringify(this.scene));
    this.scene = JSON.parse(found);
    if (!this.chosen) this.selected = null;
    this.onChange();
  }

  /** @param {string} kind */
  add(kind) {
    this.edit(() => {
      let number = 1;
      while (this.scene.bodies.some((body) => body.name === `${kind}-${number}`)) number += 1;
      const body = make(kind, `${kind}-${number}`, this.scene.bodies.length);
      const roles = this.scene.bodies.map((other) => other.role);
      if (!body.fixed && !roles.includes('agent')) paint(body, 'agent');
      else if (!body.fixed && !roles.includes('patient')) paint(body, 'patient');
      if (body.joint) this.scene.joints.push(...body.joint);
      delete body.joint;
      place(this.scene, body);
      this.scene.bodies.push(body);
      this.selected = body.name;
    });
  }

  remove() {
    const body = this.chosen;
    if (!body) return;
    this.edit(() => {
      this.scene.bodies = this.scene.bodies.filter((other) => other !== body);
      this.scene.joints = this.scene.joints.filter(
        (joint) => joint.first[0] !== body.name && joint.second?.[0] !== body.name);
      this.selected = null;
    });
  }

  /** @param {string} role */
  setRole(role) {
    const body = this.chosen;
    if (!body || body.fixed) return;
    this.edit(() => {
      for (const other of this.scene.bodies) if (other.role === role && role !== 'distractor') paint(other, 'distractor');
      paint(body, role);
    });
  }
}

/** @param {Body} body @param {string} role */
function paint(body, role) {
  body.role = role;
  const place = [...body.name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % OTHERS.length;
  body.colour = role === 'agent' ? AGENT : role === 'patient' ? PATIENT : OTHERS[place];
}

/** @param {Body} body */
export function centre(body) {
  const sum = body.parts.reduce((total, part) => [total[0] + part.position[0], total[1] + part.position[1]], [0, 0]);
  return [sum[0] / body.parts.length, sum[1] / body.parts.length];
}

/** @param {Scene} scene @param {Body} body @param {number} dx @param {number} dy */
export function move(scene, body, dx, dy) {
  for (const part of body.parts) part.position = [part.position[0] + dx, part.position[1] + dy];
  for (const joint of jointsOf(scene, body)) joint.point = [joint.point[0] + dx, joint.point[1] + dy];
}

/** @param {Scene} scene @param {Body} body @param {number} angle radians */
export function turn(scene, body, angle) {
  const [x, y] = centre(body);
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  /** @param {number[]} point */
  const around = ([u, v]) => [x + cos * (u - x) - sin * (v - y), y + sin * (u - x) + cos * (v - y)];
  for (const part of body.parts) { part.position = around(part.position); part.angle += angle; }
  for (const joint of jointsOf(scene, body)) joint.point = around(joint.point);
}

/** @param {Scene} scene @param {Body} body @param {number} factor */
export function resize(scene, body, factor) {
  const size = reach(body) * factor;
  if (size < 0.25 || size > 12) return;
  const [x, y] = centre(body);
  /** @param {number[]} point */
  const scaled = (point) => [point[0] * factor, point[1] * factor];
  for (const part of body.parts) {
    part.position = [x + (part.position[0] - x) * factor, y + (part.position[1] - y) * factor];
    for (const shape of part.shapes) {
      if (shape.radius) shape.radius *= factor;
      if (shape.vertices) shape.vertices = shape.vertices.map(scaled);
      if (shape.start) shape.start = scaled(shape.start);
      if (shape.end) shape.end = scaled(shape.end);
    }
  }
  for (const joint of jointsOf(scene, body)) joint.point = [x + (joint.point[0] - x) * factor, y + (joint.point[1] - y) * factor];
}

/** @param {Body} body @param {number[]} velocity */
export function throwIt(body, velocity) {
  for (const part of body.parts) part.velocity = [...velocity];
  body.rests = !velocity[0] && !velocity[1];
}

/** Joints that hold nothing but this body. @param {Scene} scene @param {Body} body */
function jointsOf(scene, body) {
  return scene.joints.filter((joint) => joint.first[0] === body.name && (!joint.second || joint.second[0] === body.name));
}

/** How far a body reaches from its centre, metres. @param {Body} body */
export function reach(body) {
  const [x, y] = centre(body);
  return Math.max(...body.parts.map((part) =>
    Math.hypot(part.position[0] - x, part.position[1] - y) + Math.max(...part.shapes.map((shape) =>
      shape.kind === 'ball' ? /** @type {number} */ (shape.radius)
        : shape.kind === 'capsule'
          ? Math.max(Math.hypot(...pair(shape.start)), Math.hypot(...pair(shape.end))) + /** @type {number} */ (shape.radius)
          : Math.max(...(shape.vertices ?? []).map((corner) => Math.hypot(corner[0], corner[1])))))));
}

/** Square metres. @param {Body} body */
export function area(body) {
  return body.parts.flatMap((part) => part.shapes).reduce((sum, shape) => {
    const radius = shape.radius ?? 0;
    if (shape.kind === 'ball') return sum + Math.PI * radius ** 2;
    if (shape.kind === 'capsule') {
      const [[ax, ay], [bx, by]] = [pair(shape.start), pair(shape.end)];
      return sum + Math.PI * radius ** 2 + 2 * radius * Math.hypot(bx - ax, by - ay);
    }
    const corners = shape.vertices ?? [];
    return sum + Math.abs(corners.reduce((twice, [x, y], i) => {
      const [u, v] = corners[(i + 1) % corners.length];
      return twice + x * v - u * y;
    }, 0)) / 2;
  }, 0);
}

/** @param {number[] | undefined} point @returns {[number, number]} */
const pair = (point) => [point?.[0] ?? 0, point?.[1] ?? 0];

/** Whether a point of the world lies in a body. @param {Body} body @param {number} x @param {number} y @param {number} slack */
export function holds(body, x, y, slack = 0) {
  return body.parts.some((part) => {
    const cos = Math.cos(part.angle);
    const sin = Math.sin(part.angle);
    const u = cos * (x - part.position[0]) + sin * (y - part.position[1]);
    const v = -sin * (x - part.position[0]) + cos * (y - part.position[1]);
    return part.shapes.some((shape) => {
      if (shape.kind === 'ball') return Math.hypot(u, v) <= /** @type {number} */ (shape.radius) + slack;
      if (shape.kind === 'capsule') {
        const [ax, ay] = pair(shape.start);
        const [bx, by] = pair(shape.end);
        const along = ((u - ax) * (bx - ax) + (v - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2);
        const share = Math.min(1, Math.max(0, along));
        return Math.hypot(u - ax - share * (bx - ax), v - ay - share * (by - ay)) <= /** @type {number} */ (shape.radius) + slack;
      }
      const corners = shape.vertices ?? [];
      return corners.every(([px, py], i) => {
        const [qx, qy] = corners[(i + 1) % corners.length];
        const length = Math.hypot(qx - px, qy - py);
        return ((qx - px) * (v - py) - (qy - py) * (u - px)) / length >= -slack;
      });
    });
  });
}

/** Puts a new body where no other is. @param {Scene} scene @param {Body} body */
function place(scene, body) {
  const others = scene.bodies;
  const own = reach(body);
  const spots = [];
  for (const y of [5, 7.5, 3, 8.5]) for (const x of [3, 7, 5, 1.6, 8.4]) spots.push([x, y]);
  const free = spots.find(([x, y]) => others.every((other) => {
    const [u, v] = centre(other);
    const wall = other.fixed && reach(other) > 6;
    return wall ? y - own > v + 1.2 || y - own > 2.4 : Math.hypot(u - x, v - y) > own + reach(other);
  })) ?? [5, 8];
  const [x, y] = centre(body);
  move(scene, body, free[0] - x, free[1] - y);
}

/** @param {string} kind @param {string} name @param {number} place @returns {any} */
function make(kind, name, place) {
  const body = {
    name, role: 'distractor', colour: OTHERS[place % OTHERS.length], fixed: false, rests: true, group: 0,
    elasticity: 0.5, friction: 0.5, density: 1, parts: [part([{ kind: 'ball', radius: 0.8 }])],
  };
  /** @param {number} w @param {number} h */
  const box = (w, h) => ({ kind: 'polygon', vertices: [[-w / 2, -h / 2], [w / 2, -h / 2], [w / 2, h / 2], [-w / 2, h / 2]] });
  if (kind === 'box') return { ...body, parts: [part([box(1.4, 1.4)])] };
  if (kind === 'capsule') return { ...body, parts: [part([{ kind: 'capsule', start: [-0.6, 0], end: [0.6, 0], radius: 0.5 }])] };
  const still = { ...body, role: 'static', fixed: true, colour: STATIC, elasticity: 1, friction: 1 };
  if (kind === 'ramp') {
    return { ...still, parts: [part([{ kind: 'polygon', vertices: [[-1.6, -0.6], [1.6, -0.6], [-1.6, 1.2]] }])] };
  }
  if (kind === 'wall') return { ...still, parts: [part([box(0.4, 2.6)])] };
  if (kind === 'cup') {
    /** @param {number[]} a @param {number[]} b */
    const side = (a, b) => ({ kind: 'capsule', start: a, end: b, radius: 0.14 });
    return { ...still, parts: [part([side([-1.1, 1], [-0.8, -0.7]), side([-0.8, -0.7], [0.8, -0.7]), side([0.8, -0.7], [1.1, 1])])] };
  }
  if (kind === 'chain') {
    const links = 5;
    const shape = () => ({ kind: 'capsule', start: [0, 0.22], end: [0, -0.22], radius: 0.13 });
    const parts = [...Array(links)].map((_, i) => part([shape()], [0, -0.5 * i]));
    const joint = [...Array(links)].map((_, i) => ({ first: [name, i], second: i ? [name, i - 1] : null, point: [0, 0.25 - 0.5 * i] }));
    return { ...body, rests: false, parts, joint, group: 900 + place };
  }
  return body;
}

/** @param {Shape[]} shapes @param {number[]} position @returns {Part} */
function part(shapes, position = [0, 0]) {
  return { position, angle: 0, velocity: [0, 0], spin: 0, shapes };
}
