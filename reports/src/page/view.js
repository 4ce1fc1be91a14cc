// The window: which time is shown, which lanes, and where they stand.

const SIZE = { ruler: 26, lane: 18, twinLane: 32, group: 22, least: 1e3 };

/** The state of the timeline's window. */
function newView(model, groups) {
  const [run] = model.runs;
  const end = Math.max(...model.runs.map((each) => each.end), 1);
  return { groups, from: run.from, to: Math.max(run.to, run.from + SIZE.least), end, rows: [], height: 0, gutter: 280, width: 800, selected: null, hovered: null, range: null };
}

/** Puts visible groups and lanes under each other. */
function layOut(view, filtering, twins) {
  const height = twins > 1 ? SIZE.twinLane : SIZE.lane;
  let y = 0;
  view.rows = [];
  for (const group of view.groups) {
    if (group.hidden || (filtering && group.count === 0)) continue;
    view.rows.push({ group, lane: null, y, height: SIZE.group });
    y += SIZE.group;
    if (!group.open) continue;
    for (const lane of group.lanes) {
      if (filtering && lane.count === 0) continue;
      view.rows.push({ group, lane, y, height });
      y += height;
    }
  }
  view.height = y + 8;
}

/** The row of the layout at this height, if any. */
function rowAt(view, y) {
  const index = lowerBound(view.rows.length, (at) => view.rows[at].y + view.rows[at].height, y + 1e-6);
  return view.rows[index] && view.rows[index].y <= y ? view.rows[index] : null;
}

/** Where an event's row stands: its lane's, or its group's if that is closed. */
function rowOf(view, lane) {
  return view.rows.find((row) => row.lane === lane) || view.rows.find((row) => row.group === lane.group && !row.lane) || null;
}

function xOf(view, at) {
  return view.gutter + ((at - view.from) / (view.to - view.from)) * (view.width - view.gutter);
}

function timeAt(view, x) {
  return view.from + ((x - view.gutter) / (view.width - view.gutter)) * (view.to - view.from);
}

/** Shows this time, kept inside the run. */
function show(view, from, to) {
  const span = Math.min(Math.max(to - from, SIZE.least), view.end * 1.04);
  const first = Math.min(Math.max(from, -view.end * 0.02), view.end * 1.02 - span);
  view.from = first;
  view.to = first + span;
}

/** Zooms about a point of time. */
function zoom(view, factor, about) {
  const middle = about === undefined ? (view.from + view.to) / 2 : about;
  show(view, middle - (middle - view.from) * factor, middle + (view.to - middle) * factor);
}

function pan(view, share) {
  const by = (view.to - view.from) * share;
  show(view, view.from + by, view.to + by);
}

/** Brings a point of time into the window, and as near as it takes to tell it from its neighbours. */
function reveal(view, at) {
  const span = view.to - view.from;
  if (at < view.from + span * 0.05 || at > view.to - span * 0.05) show(view, at - span / 2, at + span / 2);
}

/** Steps of the ruler: a round number of nanoseconds, so that there are about as many as fit. */
function rulerStep(span, most) {
  const steps = [];
  for (let power = 1e3; power < 1e10; power *= 10) steps.push(power, power * 2, power * 5);
  steps.push(15e9, 30e9, 60e9, 120e9, 300e9, 600e9, 1800e9, 3600e9, 7200e9, 6 * 3600e9);
  return steps.sort((one, other) => one - other).find((step) => span / step <= most) || 24 * 3600e9;
}
