// What is wider than the screen scrolls by keyboard, too; and navigations of the same name are told apart.
document.addEventListener("DOMContentLoaded", () => {
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) wide.tabIndex = 0;
  document.querySelectorAll(".md-code__nav").forEach((nav) => nav.setAttribute("aria-label", "Code"));
  const seen = new Map();
  for (const nav of document.querySelectorAll("nav")) {
    const labels = document.getElementById(nav.getAttribute("aria-labelledby"));
    const name = (nav.getAttribute("aria-label") || (labels ? labels.textContent : "")).trim().replace(/\s+/g, " ");
    const times = (seen.get(name) || 0) + 1;
    seen.set(name, times);
    if (times === 1) continue;
    nav.removeAttribute("aria-labelledby");
    nav.setAttribute("aria-label", `${name} ${times}`);
  }
});
