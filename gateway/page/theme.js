// Light, dark, or what the system says. A classic script in the head: a chosen theme is in place before the first paint.
"use strict";

(() => {
  const KEY = "streamfleet.theme";
  const themes = ["system", "light", "dark"];

  // A browser may forbid storage; then the choice lasts as long as the page.
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const store = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Nothing is lost but the memory of it.
    }
  };
  const apply = (theme) => (document.documentElement.dataset.theme = theme);

  apply(themes.includes(stored()) ? stored() : "system");

  addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("theme");
    select.value = document.documentElement.dataset.theme;
    select.addEventListener("change", () => {
      apply(select.value);
      store(select.value);
    });
  });
})();
