// What the server says, as types; nothing here runs.

/**
 * @typedef {{name: string, title: string, group: string}} Preset
 * @typedef {(number[] | null)[][]} Paths by role, by frame: [x, y] in pixels
 * @typedef {{frames: string, paths: Paths, touch: boolean | null}} Truth frames: a PNG in base64
 * @typedef {{frames: string, paths: Paths, errors: (number | null)[], touch: boolean | null}} Dream
 * @typedef {{type: 'queued', ahead: number}} Queued
 * @typedef {{type: 'step', index: number, total: number, calls: number, ms: number, preview: string,
 *   errors: (number | null)[]}} Step
 * @typedef {{type: 'done', ms: number, calls: number, dreams: Dream[], touch: boolean | null, seeds: number[]}} Done
 * @typedef {{type: 'error', error: string} | {type: 'cancelled'} | Queued | Step | Done} Told an event of a dream
 * @typedef {{body: string, text: string}} Fault
 * @typedef {{faults: Fault[]} & Truth} Simulated
 * @typedef {{model: string, frames: number, size: number, cells: number[], patch: number, given: number,
 *   sampler: string, steps: number, samplers: string[]}} About
 * @typedef {About & {presets: Preset[], preset: string,
 *   first: {scene: import('./scene.js').Scene, truth: Truth, dream: Done} | null}} Known
 */

export {};
