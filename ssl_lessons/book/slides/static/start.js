// Before anything is drawn: light or dark, and what MathJax shall do.
"use strict";
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
window.MathJax = {
  tex: { inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]] },
  svg: { fontCache: "local" },
  options: { enableMenu: false },
  startup: { typeset: false },
};
