"use strict";
// Tabs, and one clock for all animations. Without scripts every panel is shown and the last frame stands.
for (const tabs of document.querySelectorAll(".tabs")) {
  const buttons = [...tabs.querySelectorAll("button")];
  const panels = buttons.map((button) => document.getElementById(button.getAttribute("aria-controls")));
  const choose = (chosen) => buttons.forEach((button, i) => {
    button.setAttribute("aria-selected", String(i === chosen));
    button.tabIndex = i === chosen ? 0 : -1;
    panels[i].hidden = i !== chosen;
  });
  buttons.forEach((button, i) => {
    button.addEventListener("click", () => choose(i));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (i + step + buttons.length) % buttons.length;
      choose(next);
      buttons[next].focus();
    });
  });
  tabs.hidden = false;
  choose(0);
}
const player = document.querySelector(".player");
if (player) {
  const root = document.documentElement;
  const slider = player.querySelector("input"), button = player.querySelector("button"), output = player.querySelector("output");
  const total = Number(slider.max) + 1, given = Number(player.dataset.given), pause = 6;
  let clock = 0, timer = null;
  const show = (frame) => {
    root.style.setProperty("--f", frame);
    root.classList.toggle("generated", frame >= given);
    slider.value = frame;
    output.textContent = `frame ${frame + 1} of ${total}, ${frame < given ? "given" : "generated"}`;
  };
  const play = () => {
    timer = setInterval(() => { clock = (clock + 1) % (total + pause); show(Math.min(clock, total - 1)); }, 130);
    button.textContent = "Pause";
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  button.addEventListener("click", () => (timer ? stop() : play()));
  slider.addEventListener("input", () => { stop(); clock = Number(slider.value); show(clock); });
  addEventListener("beforeprint", () => show(total - 1));
  player.hidden = false;
  show(total - 1);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play();
}
