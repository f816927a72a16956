/** Colours and letters of the charts; those of the ground follow what the reader's system prefers. Called by: line-chart.ts, bar-chart.ts. */
export const CHART_STYLE = `
svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.ground { fill: #ffffff; }
.title { font-size: 17px; font-weight: 600; fill: #1b2430; }
.about, .label { font-size: 12px; fill: #56616f; }
.tick { font-size: 11px; fill: #56616f; font-variant-numeric: tabular-nums; }
.name { font-size: 12px; font-weight: 600; }
path { fill: none; }
.grid { stroke: #e4e8ed; stroke-width: 1; }
.line { stroke-width: 2.2; stroke-linejoin: round; }
.c0 { stroke: #6b7580; } .f0 { fill: #6b7580; }
.c1 { stroke: #9c36b5; } .f1 { fill: #9c36b5; }
.c2 { stroke: #c92a2a; } .f2 { fill: #c92a2a; }
.c3 { stroke: #b7791f; } .f3 { fill: #b7791f; }
.c4 { stroke: #2367b0; } .f4 { fill: #2367b0; }
.c5 { stroke: #1098ad; } .f5 { fill: #1098ad; }
.c6 { stroke: #e8590c; } .f6 { fill: #e8590c; }
.c7 { stroke: #2b8a3e; } .f7 { fill: #2b8a3e; }
.c4.line { stroke-width: 3.4; }
@media (prefers-color-scheme: dark) {
.ground { fill: #14181d; }
.title { fill: #e8ecf1; }
.about, .label, .tick { fill: #a2adb9; }
.grid { stroke: #2a313a; }
.c0 { stroke: #9aa5b1; } .f0 { fill: #9aa5b1; }
.c1 { stroke: #d78be8; } .f1 { fill: #d78be8; }
.c2 { stroke: #ff6b6b; } .f2 { fill: #ff6b6b; }
.c3 { stroke: #f0b454; } .f3 { fill: #f0b454; }
.c4 { stroke: #6aaaf0; } .f4 { fill: #6aaaf0; }
.c5 { stroke: #3bc9db; } .f5 { fill: #3bc9db; }
.c6 { stroke: #ff922b; } .f6 { fill: #ff922b; }
.c7 { stroke: #69db7c; } .f7 { fill: #69db7c; }
}`

/** Opens an SVG document with its title; the caller closes it. */
export function openChart(width: number, height: number, title: string, about: string): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${title}</title>`,
    `<style>${CHART_STYLE}</style>`,
    `<rect class="ground" width="${width}" height="${height}"/>`,
    `<text class="title" x="24" y="30">${title}</text>`,
    `<text class="about" x="24" y="50">${about}</text>`,
  ].join('\n')
}

export function place(value: number): number {
  return Math.round(value * 10) / 10
}
