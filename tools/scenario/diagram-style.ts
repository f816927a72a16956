/** Colours and letters of a diagram; those of the ground follow what the reader's system prefers. Called by: diagram.ts. */
export const STYLE = `
svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.ground { fill: #ffffff; }
.title { font-size: 17px; font-weight: 600; fill: #1b2430; }
.about, .label { font-size: 12px; fill: #56616f; }
.tick { font-size: 11px; fill: #56616f; font-variant-numeric: tabular-nums; }
path { fill: none; }
.grid { stroke: #e4e8ed; stroke-width: 1; }
.data { stroke: #2367b0; stroke-width: 2.2; }
.again { stroke: #d9480f; stroke-width: 2.8; }
.probe { stroke: #9c36b5; stroke-width: 2.8; }
.lost { stroke: #c92a2a; stroke-width: 1.8; }
.sack { stroke: #2b8a3e; stroke-width: 1.4; stroke-opacity: 0.55; }
.ack { stroke: #2b8a3e; stroke-width: 1.4; }
.edge { stroke: #8a94a0; stroke-width: 1.2; stroke-dasharray: 5 4; }
.window { stroke: #2367b0; stroke-width: 1.8; }
.threshold { stroke: #8a94a0; stroke-width: 1.2; stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
.ground { fill: #14181d; }
.title { fill: #e8ecf1; }
.about, .label, .tick { fill: #a2adb9; }
.grid { stroke: #2a313a; }
.data, .window { stroke: #6aaaf0; }
.again { stroke: #ff9248; }
.probe { stroke: #d78be8; }
.lost { stroke: #ff6b6b; }
.sack, .ack { stroke: #69c779; }
.edge, .threshold { stroke: #7d8793; }
}`
