// Sliders without a kernel. Beside each place lie its frames:
//   {"controls": [{"name", "label", "values": [text...], "start": index}...], "mode": "grid" | "one",
//    "frames": {"i,j": {"src", "alt"}}}   i, j: indices of the controls' values
// "grid" has every combination; "one" those in which at most one control differs from its start, so that moving one
// control puts the others back. Without this script the static pictures of the cell remain.
"use strict";

function slider(control, changed) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const value = document.createElement("span");
  Object.assign(input, { type: "range", min: 0, max: control.values.length - 1, step: 1, value: control.start });
  input.setAttribute("aria-label", control.label);  // the value is told by aria-valuetext
  const say = () => {
    value.textContent = control.values[input.value];
    input.setAttribute("aria-valuetext", control.values[input.value]);
  };
  const name = document.createElement("span");
  name.append(`${control.label}: `, value);
  label.append(name, input);
  input.addEventListener("input", () => changed(input));
  say();
  return { label, input, say, start: control.start };
}

function player(place) {
  const told = JSON.parse(place.querySelector("script").textContent);
  const image = document.createElement("img");
  const controls = document.createElement("div");
  controls.className = "controls";
  const show = (moved) => {
    for (const one of sliders) {
      if (told.mode === "one" && moved && moved !== one.input) one.input.value = one.start;
      one.say();
    }
    const frame = told.frames[sliders.map((one) => one.input.value).join(",")];
    if (frame) [image.src, image.alt] = [frame.src, frame.alt];
  };
  const sliders = told.controls.map((control) => slider(control, show));
  controls.append(...sliders.map((one) => one.label));
  // Fetched when the reader reaches for the slider, so that the picture then follows at once.
  controls.addEventListener("focusin", () => {
    for (const frame of Object.values(told.frames)) new Image().src = frame.src;
  }, { once: true });
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", `Slider: ${told.controls.map((control) => control.label).join(", ")}`);
  place.append(controls, image);
  show();
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".ssl-frames").forEach(player));
