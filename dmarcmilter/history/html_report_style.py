"""Style sheet of the HTML report: light or dark as the reader's system prefers, one column on a phone."""

CSS = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #5b6675; --line: #dde2e9;
  --none: #7fa6d6; --quarantine: #e3a008; --reject: #d0394b; --bar: #3f74b8;
  --a: #2f7d4f; --b: #e3a008; --c: #7dbb93; --d: #e07a3f; --e: #8a94a3; --f: #c3cad4; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --card: #1b212a; --ink: #e6ebf2; --soft: #9aa7b8;
  --line: #303a47; --none: #4d76ab; --quarantine: #d9a21b; --reject: #e0596a; --bar: #6a9fe0;
  --a: #3fa068; --b: #d9a21b; --c: #6f9f80; --d: #d5743d; --e: #76818f; --f: #4a5463; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.45;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .2rem; }
p { margin: 0 0 .8rem; color: var(--soft); }
.columns { columns: 2 22rem; column-gap: 1rem; }
.figures { display: grid; gap: 1rem; margin-bottom: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(7.9rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; min-width: 0;
  break-inside: avoid; margin-bottom: 1rem; }
.figure { padding: .7rem 1rem; margin: 0; }
.figure b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: .85rem; }
.chart { display: grid; grid-template-columns: auto 1fr; column-gap: .5rem; }
.chart svg { width: 100%; height: 11rem; display: block; }
.scale { display: flex; flex-direction: column; justify-content: space-between; text-align: right; color: var(--soft);
  font-size: .75rem; line-height: 1; margin: -.35rem 0; font-variant-numeric: tabular-nums; }
.times { grid-column: 2; position: relative; height: 1.4rem; color: var(--soft); font-size: .75rem; }
.times span { position: absolute; top: .3rem; transform: translateX(-50%); white-space: nowrap; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1rem; font-size: .85rem; margin: 0 0 .8rem; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; margin-right: .35rem;
  vertical-align: -.06rem; }
.none { fill: var(--none); background: var(--none); } .quarantine { fill: var(--quarantine);
  background: var(--quarantine); } .reject { fill: var(--reject); background: var(--reject); }
.type-A { fill: var(--a); background: var(--a); }
.type-B { fill: var(--b); background: var(--b); }
.type-C { fill: var(--c); background: var(--c); }
.type-D { fill: var(--d); background: var(--d); }
.type-E { fill: var(--e); background: var(--e); }
.type-F { fill: var(--f); background: var(--f); }
.bar { fill: var(--bar); } .gridline { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: .8rem; padding: .15rem 0; }
td { padding: .28rem 0 0; overflow-wrap: anywhere; vertical-align: bottom; }
th + th, td + td { text-align: right; padding-left: .8rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.line td { padding: .1rem 0 .28rem; } tr.line svg { display: block; width: 100%; height: .35rem; }
.track { fill: var(--line); }
footer { color: var(--soft); font-size: .8rem; margin-top: 1.2rem; }
"""
