// Three steps for a first visit; closed once, it stays closed.

const STEPS = [
  ['Throw', 'Drag a thing to move it. Choose it, and drag the tip of its arrow: that is how fast it starts, and where to.'],
  ['Compare', 'On the left is what happens, on the right what the model dreams after seeing the outlined frames of the film strip.'],
  ['Ask', 'Change gravity, give it fewer frames, paint a hole, ask for several futures. Where does it stop being physics?'],
];

export function openTour() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById('tour'));
  const title = /** @type {HTMLElement} */ (document.getElementById('tour-title'));
  const text = /** @type {HTMLElement} */ (document.getElementById('tour-text'));
  const next = /** @type {HTMLButtonElement} */ (document.getElementById('tour-next'));
  let step = 0;
  const show = () => {
    [title.textContent, text.textContent] = [`${step + 1} of ${STEPS.length}. ${STEPS[step][0]}`, STEPS[step][1]];
    next.textContent = step === STEPS.length - 1 ? 'Play' : 'Next';
  };
  next.onclick = () => { step += 1; if (step < STEPS.length) show(); else dialog.close(); };
  /** @type {HTMLButtonElement} */ (document.getElementById('tour-close')).onclick = () => dialog.close();
  dialog.onclose = () => localStorage.setItem('toured', 'yes');
  show();
  if (!dialog.open) dialog.show(); // not modal: what is behind it is the point
}
