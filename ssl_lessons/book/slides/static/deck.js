// Formulas first, since they take room; then the slides.
"use strict";

const SMALLEST = 20 / 26;  // of the size of text: no formula is set smaller than 20 px

function narrowed(box) {
  const formula = box.querySelector("svg");
  if (formula && formula.clientWidth > box.clientWidth) {
    box.style.fontSize = `${Math.max(SMALLEST, box.clientWidth / formula.clientWidth)}em`;
  }
}

function theme() {
  const { dataset } = document.documentElement;
  dataset.theme = dataset.theme === "dark" ? "light" : "dark";
}

async function start() {
  await window.MathJax.startup.promise;
  await window.MathJax.typesetPromise();
  document.querySelectorAll(".formula").forEach(narrowed);
  await window.Reveal.initialize({
    width: 1280, height: 720, margin: 0.02, center: false, display: "flex", hash: true, transition: "none",
    slideNumber: "c/t", controlsTutorial: false, pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1,
    keyboard: { 68: theme }, plugins: [window.RevealNotes],
  });
  document.documentElement.dataset.ready = "yes";
}

document.addEventListener("DOMContentLoaded", start);
