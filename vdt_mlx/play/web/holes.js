// Holes: cells of given frames that the model is not to see, painted on the truth with a mouse, a finger or keys.

const COLOUR = '#0f6b8399';

/**
 * @typedef {{frame: () => number, given: () => boolean[], redraw: () => void, done: () => void,
 *   say: (text: string) => void}} Around what the holes ask of the player, and tell it
 */

export class Holes {
  /** @param {HTMLCanvasElement} canvas @param {import('./types.js').About} about @param {Around} around */
  constructor(canvas, about, around) {
    this.canvas = canvas;
    this.around = around;
    this.rows = about.cells[0];
    this.columns = about.cells[1];
    this.patch = about.patch; // cells that the network sees as one: holes are made of those
    /** @type {Set<number>[]} cells by frame */
    this.cells = Array.from({ length: about.frames }, () => new Set());
    this.painting = false;
    this.everywhere = true;
    this.changed = false;
    this.cursor = [Math.floor(this.rows / this.patch / 2), Math.floor(this.columns / this.patch / 2)];
    for (const kind of ['pointerdown', 'pointermove']) {
      canvas.addEventListener(kind, (event) => this.#pointer(/** @type {PointerEvent} */ (event)));
    }
    for (const kind of ['pointerup', 'pointercancel', 'pointerleave']) canvas.addEventListener(kind, () => this.#end());
    canvas.addEventListener('keydown', (event) => this.#key(event));
    canvas.addEventListener('focus', () => around.redraw());
    canvas.addEventListener('blur', () => around.redraw());
  }

  get any() { return this.cells.some((cells) => cells.size > 0); }

  clear() { for (const cells of this.cells) cells.clear(); }

  /** The middle of every frame, as the task "spatial" has it. */
  middle() {
    this.clear();
    for (let row = 2; row < this.rows - 2; row += 1) {
      for (let column = 2; column < this.columns - 2; column += 1) {
        for (const cells of this.cells) cells.add(row * this.columns + column);
      }
    }
  }

  /** One letter a cell, 1 = to be dreamt. @param {number} frame */
  text(frame) {
    return Array.from({ length: this.rows * this.columns }, (_, cell) => (this.cells[frame].has(cell) ? '1' : '0')).join('');
  }

  /** @param {HTMLCanvasElement} canvas @param {number} frame */
  draw(canvas, frame) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const [w, h] = [canvas.width / this.columns, canvas.height / this.rows];
    context.fillStyle = COLOUR;
    for (const cell of this.cells[frame]) {
      context.fillRect((cell % this.columns) * w, Math.floor(cell / this.columns) * h, w, h);
    }
    if (canvas !== this.canvas || !this.painting || document.activeElement !== canvas) return;
    context.strokeStyle = '#0f6b83';
    context.lineWidth = 3;
    const [row, column] = this.cursor;
    context.strokeRect(column * this.patch * w + 2, row * this.patch * h + 2, this.patch * w - 4, this.patch * h - 4);
  }

  // ---- by hand

  /** @param {boolean} on */
  paint(on) {
    this.painting = on;
    this.canvas.classList.toggle('painting', on);
    if (on) this.canvas.tabIndex = 0;
    else this.canvas.removeAttribute('tabindex');
  }

  /** Takes the cells of one patch, or gives them back. @param {number} row @param {number} column @param {boolean} hidden */
  #set(row, column, hidden) {
    if (row < 0 || column < 0 || row >= this.rows / this.patch || column >= this.columns / this.patch) return;
    const here = this.around.frame();
    if (!this.everywhere && !this.around.given()[here]) {
      this.around.say(`Frame ${here + 1} is dreamt as a whole: there is nothing to hide in it.`);
      return;
    }
    const frames = this.everywhere ? this.cells : [this.cells[here]];
    for (const cells of frames) {
      for (let i = 0; i < this.patch; i += 1) {
        for (let j = 0; j < this.patch; j += 1) {
          const cell = (row * this.patch + i) * this.columns + column * this.patch + j;
          if (hidden) cells.add(cell); else cells.delete(cell);
        }
      }
    }
    this.changed = true;
    this.around.redraw();
  }

  /** @param {PointerEvent} event */
  #pointer(event) {
    if (!this.painting || (event.type === 'pointermove' && !event.buttons)) return;
    const box = this.canvas.getBoundingClientRect();
    const row = Math.floor(this.rows / this.patch * (event.clientY - box.top) / box.height);
    const column = Math.floor(this.columns / this.patch * (event.clientX - box.left) / box.width);
    this.#set(row, column, !event.shiftKey);
    if (event.type === 'pointermove') event.preventDefault();
  }

  #end() {
    if (this.painting && this.changed) this.around.done();
    this.changed = false;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.painting) return;
    /** @type {Record<string, number[]>} */
    const ways = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const way = ways[event.key];
    const [row, column] = this.cursor;
    if (way) {
      const [rows, columns] = [this.rows / this.patch, this.columns / this.patch];
      this.cursor = [Math.min(Math.max(row + way[0], 0), rows - 1), Math.min(Math.max(column + way[1], 0), columns - 1)];
      this.around.say(`Row ${this.cursor[0] + 1}, column ${this.cursor[1] + 1}.`);
      this.around.redraw();
    } else if (event.key === ' ' || event.key === 'Enter') {
      const cell = row * this.patch * this.columns + column * this.patch;
      this.#set(row, column, !this.cells[this.around.frame()].has(cell));
      this.#end();
    } else return;
    event.preventDefault();
  }
}
