// The side panel: everything about one event, with the way to those that led to it and came of it.

/** What an event is linked with: its cause, the write it made or the request that made it, what it had read, what it had missed. */
function linksOf(app, run, row) {
  const links = [];
  const cause = run.bySequence.get(run.events[row][6]);
  if (cause !== undefined) links.push({ to: cause, colour: 'select' });
  if (run.madeWrite.has(row)) links.push({ to: run.madeWrite.get(row), colour: 'write' });
  if (run.madeBy.has(row)) links.push({ to: run.madeBy.get(row), colour: 'request' });
  const reader = run.madeBy.has(row) ? run.madeBy.get(row) : row;
  for (const read of readsOf(run, reader)) {
    if (read.missed >= 0) links.push({ to: read.missed, colour: 'bad' });
    if (read.missed >= 0 && read.saw >= 0) links.push({ to: read.saw, colour: 'create' });
  }
  return links;
}

/** Fills the panel with an event. */
function fillPanel(app, panel, run, row) {
  const { model } = app;
  const kind = model.kinds[run.kind[row]];
  const heading = element('h2', {}, element('span', { class: `dot weight-${run.weight[row]}` }), kind.name, run.number ? ' (twin)' : '');
  const close = element('button', { type: 'button', class: 'close', title: 'Close (Esc)', 'aria-label': 'Close', onclick: () => app.select(null) }, '✕');
  panel.replaceChildren(
    element('div', { class: 'panel-head' }, heading, close),
    element('p', { class: 'said' }, say(model, run, row)),
    fieldsTable(app, run, row, kind),
    ...buttons(app, run, row),
    ...comesFrom(app, run, row),
    ...changedTable(app, run, row),
    ...readsTable(app, run, row),
  );
  panel.scrollTop = 0;
}

/** A way to another event of the run. */
function eventLink(app, run, row) {
  return link(`${clock(run.at[row])} ${say(app.model, run, row)}`, () => app.select({ run, row }, true), 'Go to this event');
}

function fieldsTable(app, run, row, kind) {
  const event = run.events[row];
  const rows = [['at', `${clock(run.at[row], 9)}`]];
  if (run.sequence[row]) rows.push(['sequence', String(run.sequence[row])]);
  const process = run.processes[event[5]];
  if (process) {
    rows.push(['process', `${event[5]}: ${run.strings[process[0]]}`]);
    rows.push(['on machine', `${run.strings[process[1]]}, ${run.strings[process[2]]}`]);
  } else {
    rows.push(['process', event[5] ? String(event[5]) : 'the run loop']);
  }
  for (const { label, type, index } of kind.fields) {
    const value = event[index];
    const told = type === 't' ? run.strings[value] : type === 'd' ? `${duration(value)} (${value.toLocaleString('en')} ns)` : type === 'b' ? (value ? 'yes' : 'no') : String(value);
    rows.push([label, told]);
    if (type === 'd' && value > 0) rows.push(['began at', clock(run.at[row] - value, 9)]);
  }
  return element('table', { class: 'fields' }, ...rows.filter(([, value]) => value !== '').map(([name, value]) => element('tr', {}, element('th', {}, name), element('td', {}, value))));
}

/** Before and after in the same lane; only what is about an object of it. */
function buttons(app, run, row) {
  const track = run.laneOf(row).tracks[run.number];
  const place = track.rows.indexOf(row);
  const step = (text, other) => element('button', { type: 'button', disabled: other === undefined, onclick: () => app.select({ run, row: other }, true) }, text);
  const about = objectsIn(app, run, row).map((object) => element('button', { type: 'button', onclick: () => app.onlyAbout(object) }, `Only about ${object.kind} ${ownName(object.name)}`));
  return [element('div', { class: 'buttons' }, step('◂ before in this lane', track.rows[place - 1]), step('next ▸', track.rows[place + 1]), ...about)];
}

/** The objects that an event is to, or whose names it says; where several kinds share a name, those whose kind it says too. */
function objectsIn(app, run, row) {
  const own = objectOf(app.model, run, row);
  if (own) return own.name.endsWith('*') ? [] : [own];
  const texts = app.model.kinds[run.kind[row]].texts.map((index) => run.strings[run.events[row][index]]);
  const words = new Set(texts.join(' ').split(/[^\w.-]+/));
  const lower = texts.join(' ').toLowerCase();
  const found = [...words].flatMap((word) => {
    const named = app.objects.get(word) || [];
    const said = named.filter((object) => lower.includes(object.kind.toLowerCase()));
    return said.length ? said : named;
  });
  return found.slice(0, 5);
}

/** Why it happened, as far as the journal knows. */
function comesFrom(app, run, row) {
  const items = [];
  const cause = run.events[row][6];
  let next = cause;
  for (let depth = 0; next && depth < 12; depth += 1) {
    const at = run.bySequence.get(next);
    if (at === undefined) {
      items.push(['caused by', element('span', {}, `event ${next}, a heartbeat that is not embedded here`)]);
      break;
    }
    items.push([depth ? 'and that by' : 'caused by', eventLink(app, run, at)]);
    next = run.events[at][6];
  }
  if (run.madeBy.has(row)) {
    const request = run.madeBy.get(row);
    const within = field(app.model, run, request, 'within');
    items.push([`asked for by ${who(run, request)}${within ? `, ${within}` : ''}`, eventLink(app, run, request)]);
  }
  if (run.madeWrite.has(row)) items.push(['made this write', eventLink(app, run, run.madeWrite.get(row))]);
  if (!items.length) return [];
  return [element('h3', {}, 'Where it comes from'), element('dl', { class: 'links' }, ...items.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]))];
}

function changedTable(app, run, row) {
  const other = run.madeWrite.get(row);
  const changes = changesOf(run, other === undefined ? row : other);
  if (!changes.length) return [];
  const rows = changes.map(([name, value]) => element('tr', {}, element('th', {}, name), element('td', {}, value || element('i', {}, 'gone'))));
  return [element('h3', {}, `What it changed (${changes.length})`), element('table', { class: 'fields changes' }, ...rows)];
}

function readsTable(app, run, row) {
  const reader = run.madeBy.has(row) ? run.madeBy.get(row) : row;
  const reads = readsOf(run, reader);
  if (!reads.length) return [];
  const stale = reads.filter((read) => read.missed >= 0).length;
  const rows = reads.map((read) => {
    const title = `${read.kind} ${ownName(read.name)}`;
    const name = read.saw >= 0 ? link(title, () => app.select({ run, row: read.saw }, true), 'Go to the write that it saw') : element('span', {}, title);
    const version = read.version ? `version ${read.version}` : 'absent';
    const told = element('td', {}, name, element('br'), `${version}, ${duration(read.age)} old, from the ${read.cached ? 'cache' : 'server'}`);
    if (read.missed >= 0) {
      const text = `missed ${counted(read.count, 'write')}, the last at ${clock(run.at[read.missed])}`;
      told.append(element('br'), element('span', { class: 'missed' }, link(text, () => app.select({ run, row: read.missed }, true), 'Go to the write that it missed')));
    }
    return element('tr', { class: read.missed >= 0 ? 'stale' : '' }, told);
  });
  const heading = `What it had read (${reads.length}${stale ? `, ${stale} out of date` : ''})`;
  return [element('h3', {}, heading), element('table', { class: 'fields reads' }, ...rows)];
}
