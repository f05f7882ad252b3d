/** The viewer's own style sheet, inside its shadow root; colors are the variables that the theme sets. */
export const STYLE = `
:host { display: block; container-type: inline-size; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.app {
  display: grid; grid-template: auto auto minmax(0, 1fr) auto / minmax(0, 1fr); direction: ltr; height: 100%; min-height: 360px; overflow: hidden;
  position: relative; background: var(--background); color: var(--text);
  font: 14px/1.4 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; border: 1px solid var(--line); border-radius: 8px;
}
.bar { display: flex; align-items: center; gap: 10px 14px; padding: 0 12px; flex-wrap: wrap; }
.bar.top { border-bottom: 1px solid var(--line); background: var(--panel); }
.tabs { display: flex; overflow-x: auto; scrollbar-width: none; flex: 1 1 auto; min-width: 0; }
.tabs button {
  border: 0; border-bottom: 2px solid transparent; border-radius: 0; background: none; padding: 10px 12px 8px;
  color: var(--muted); white-space: nowrap; font-weight: 500;
}
.tabs button[aria-selected="true"] { color: var(--text); border-bottom-color: var(--accent); }
.tabs button:hover { color: var(--text); }
.tools { padding-top: 7px; padding-bottom: 7px; min-height: 44px; border-bottom: 1px solid var(--line); font-size: 13px; }
.tools > label, .tools > .pair { display: inline-flex; align-items: center; gap: 6px; white-space: nowrap; color: var(--muted); }
.tools label:has(:checked) { color: var(--text); }
button, select, textarea, input { font: inherit; color: inherit; }
button, select {
  background: var(--background); border: 1px solid var(--line); border-radius: 6px; padding: 4px 9px; cursor: pointer;
  max-width: 220px;
}
select { color: var(--text); padding: 4px 5px; }
button:hover, select:hover { border-color: var(--muted); }
button[aria-pressed="true"] { background: var(--accentSoft); border-color: var(--accent); color: var(--text); }
.segmented { display: inline-flex; }
.segmented button { border-radius: 0; margin-left: -1px; color: var(--muted); }
.segmented button:first-child { border-radius: 6px 0 0 6px; margin-left: 0; }
.segmented button:last-child { border-radius: 0 6px 6px 0; }
.segmented button[aria-pressed="true"] { color: var(--text); z-index: 1; }
.icon { width: 32px; height: 30px; padding: 0; display: inline-grid; place-items: center; flex: none; }
.actions { display: flex; gap: 6px; padding: 5px 0; flex: none; }
input[type="range"] { width: 110px; accent-color: var(--accent); }
input[type="checkbox"] { accent-color: var(--accent); margin: 0; width: 15px; height: 15px; }
input:disabled { opacity: 0.4; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
canvas:focus-visible { outline-offset: -2px; }
.body { display: flex; min-height: 0; min-width: 0; }
.strip { flex: none; width: clamp(96px, 19%, 230px); border-right: 1px solid var(--line); min-height: 0; }
.view { flex: 1 1 auto; min-width: 0; min-height: 0; position: relative; }
.view > * { position: absolute; inset: 0; }
.scroller { height: 100%; overflow: hidden auto; position: relative; }
.scroller canvas { position: sticky; top: 0; left: 0; display: block; touch-action: pan-y; }
.spacer { width: 1px; }
.foot {
  display: flex; gap: 4px 18px; flex-wrap: wrap; padding: 6px 12px; border-top: 1px solid var(--line); font-size: 12.5px;
  color: var(--muted); background: var(--panel); justify-content: space-between; min-height: 31px;
}
.foot .now { color: var(--text); overflow-wrap: anywhere; }
.foot .hidden-note { color: var(--accent); }
.tip {
  position: absolute; z-index: 5; pointer-events: none; background: var(--text); color: var(--background); padding: 6px 9px;
  border-radius: 6px; font-size: 12.5px; max-width: 320px; box-shadow: 0 3px 12px #0005; overflow-wrap: anywhere;
  white-space: pre-wrap; left: 0; top: 0;
}
.tip div:first-child { font-weight: 600; }
.reading { overflow: auto; padding: 14px 18px; }
.choices { display: flex; flex-wrap: wrap; gap: 6px; }
.caption { margin: 10px 0; color: var(--muted); font-size: 13px; }
.peak { white-space: pre; }
.texts h3 { margin: 16px 0 4px; font-size: 13px; color: var(--muted); font-weight: 600; }
.text { margin: 0; font-size: 17px; line-height: 1.9; max-width: 68em; white-space: pre-wrap; overflow-wrap: anywhere; }
.token { border-radius: 3px; padding: 2px 0; cursor: pointer; }
.token.rest { display: inline-block; width: 0.22em; height: 1em; vertical-align: -0.15em; border-bottom: 2px dotted var(--line); }
.token.blank:not([style*="color"]) { color: var(--line); }
.token.special { color: var(--muted); font-size: 0.75em; border: 1px solid var(--line); margin: 0 3px; padding: 1px 4px; }
.token:hover { box-shadow: 0 0 0 1px var(--text); }
.token.chosen { box-shadow: 0 0 0 2px var(--accent); }
.parts { display: grid; grid-template: minmax(0, 1fr) / minmax(0, 1.15fr) minmax(0, 1fr); }
.parts .map { min-width: 0; min-height: 0; position: relative; }
.parts .reading { border-inline-start: 1px solid var(--line); padding: 10px 14px; }
.parts .caption { margin: 0 0 8px; }
.band { display: flex; height: 16px; border: 1px solid var(--line); border-radius: 3px; overflow: hidden; margin-bottom: 10px; cursor: pointer; }
.band span { flex: 1 1 0; min-width: 1px; box-shadow: inset -1px 0 var(--line); }
.band span.chosen { box-shadow: inset 0 0 0 2px var(--accent); }
.folded h3 { margin: 12px 0 4px; font-size: 13px; color: var(--muted); font-weight: 600; }
.part-head {
  display: flex; align-items: baseline; gap: 8px; width: 100%; max-width: none; text-align: start; border: 0;
  border-inline-start: 5px solid transparent; border-radius: 0; padding: 4px 6px; background: none; min-width: 0;
}
.part-head:hover { background: var(--panel); }
.part.chosen > .part-head .part-name { color: var(--accent); }
.part.chosen-key > .part-head { background: var(--accentSoft); }
.part-name { font-weight: 600; white-space: nowrap; border-bottom: 3px solid transparent; flex: none; max-width: 45%; overflow: hidden; text-overflow: ellipsis; }
.part-size { color: var(--muted); font-size: 12px; white-space: nowrap; flex: none; }
.part .value { font-size: 12px; padding: 0 5px; border-radius: 3px; flex: none; font-variant-numeric: tabular-nums; }
.part-text { color: var(--muted); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; min-width: 0; flex: 1 1 0; }
.parts .text { font-size: 15px; line-height: 1.75; padding: 2px 8px 8px 14px; }
.space canvas { position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none; }
.space .scene-labels { pointer-events: none; }
.message { position: absolute; inset: 40% 10% auto; text-align: center; color: var(--muted); margin: 0; }
.failure {
  margin: 0; padding: 48px 24px; text-align: center; font: 16px/1.5 system-ui, sans-serif; color: #8a1f11;
  background: #fff4f2; border: 1px solid #e5b1a8; border-radius: 8px;
}
.live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.panel {
  position: absolute; z-index: 6; top: 46px; right: 12px; width: min(400px, calc(100% - 24px)); padding: 14px;
  max-height: calc(100% - 60px); overflow: auto;
  background: var(--background); border: 1px solid var(--line); border-radius: 8px; box-shadow: 0 8px 30px #0004; font-size: 13px;
}
.panel h2 { margin: 0 0 8px; font-size: 14px; }
.panel .row { display: flex; gap: 8px; flex-wrap: wrap; margin: 8px 0; align-items: center; }
.panel textarea { width: 100%; height: 92px; font: 12px/1.4 ui-monospace, monospace; background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 8px; }
.panel dl { display: grid; grid-template-columns: auto 1fr; gap: 4px 12px; margin: 0; }
.panel dt { font: 12px ui-monospace, monospace; white-space: nowrap; } .panel dd { margin: 0; color: var(--muted); }
@container (max-width: 560px) {
  .strip { display: none; }
  .tabs button { padding: 10px 7px 8px; }
  .bar { padding-inline: 8px; gap: 6px 10px; }
  .parts { grid-template: minmax(0, 1fr) minmax(0, 1fr) / minmax(0, 1fr); }
  .parts .reading { border-inline-start: 0; border-top: 1px solid var(--line); }
}
`;
