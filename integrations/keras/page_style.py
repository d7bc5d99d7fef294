"""How report.html looks: on a phone, on a desk, in the dark, on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fafaf8; --card: #ffffff; --ink: #26262a; --faint: #63636b; --line: #dcdcd6;
  --accent: #1f5f8b; --wrong: #b02020;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #18181b; --card: #222226; --ink: #ececf0; --faint: #a5a5ad; --line: #3a3a40;
    --accent: #7db9e0; --wrong: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.15rem; break-after: avoid; }
p { margin: .4rem 0; max-width: 46rem; }
.faint, figcaption, caption { color: var(--faint); font-size: .88rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .7rem; }
.tiles > div {
  margin: 0; padding: .6rem .8rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem;
}
.tiles dt { color: var(--faint); font-size: .85rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
dl.tiles { margin: .6rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); }
td, thead th { text-align: right; white-space: nowrap; }
th { text-align: left; font-weight: 600; }
thead th:first-child { text-align: left; }
tbody th { font-weight: 400; min-width: 7rem; max-width: 18rem; }
tfoot th, tfoot td { border-bottom: 0; font-weight: 600; }
table.text th, table.text td { text-align: left; white-space: normal; }
figure { margin: .6rem 0; }
.sheet { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: .5rem; }
.sheet img { display: block; margin: 0 auto; }
.sheet img.fit { max-width: 100%; height: auto; }
.sheet img.wide { width: 100%; min-width: 34rem; height: auto; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
.photos figure { margin: 0; break-inside: avoid; }
.photos img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--line); }
.photos figcaption { color: var(--ink); line-height: 1.35; }
.photos .said { color: var(--wrong); }
pre {
  margin: .5rem 0; padding: .7rem .9rem; overflow-x: auto; background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem;
  font: .88rem/1.5 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap;
}
a { color: var(--accent); }
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --faint: #444; }
  body { max-width: none; padding: 0; font-size: .85rem; }
  .sheet, .scroll { overflow: visible; }
  .sheet img, .sheet img.wide { min-width: 0; max-width: 100%; height: auto; }
  .sheet, tr { break-inside: avoid; }
}
"""
