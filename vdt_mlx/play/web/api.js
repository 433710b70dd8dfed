// What the page asks the server for; every refusal arrives as an Error with one sentence.

const token = new URLSearchParams(location.search).get('token');

/** @param {string} path @param {RequestInit} [options] @returns {Promise<Response>} */
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token) headers.set('x-token', token);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (/** @type {Error} */ (error).name === 'AbortError') throw error;
    throw new Error('The playground does not answer: start it again with vdt-mlx play.', { cause: error });
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error ?? `The playground answered ${answer.status}.`);
  }
  return answer;
}

/** @param {string} path */
export const get = async (path) => (await ask(path)).json();

/** @param {string} path @param {unknown} body @param {AbortSignal} [signal] */
export const post = async (path, body, signal) =>
  (await ask(path, { method: 'POST', body: JSON.stringify(body), signal })).json();

/** @param {File} file */
export const sendVideo = async (file) => (await ask('api/video', { method: 'POST', body: file })).json();

/** @param {string} path */
export const getBlob = async (path) => (await ask(path)).blob();

/**
 * Dreams; calls `onEvent` for every event until the stream ends.
 * @param {unknown} wish @param {(event: import('./types.js').Told) => void} onEvent @param {AbortSignal} signal
 */
export async function dream(wish, onEvent, signal) {
  const answer = await ask('api/dream', { method: 'POST', body: JSON.stringify(wish), signal });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const events = rest.split('\n\n');
    rest = /** @type {string} */ (events.pop());
    for (const event of events) onEvent(JSON.parse(event.replace(/^data: /, '')));
  }
}

/** A strip of frames below each other. @param {string} base64 @returns {Promise<ImageBitmap>} */
export async function bitmap(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: 'image/png' }));
}
