// Runs before the first paint: the colours chosen last time, or the system's.
"use strict";
{
  const chosen = localStorage.getItem("vxlan-l2-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
