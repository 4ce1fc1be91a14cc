// Groups and lanes of all runs, one under another: a lane has a track for each run.

/** A track: the rows and bars of one run in one lane, by time. */
function newTrack() {
  return { rows: [], visible: [], loud: [], bars: [], ends: [] };
}

/** Groups with their lanes. Lanes of the twin that the run has not are put behind those of their group. */
function buildLanes(runs) {
  const groups = [];
  const byLabel = new Map();
  for (const run of runs) {
    const own = run.groups.map((group) => {
      if (!byLabel.has(group.label)) {
        const made = { label: group.label, open: group.open, lanes: [], byKey: new Map(), hidden: false, tracks: runs.map(newTrack) };
        byLabel.set(group.label, made);
        groups.push(made);
      }
      return byLabel.get(group.label);
    });
    const lanes = run.lanes.map((lane) => {
      const group = own[lane.group];
      const key = lane.object ? lane.object.join(' ') : lane.label;
      if (!group.byKey.has(key)) {
        const made = { group, label: lane.label, object: lane.object || null, tracks: runs.map(newTrack) };
        group.byKey.set(key, made);
        group.lanes.push(made);
      }
      return group.byKey.get(key);
    });
    for (let row = 0; row < run.count; row += 1) {
      const lane = lanes[run.lane[row]];
      lane.tracks[run.number].rows.push(row);
      lane.group.tracks[run.number].rows.push(row);
    }
    for (const bar of run.bars) lanes[bar.lane].tracks[run.number].bars.push(bar);
    run.laneOf = (row) => lanes[run.lane[row]];
  }
  for (const group of groups) {
    for (const lane of group.lanes) lane.tracks.forEach(indexBars);
  }
  return groups;
}

/** All objects by their names without namespaces. */
function objectsByName(groups) {
  const byName = new Map();
  for (const lane of groups.flatMap((group) => group.lanes)) {
    if (!lane.object) continue;
    const [kind, name] = lane.object;
    byName.set(ownName(name), [...(byName.get(ownName(name)) || []), { kind, name }]);
  }
  return byName;
}

/** How far the bars up to each one reach: with that, those that reach into a window are found by halving. */
function indexBars(track) {
  track.bars.sort((one, other) => one.from - other.from);
  let furthest = -Infinity;
  track.ends = Float64Array.from(track.bars, (bar) => { furthest = Math.max(furthest, bar.to); return furthest; });
}

/** Tells every track which of its rows pass the filter. */
function filterLanes(groups, runs) {
  for (const group of groups) {
    group.tracks.forEach((track, number) => filterTrack(track, runs[number]));
    for (const lane of group.lanes) {
      lane.tracks.forEach((track, number) => filterTrack(track, runs[number]));
      lane.count = lane.tracks.reduce((sum, track) => sum + track.visible.length, 0);
    }
    group.count = group.tracks.reduce((sum, track) => sum + track.visible.length, 0);
  }
}

function filterTrack(track, run) {
  track.visible = Int32Array.from(track.rows.filter((row) => run.shown[row]));
  track.loud = track.visible.filter((row) => run.weight[row] > WEIGHT.plain);
}
