// Renders the formulas that pymdownx.arithmatex marks, by the KaTeX 0.19.1 beside this file; nothing is fetched.
document.querySelectorAll(".arithmatex").forEach((element) => {
  const text = element.textContent.trim();
  const displayMode = text.startsWith("\\[");
  katex.render(text.slice(2, -2), element, { displayMode, throwOnError: false });
});
